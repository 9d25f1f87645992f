"""What a CLIP is made of, read from open_clip's or transformers' own description of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from samedge.errors import CheckpointError
from samedge.files.reading import read_bytes

OPEN_CLIP, TRANSFORMERS = "open_clip_config.json", "config.json"
_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
_CONTEXT = 77

Triple = tuple[float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The image tower.

    Attributes:
        side: of its input, pixels.
        width: channels.
        layers: blocks of a transformer, or of each stage of a residual network.
        heads: of the attention.
        patch: side of a transformer's patch.
        hidden: channels inside of a transformer's MLPs.
        timm_name: of a tower of timm's instead.
    """

    side: int
    width: int = 0
    layers: int | tuple[int, ...] = 0
    heads: int = 0
    patch: int = 0
    hidden: int = 0
    timm_name: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text tower; the attributes are those of ``TextTower``."""

    width: int
    layers: int
    heads: int
    hidden: int
    vocabulary: int = 49408
    context: int = _CONTEXT
    is_causal: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """A CLIP.

    Attributes:
        embed_dim: numbers of an embedding.
        vision, text: the towers.
        quick_gelu: whether their MLPs have OpenAI's approximation of GELU.
        mean, std: of pixels, 0 to 1.
    """

    embed_dim: int
    vision: VisionConfig
    text: TextConfig
    quick_gelu: bool = False
    mean: Triple = _OPENAI_MEAN
    std: Triple = _OPENAI_STD


class _OpenVision(msgspec.Struct, forbid_unknown_fields=True):
    image_size: int = 224
    layers: int | tuple[int, ...] = 12
    width: int = 768
    head_width: int = 64
    mlp_ratio: float = 4.0
    patch_size: int | None = None
    timm_model_name: str | None = None
    timm_model_pretrained: bool = False
    timm_pool: str = "avg"
    timm_proj: str | None = None
    timm_drop: float = 0.0
    timm_drop_path: float | None = None


class _OpenText(msgspec.Struct, forbid_unknown_fields=True):
    context_length: int = _CONTEXT
    vocab_size: int = 49408
    width: int = 512
    heads: int = 8
    layers: int = 12
    mlp_ratio: float = 4.0
    no_causal_mask: bool = False


class _OpenModel(msgspec.Struct, forbid_unknown_fields=True):
    embed_dim: int
    vision_cfg: _OpenVision
    text_cfg: _OpenText
    quick_gelu: bool = False
    custom_text: bool = False


class _OpenPixels(msgspec.Struct):
    mean: Triple = _OPENAI_MEAN
    std: Triple = _OPENAI_STD


class _OpenFile(msgspec.Struct):
    model_cfg: _OpenModel
    preprocess_cfg: _OpenPixels = msgspec.field(default_factory=_OpenPixels)


class _TfVision(msgspec.Struct):
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    image_size: int = 224
    patch_size: int = 32
    hidden_act: str = "quick_gelu"


class _TfText(msgspec.Struct):
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = _CONTEXT
    vocab_size: int = 49408
    hidden_act: str = "quick_gelu"


class _TfFile(msgspec.Struct):
    model_type: str
    projection_dim: int = 512
    vision_config: _TfVision = msgspec.field(default_factory=_TfVision)
    text_config: _TfText = msgspec.field(default_factory=_TfText)


class _TfPixels(msgspec.Struct):
    image_mean: Triple = _OPENAI_MEAN
    image_std: Triple = _OPENAI_STD


T = TypeVar("T")


def read_config(folder: Path) -> ClipConfig:
    """Read the configuration in a folder of open_clip's or transformers'.

    Raises:
        CheckpointError: there is none, or it describes what samedge does not build.
    """
    if (folder / OPEN_CLIP).is_file():
        return _from_open_clip(folder / OPEN_CLIP)
    if (folder / TRANSFORMERS).is_file():
        return _from_transformers(folder)
    raise CheckpointError(
        f"{folder} has neither {OPEN_CLIP} nor {TRANSFORMERS}: give a folder as open_clip or "
        "transformers writes it for the hub."
    )


def _from_open_clip(path: Path) -> ClipConfig:
    file = _decoded(path, _OpenFile)
    model, pixels = file.model_cfg, file.preprocess_cfg
    vision, text = model.vision_cfg, model.text_cfg
    if vision.timm_model_name is not None and (vision.timm_pool, vision.timm_proj) != ("avg", None):
        raise CheckpointError(
            f"{path} has a tower of timm with pool {vision.timm_pool!r} and projection "
            f"{vision.timm_proj!r}, expected 'avg' and none, as MobileCLIP has."
        )
    return _checked(
        ClipConfig(
            embed_dim=model.embed_dim,
            vision=_open_vision(vision),
            text=TextConfig(
                width=text.width,
                layers=text.layers,
                heads=text.heads,
                hidden=int(text.width * text.mlp_ratio),
                vocabulary=text.vocab_size,
                context=text.context_length,
                is_causal=not text.no_causal_mask,
            ),
            quick_gelu=model.quick_gelu,
            mean=pixels.mean,
            std=pixels.std,
        ),
        path,
    )


def _open_vision(vision: _OpenVision) -> VisionConfig:
    is_residual = isinstance(vision.layers, tuple)
    return VisionConfig(
        side=vision.image_size,
        width=vision.width,
        layers=vision.layers,
        heads=vision.width * (32 if is_residual else 1) // vision.head_width,
        patch=vision.patch_size or 0,
        hidden=int(vision.width * vision.mlp_ratio),
        timm_name=vision.timm_model_name,
    )


def _from_transformers(folder: Path) -> ClipConfig:
    path = folder / TRANSFORMERS
    file = _decoded(path, _TfFile)
    vision, text = file.vision_config, file.text_config
    if file.model_type != "clip":
        raise CheckpointError(
            f"{path} describes a model of type {file.model_type!r}, expected 'clip'."
        )
    activations = {vision.hidden_act, text.hidden_act}
    if len(activations) > 1 or activations - {"gelu", "quick_gelu"}:
        raise CheckpointError(
            f"{path} has activations {', '.join(sorted(activations))}, expected gelu or quick_gelu."
        )
    preprocessor = folder / "preprocessor_config.json"
    pixels = _decoded(preprocessor, _TfPixels) if preprocessor.is_file() else _TfPixels()
    return _checked(
        ClipConfig(
            embed_dim=file.projection_dim,
            vision=VisionConfig(
                side=vision.image_size,
                width=vision.hidden_size,
                layers=vision.num_hidden_layers,
                heads=vision.num_attention_heads,
                patch=vision.patch_size,
                hidden=vision.intermediate_size,
            ),
            text=TextConfig(
                width=text.hidden_size,
                layers=text.num_hidden_layers,
                heads=text.num_attention_heads,
                hidden=text.intermediate_size,
                vocabulary=text.vocab_size,
                context=text.max_position_embeddings,
            ),
            quick_gelu=activations == {"quick_gelu"},
            mean=pixels.image_mean,
            std=pixels.image_std,
        ),
        path,
    )


def _checked(config: ClipConfig, path: Path) -> ClipConfig:
    """Refuse what the tokenizer or the towers cannot be built for."""
    if config.text.context != _CONTEXT:
        raise CheckpointError(
            f"{path} reads texts of {config.text.context} ids, and CLIP's tokenizer gives "
            f"{_CONTEXT}."
        )
    sizes: Mapping[str, int] = {
        "image_size": config.vision.side,
        "embed_dim": config.embed_dim,
        "width": config.text.width,
    }
    for name, value in sizes.items():
        if not 1 <= value <= 65536:
            raise CheckpointError(f"{path} has {name} {value}, expected 1 to 65536.")
    return config


def _decoded(path: Path, kind: type[T]) -> T:
    data = read_bytes(path, limit="document_bytes", expected="a config", error=CheckpointError)
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise CheckpointError(
            f"{path} describes no CLIP that samedge builds ({error}): RN50, ViT-B/32, ViT-B/16, "
            "MobileCLIP-S1 and S2 and their like are."
        ) from error
