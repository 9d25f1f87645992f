"""Checkpoints to models: the official SAM and MobileSAM files, Hugging Face's, and our own.

A pickle is read with ``weights_only=True`` and by nothing else; what that refuses stays unread.
Our own format is safetensors with a :class:`~samedge.models.spec.ModelSpec` in its metadata.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from samedge.errors import CheckpointError
from samedge.files.writing import replacing
from samedge.models.building import build_model
from samedge.models.keymaps import DIALECTS, HUGGING_FACE, MOBILE_SAM, Dialect, detect
from samedge.models.promptable import PromptableModel
from samedge.models.spec import ModelSpec

_METADATA = "samedge"
_SAFE_TORCH = (2, 10)
"""First release without the known holes of ``weights_only`` (CVE-2025-32434, CVE-2026-24747)."""

_NAMED_AT_MOST = 12
_STRIDE = 32
"""Of the coarsest stage of any encoder here."""


def load_checkpoint(path: str | Path, *, image_size: int | None = None) -> PromptableModel:
    """Build the model that a checkpoint describes, and load it.

    Args:
        path: official ``.pth`` or ``.pt``, a safetensors file of Hugging Face's ``SamModel`` (or
            its folder), or one written by :func:`save_checkpoint`.
        image_size: side of the input to build for. ``None`` takes the checkpoint's own. SAM's ViT
            carries tables of positions for one size and takes no other; others take multiples of
            32.

    Returns:
        The model in evaluation mode, fp32, on the CPU; its ``requires_grad`` is off.

    Raises:
        CheckpointError: the file is missing, unreadable or unsafe, its names are of no known
            family, or tensors are missing, left over or of another shape; each is named.
    """
    file = _existing(Path(path))
    tensors, description = _read(file)
    if description is not None:
        spec = ModelSpec.from_json(description)
        spec = spec if image_size is None else _resized(spec, image_size)
        return _filled(spec, tensors, file)
    dialect = detect(tensors)
    if dialect is None:
        raise CheckpointError(
            f"{file} holds {len(tensors)} tensors ({_some(tensors)}), which are of no known "
            f"family: expected one of {', '.join(d.name for d in DIALECTS)}, or samedge's own."
        )
    spec = spec_from_tensors(tensors, dialect)
    spec = spec if image_size is None else _resized(spec, image_size)
    return _filled(spec, tensors, file, dialect)


def save_checkpoint(model: PromptableModel, path: str | Path, *, spec: ModelSpec) -> None:
    """Write a model in our own format: safetensors with its description.

    Args:
        model: the model.
        path: the file to write.
        spec: what :func:`load_checkpoint` builds before it loads the weights.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    with replacing(Path(path)) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={_METADATA: spec.to_json()})


def _existing(path: Path) -> Path:
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(f"There is no checkpoint at {file}: give the path of a file.")
    return file


def _read(file: Path) -> tuple[dict[str, Tensor], str | None]:
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    return _read_pickle(file), None


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], str | None]:
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            description = (opened.metadata() or {}).get(_METADATA)
        return safetensors.torch.load_file(file), description
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{file} is not a readable safetensors file: {error}. It may be truncated: "
            "download it again."
        ) from error


def _read_pickle(file: Path) -> dict[str, Tensor]:
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _SAFE_TORCH:
        raise CheckpointError(
            f"torch {torch.__version__} can be made to execute code from {file} even with "
            "weights_only=True (CVE-2025-32434, CVE-2026-24747): install torch 2.10 or later, or "
            "give a safetensors file."
        )
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler meeting strange bytes raises whatever it likes
        raise CheckpointError(
            f"{file} could not be read as plain weights ({_reason(error)}). It is "
            "truncated, or it holds more than tensors, which samedge never unpickles: save its "
            "state_dict() instead."
        ) from error
    return _flat(state, file)


def _reason(error: Exception) -> str:
    """What an unpickler says is wrong, in one line.

    torch puts the advice to load the file unsafely before it, which is nothing to pass on.
    """
    parts = [part.strip() for part in str(error).split("\n\n") if part.strip()]
    if len(parts) > 1 and parts[0].startswith("Weights only load failed"):
        parts = parts[1:]
    return parts[0].splitlines()[0].rstrip(".") if parts else type(error).__name__


def _flat(state: object, file: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, also of one that is wrapped once."""
    for wrapper in ("model", "state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise CheckpointError(
            f"{file} holds a {type(state).__name__}, expected a state dict: names and tensors."
        )
    return {str(key): value for key, value in state.items()}


def spec_from_tensors(tensors: Mapping[str, Tensor], dialect: Dialect) -> ModelSpec:
    """Read the architecture off the shapes of a published checkpoint.

    Args:
        tensors: the checkpoint.
        dialect: the family that it belongs to.

    Raises:
        CheckpointError: a tensor that the architecture is read from is missing.
    """
    dim = _shape(tensors, _source(dialect, "mask_decoder.output_tokens"))[1]
    layer = _source(dialect, "mask_decoder.transformer.layers.0.mlp.layers.0.weight")
    decoder = {
        "embed_dim": dim,
        "depth": _count(tensors, r"mask_decoder\.transformer\.layers\.(\d+)\."),
        "mlp_dim": _shape(tensors, layer)[0],
    }
    if dialect is MOBILE_SAM:
        return ModelSpec(
            encoder="tinyvit",
            image_size=1024,
            encoder_options={**_tinyvit_options(tensors), "embed_dim": dim},
            decoder_options=decoder,
        )
    options, grid = _vit_options(tensors, dialect)
    return ModelSpec(
        encoder="vit",
        image_size=16 * grid,
        encoder_options={**options, "embed_dim": dim},
        decoder_options=decoder,
    )


def _vit_options(tensors: Mapping[str, Tensor], dialect: Dialect) -> tuple[dict[str, Any], int]:
    blocks = "vision_encoder.layers" if dialect is HUGGING_FACE else "image_encoder.blocks"
    depth = _count(tensors, re.escape(blocks) + r"\.(\d+)\.")
    grid = _shape(tensors, _source(dialect, "image_encoder.pos_embed"))[1]
    width = _shape(tensors, _source(dialect, "image_encoder.patch_embed.weight"))[0]
    tables = [_shape(tensors, f"{blocks}.{index}.attn.rel_pos_h") for index in range(depth)]
    sides = [(table[0] + 1) // 2 for table in tables]
    options = {
        "width": width,
        "depth": depth,
        "heads": width // tables[0][1],
        "global_blocks": [index for index, side in enumerate(sides) if side == grid],
        "window": min(sides),
        "mlp_dim": _shape(tensors, _source(dialect, "image_encoder.blocks.0.lin1.weight"))[0],
    }
    return options, grid


def _tinyvit_options(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    prefix = "image_encoder.layers"
    widths = [_shape(tensors, f"{prefix}.0.blocks.0.conv1.c.weight")[1]]
    heads, windows = [1], [1]
    for stage in (1, 2, 3):
        widths.append(_shape(tensors, f"{prefix}.{stage}.blocks.0.attn.proj.weight")[0])
        biases = _shape(tensors, f"{prefix}.{stage}.blocks.0.attn.attention_biases")
        heads.append(biases[0])
        windows.append(math.isqrt(biases[1]))
    return {
        "widths": widths,
        "depths": [
            _count(tensors, rf"image_encoder\.layers\.{stage}\.blocks\.(\d+)\.")
            for stage in range(4)
        ],
        "heads": heads,
        "windows": windows,
    }


def _source(dialect: Dialect, target: str) -> str:
    return dialect.sources(target)[-1]


def _shape(tensors: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    if key not in tensors:
        raise CheckpointError(f"The checkpoint lacks {key}: it is not complete.")
    return tuple(tensors[key].shape)


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number that ``pattern`` finds in the names."""
    found = (re.match(pattern, key) for key in tensors)
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)


def _resized(spec: ModelSpec, image_size: int) -> ModelSpec:
    if image_size == spec.image_size:
        return spec
    if spec.encoder == "vit":
        raise CheckpointError(
            f"This ViT was trained at {spec.image_size} px and holds tables of positions for that "
            f"size, not for {image_size} px: leave the input size out, or take another model."
        )
    if image_size < _STRIDE or image_size % _STRIDE:
        nearest = max(round(image_size / _STRIDE), 1) * _STRIDE
        raise CheckpointError(
            f"The input size is {image_size} px, expected a multiple of {_STRIDE}, by which "
            f"encoders reduce it: take {nearest}."
        )
    return msgspec.structs.replace(spec, image_size=image_size)


def _filled(
    spec: ModelSpec, tensors: Mapping[str, Tensor], file: Path, dialect: Dialect | None = None
) -> PromptableModel:
    model = build_model(spec)
    wanted = model.state_dict()
    names = {key: dialect.sources(key) if dialect else (key,) for key in wanted}
    _check_names(names, tensors, file, dialect)
    state = {key: _joined([tensors[name] for name in names[key]]) for key in wanted}
    wrong = [
        f"{' + '.join(names[key])} is {tuple(state[key].shape)}, expected {tuple(value.shape)}"
        for key, value in wanted.items()
        if state[key].shape != value.shape
    ]
    if wrong:
        raise CheckpointError(f"{file} has tensors of other shapes: {_some(wrong)}.")
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def _check_names(
    names: Mapping[str, tuple[str, ...]],
    tensors: Mapping[str, Tensor],
    file: Path,
    dialect: Dialect | None,
) -> None:
    used = {name for group in names.values() for name in group}
    missing = sorted(used - set(tensors))
    extra = sorted(
        key for key in set(tensors) - used if dialect is None or not dialect.is_unused(key)
    )
    if missing or extra:
        family = f"a {dialect.name} checkpoint" if dialect else "its own description"
        raise CheckpointError(
            f"{file} does not fit {family}: {len(missing)} tensors are missing "
            f"({_some(missing) or 'none'}), {len(extra)} are left over ({_some(extra) or 'none'})."
        )


def _joined(parts: list[Tensor]) -> Tensor:
    joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=0)
    return joined.float() if joined.is_floating_point() else joined


def _some(names: Any) -> str:
    listed = list(names)
    rest = len(listed) - _NAMED_AT_MOST
    return ", ".join(listed[:_NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
