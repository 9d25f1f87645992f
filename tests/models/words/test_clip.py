from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from samedge.errors import CheckpointError, UnknownNameError
from samedge.models.words.clip import ClipModel
from samedge.models.words.opening import check_licence, licence_of, open_word_model

open_clip: Any = pytest.importorskip("open_clip", reason="pip install 'samedge[clip]'")

TEXTS = ["a photo of a dog", "the red car's door", "猫", ""]
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
VISION: dict[str, dict[str, Any]] = {
    "ViT-B-32": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 32},
    "ViT-B-16": {"image_size": 48, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "RN50": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
}
MOBILE = {"timm_model_name": "fastvit_mci1", "timm_model_pretrained": False, "timm_pool": "avg"}
TOLERANCE = 1e-4


def _shaken(model: Any) -> Any:
    """With weights that are all different, batch norms and zero initialisations included."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point() and tensor.isfinite().all():
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.add_(0.02 * noise.abs() if (tensor >= 0).all() else 0.02 * noise)
    return model.eval()


def _saved(folder: Path, config: dict[str, Any], model: torch.nn.Module) -> Path:
    folder.mkdir()
    document = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(weights, folder / "open_clip_model.safetensors")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A CLIP\n")
    return folder


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., tuple[Path, Any]]:
    """Writes a tiny random CLIP of open_clip's own code, and gives it too."""

    def save(name: str, **changes: Any) -> tuple[Path, Any]:
        config = {"embed_dim": 32, "vision_cfg": VISION[name], "text_cfg": TEXT, **changes}
        torch.manual_seed(0)
        model = _shaken(open_clip.CLIP(**config))
        return _saved(tmp_path / name, config, model), model

    return save


def _pixels(side: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    pixels[1, :, : side // 2] = (250, 20, 60)
    return torch.from_numpy(pixels)


def _normalised(pixels: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std


def _check(model: ClipModel, reference: Any) -> None:
    pixels = _pixels(model.side)
    tokens = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    with torch.inference_mode():
        wanted = reference.encode_image(_normalised(pixels, 0.5, 0.25), normalize=True)
        given = model.embed_regions(pixels)
        wanted_text = reference.encode_text(tokens, normalize=True) * reference.logit_scale.exp()
        given_text = model.embed_text(tokens.int())
    differences = [
        float((a - b).abs().max() / b.abs().max())
        for a, b in ((given, wanted), (given_text, wanted_text))
    ]
    print(f"largest difference: image {differences[0]:.2e}, text {differences[1]:.2e}")
    assert max(differences) < TOLERANCE
    assert (wanted[0] - wanted[1]).abs().max() > 20 * TOLERANCE  # the towers are not blind
    assert (wanted_text[0] - wanted_text[1]).abs().max() > 20 * TOLERANCE


@pytest.mark.parametrize("name", VISION)
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_towers_are_open_clips(
    saved: Callable[..., tuple[Path, Any]], name: str, quick_gelu: bool
) -> None:
    folder, reference = saved(name, quick_gelu=quick_gelu)
    model = open_word_model(folder)
    assert isinstance(model, ClipModel)
    assert model.source.licence == "mit"
    _check(model, reference)


def test_towers_are_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPConfig(
        projection_dim=32,
        vision_config={"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
        | {"num_attention_heads": 2, "image_size": 48, "patch_size": 16},
        text_config={"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
        | {"num_attention_heads": 2, "bos_token_id": 49406, "eos_token_id": 49407},
    )
    torch.manual_seed(0)
    reference = _shaken(transformers.CLIPModel(config))
    reference.save_pretrained(tmp_path / "tf")
    model = open_word_model(tmp_path / "tf")
    assert isinstance(model, ClipModel)
    pixels = _pixels(48)
    tokens = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (model.config.mean, model.config.std))
    with torch.inference_mode():
        ours = model.embed_regions(pixels), model.embed_text(tokens.int())
        normal = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
        found = reference(input_ids=tokens, pixel_values=normal)
        wanted = found.image_embeds, found.text_embeds * reference.logit_scale.exp()
    for a, b in zip(ours, wanted, strict=True):
        assert float((a - b).abs().max() / b.abs().max()) < TOLERANCE


@pytest.mark.slow
def test_mobileclip_is_open_clips(tmp_path: Path) -> None:
    vision = {**MOBILE, "timm_proj": None, "timm_drop": 0.0, "timm_drop_path": 0.0}
    text = {**TEXT, "no_causal_mask": True}
    config = {"embed_dim": 32, "vision_cfg": {**vision, "image_size": 256}, "text_cfg": text}
    reference = _shaken(open_clip.CustomTextCLIP(**config))
    folder = _saved(tmp_path / "mobile", {**config, "custom_text": True}, reference)
    model = open_word_model(folder)
    assert isinstance(model, ClipModel)
    _check(model, reference)


def test_weights_that_do_not_fit_are_named(saved: Callable[..., tuple[Path, Any]]) -> None:
    folder, model = saved("ViT-B-32")
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    del weights["visual.ln_post.weight"]
    weights["visual.proj"] = weights["visual.proj"][:, :8].contiguous()
    safetensors.torch.save_file(weights, folder / "open_clip_model.safetensors")
    with pytest.raises(CheckpointError, match=r"ln_post.weight is missing; visual.proj is \(64, 8"):
        open_word_model(folder)


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="clip-vit-b-32"):
        open_word_model("clip-vit-b-23")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"open_clip_config.json nor config.json"):
        open_word_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip"}))
    with pytest.raises(CheckpointError, match="'siglip', expected 'clip'"):
        open_word_model(tmp_path)
    config = {"embed_dim": 8, "vision_cfg": {"attentional_pool": True}, "text_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(CheckpointError, match="attentional_pool"):
        open_word_model(tmp_path)


LICENCES = {
    "mit": False,
    "apple-ascl": False,
    "apache-2.0": False,
    "unknown": False,
    "apple-amlr": True,
    "cc-by-nc-4.0": True,
    "research-only": True,
}


@pytest.fixture(params=LICENCES)
def licence(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_licences_for_research_alone_must_be_accepted(licence: str, tmp_path: Path) -> None:
    head = (
        f"license: other\nlicense_name: {licence}" if "apple" in licence else f"license: {licence}"
    )
    (tmp_path / "README.md").write_text(f"---\ntags:\n- clip\n{head}\n---\nlicense: wtf\n")
    assert licence_of(tmp_path) == licence
    check_licence(licence, name="it", accepted=True)
    if LICENCES[licence]:
        with pytest.raises(CheckpointError, match="--accept-license"):
            check_licence(licence, name="it", accepted=False)
    else:
        check_licence(licence, name="it", accepted=False)


def test_a_folder_without_a_readme_states_no_licence(tmp_path: Path) -> None:
    assert licence_of(tmp_path) == "unknown"
