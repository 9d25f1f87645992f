"""Checkpoints load completely or not at all, and never by executing them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from samedge.errors import CheckpointError, UnknownNameError
from samedge.models.building import build_model
from samedge.models.checkpoints import load_checkpoint, save_checkpoint
from samedge.models.keymaps import DIALECTS, MOBILE_SAM
from samedge.models.painted import PaintedSam
from samedge.models.sam import Sam
from samedge.models.spec import ModelSpec
from samedge.models.zoo import load_model

TINY = {"widths": [8, 16, 20, 32], "depths": [1, 1, 2, 1], "heads": [1, 2, 2, 4]}
DECODER = {"embed_dim": 32, "mlp_dim": 48}


def mobile_sam_state(image_size: int = 1024) -> tuple[Sam, dict[str, torch.Tensor]]:
    """A tiny MobileSAM under the published names, with the classifier that nobody needs."""
    spec = ModelSpec(
        encoder="tinyvit",
        encoder_options={**TINY, "embed_dim": 32},
        decoder_options=DECODER,
        image_size=image_size,
    )
    model = build_model(spec)
    assert isinstance(model, Sam)
    state = {}
    for key, value in model.state_dict().items():
        names = MOBILE_SAM.sources(key)
        sizes = [1, value.shape[0] - 1] if len(names) == 2 else [1] * len(names)
        parts = value.split(sizes) if len(names) > 1 else [value]
        state.update({name: part.clone() for name, part in zip(names, parts, strict=True)})
    state["image_encoder.norm_head.weight"] = torch.ones(32)
    state["image_encoder.head.bias"] = torch.ones(1000)
    return model, state


def test_mobile_sam(tmp_path: Path) -> None:
    model, state = mobile_sam_state()
    torch.save(state, tmp_path / "mobile_sam.pt")
    loaded = load_checkpoint(tmp_path / "mobile_sam.pt")
    assert loaded.image_size == 1024
    assert not loaded.training
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


def test_mobile_sam_at_another_size(tmp_path: Path) -> None:
    """TinyViT has no table that depends on the input's size."""
    _, state = mobile_sam_state()
    torch.save(state, tmp_path / "mobile_sam.pt")
    assert load_checkpoint(tmp_path / "mobile_sam.pt", image_size=128).image_size == 128


@pytest.mark.parametrize(("size", "nearest"), [(100, 96), (0, 32), (-64, 32), (1000, 992)])
def test_a_size_that_does_not_divide_is_refused(tmp_path: Path, size: int, nearest: int) -> None:
    _, state = mobile_sam_state()
    torch.save(state, tmp_path / "mobile_sam.pt")
    with pytest.raises(CheckpointError, match=f"is {size} px, .* multiple of 32.* take {nearest}"):
        load_checkpoint(tmp_path / "mobile_sam.pt", image_size=size)


@pytest.mark.parametrize("size", [96, 160, 224])
def test_every_multiple_of_the_stride_works(tmp_path: Path, size: int) -> None:
    _, state = mobile_sam_state()
    torch.save(state, tmp_path / "mobile_sam.pt")
    models = (
        load_checkpoint(tmp_path / "mobile_sam.pt", image_size=size),
        load_model("samedge-nano", image_size=size),
    )
    for model in models:
        with torch.inference_mode():
            embedding = model.encode(torch.zeros(1, size, size, 3, dtype=torch.uint8))
        assert embedding.shape[2:] == (size // 16, size // 16)


def test_a_vit_refuses_another_size(meta_file: Path) -> None:
    assert load_checkpoint(meta_file, image_size=128).image_size == 128
    with pytest.raises(CheckpointError, match=r"trained at 128 px .* not for 64 px"):
        load_checkpoint(meta_file, image_size=64)


def test_architecture_is_read_off_the_shapes(meta_file: Path, hugging_face_folder: Path) -> None:
    for path in (meta_file, hugging_face_folder):
        config: Any = load_checkpoint(path).image_encoder.config
        assert (config.width, config.depth, config.heads) == (64, 3, 4)
        assert (config.global_blocks, config.window, config.embed_dim) == ((1,), 3, 32)


def broken(meta_file: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    state = torch.load(meta_file, weights_only=True)
    change(state)
    torch.save(state, tmp_path / "broken.pth")
    return tmp_path / "broken.pth"


def test_every_missing_and_extra_tensor_is_named(meta_file: Path, tmp_path: Path) -> None:
    def change(state: dict[str, Any]) -> None:
        del state["mask_decoder.transformer.layers.1.norm4.bias"]
        del state["prompt_encoder.point_embeddings.2.weight"]
        state["text_encoder.weight"] = torch.zeros(3)

    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(broken(meta_file, tmp_path, change))
    message = str(caught.value)
    assert "2 tensors are missing" in message
    assert "mask_decoder.transformer.layers.1.norm4.bias" in message
    assert "prompt_encoder.point_embeddings.2.weight" in message
    assert "1 are left over (text_encoder.weight)" in message


def test_wrong_shapes_are_named(meta_file: Path, tmp_path: Path) -> None:
    def change(state: dict[str, Any]) -> None:
        state["image_encoder.neck.1.weight"] = torch.zeros(31)
        state["prompt_encoder.point_embeddings.2.weight"] = torch.zeros(2, 32)

    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(broken(meta_file, tmp_path, change))
    assert "image_encoder.neck.1.weight is (31,), expected (32,)" in str(caught.value)
    assert "point_embeddings.2.weight" in str(caught.value)


def test_a_tensor_that_the_architecture_is_read_from(meta_file: Path, tmp_path: Path) -> None:
    path = broken(meta_file, tmp_path, lambda state: state.pop("image_encoder.pos_embed"))
    with pytest.raises(CheckpointError, match=r"lacks image_encoder\.pos_embed"):
        load_checkpoint(path)


def test_long_lists_are_cut(meta_file: Path, tmp_path: Path) -> None:
    def change(state: dict[str, Any]) -> None:
        for key in [key for key in state if "transformer.layers.0" in key and "lin1" not in key]:
            del state[key]

    with pytest.raises(CheckpointError, match=r"\d+ tensors are missing .* and \d+ more"):
        load_checkpoint(broken(meta_file, tmp_path, change))


def test_half_precision_is_widened(meta_file: Path, tmp_path: Path) -> None:
    def change(state: dict[str, Any]) -> None:
        state.update({key: value.half() for key, value in state.items()})

    model = load_checkpoint(broken(meta_file, tmp_path, change))
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_wrapped_state_dict(meta_file: Path, tmp_path: Path) -> None:
    torch.save({"model": torch.load(meta_file, weights_only=True)}, tmp_path / "wrapped.pth")
    assert load_checkpoint(tmp_path / "wrapped.pth").image_size == 128


class Attack:
    """Unpickling it runs a command."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.witness),)


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    torch.save({"weights": Attack(witness)}, tmp_path / "attack.pth")
    with pytest.raises(CheckpointError, match=r"GLOBAL \w+\.mkdir .* never unpickles") as caught:
        load_checkpoint(tmp_path / "attack.pth")
    assert not witness.exists()
    assert "weights_only" not in str(caught.value)  # torch's advice to load it unsafely


@pytest.mark.parametrize("seed", range(40))
def test_files_of_anything_else(tmp_path: Path, seed: int) -> None:
    """torch's unpickler answers random bytes with errors of many kinds."""
    (tmp_path / "noise.pth").write_bytes(random.Random(seed).randbytes(500))
    with pytest.raises(
        CheckpointError,
        match=r"noise\.pth (could not be read as plain weights \(|is JSON|begins with b)",
    ):
        load_checkpoint(tmp_path / "noise.pth")


def test_a_torch_with_known_holes_is_refused(
    meta_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(CheckpointError, match="CVE-2026-24747"):
        load_checkpoint(meta_file)


@pytest.mark.parametrize("keep", [0, 10, 5000])
def test_truncated_files(meta_file: Path, tmp_path: Path, keep: int) -> None:
    for name in ("cut.pth", "cut.safetensors"):
        path = tmp_path / name
        path.write_bytes(meta_file.read_bytes()[:keep])
        with pytest.raises(CheckpointError, match="cut"):
            load_checkpoint(path)


def test_other_content_is_described(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds a list, expected a state dict"):
        load_checkpoint(tmp_path / "list.pth")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "linear.pth")
    with pytest.raises(CheckpointError, match=r"2 tensors \(weight, bias\).*no known family"):
        load_checkpoint(tmp_path / "linear.pth")
    with pytest.raises(CheckpointError, match="There is no checkpoint at"):
        load_checkpoint(tmp_path / "absent.pth")


@pytest.mark.parametrize("decoder", ["sam", "painted"])
def test_our_own_format(tmp_path: Path, decoder: Any) -> None:
    spec = ModelSpec(
        encoder="timm",
        encoder_options={"backbone": "test_resnet.r160_in1k", "norm": "batch"},
        image_size=64,
        decoder=decoder,
        name="tiny",
        licence="Apache-2.0",
        origin="made here",
    )
    model = build_model(spec).eval()
    save_checkpoint(model, tmp_path / "tiny.safetensors", spec=spec)
    loaded = load_checkpoint(tmp_path / "tiny.safetensors")
    assert isinstance(loaded, PaintedSam if decoder == "painted" else Sam)
    image = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    prompt = (torch.tensor([[[20.0, 30.0]]]), torch.ones(1, 1))
    mask = (torch.zeros(1, 1, 16, 16), torch.zeros(1))
    with torch.no_grad():
        for got, expected in zip(
            loaded(image, *prompt, *mask), model(image, *prompt, *mask), strict=True
        ):
            assert torch.allclose(got, expected, atol=1e-5)
    assert loaded.spec == spec
    assert load_checkpoint(tmp_path / "tiny.safetensors", image_size=128).image_size == 128


def test_descriptions_are_checked(tmp_path: Path) -> None:
    for text, said in (
        ("{", "not valid"),
        ('{"encoder": "vit", "image_size": 64, "colour": 1}', "colour"),
        ('{"encoder": "vit", "image_size": 64, "schema": "samedge.checkpoint/9"}', "schema"),
    ):
        with pytest.raises(CheckpointError, match=said):
            ModelSpec.from_json(text)
    with pytest.raises(UnknownNameError, match="encoder"):
        build_model(ModelSpec(encoder="vitt", image_size=64))
    with pytest.raises(UnknownNameError, match=r"decoder 'paint'.*'painted'"):
        build_model(ModelSpec(encoder="vit", image_size=64, decoder="paint"))


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"decoder_options": {"corse": 1}}, UnknownNameError, r"painted decoder.*'corse'.*coarse"),
        ({"decoder_options": {"coarse": "wide"}}, CheckpointError, r"Expected `int`.*coarse"),
        ({"encoder_options": {}}, CheckpointError, r"Encoder timm .*missing.*`backbone`"),
        ({"decoder_options": {"embed_dim": 64}}, CheckpointError, r"256 channels.* takes .*\(64 "),
    ],
    ids=["unknown option", "another type", "missing option", "another embedding"],
)
def test_recipes_that_cannot_be_built(
    changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    timm = {"backbone": "test_resnet.r160_in1k"}
    fields = {"encoder": "timm", "encoder_options": timm, "image_size": 64, "decoder": "painted"}
    with pytest.raises(error, match=said):
        build_model(ModelSpec(**{**fields, **changes}))


def test_our_own_format_must_fit_its_description(tmp_path: Path) -> None:
    spec = ModelSpec(
        encoder="timm", encoder_options={"backbone": "test_resnet.r160_in1k"}, image_size=64
    )
    state = {**build_model(spec).state_dict(), "more": torch.zeros(1)}
    path = tmp_path / "tiny.safetensors"
    safetensors.torch.save_file(state, path, metadata={"samedge": spec.to_json()})
    with pytest.raises(CheckpointError, match=r"its own description.*left over \(more\)"):
        load_checkpoint(path)


def test_no_rule_maps_two_of_our_tensors_to_one() -> None:
    model, _ = mobile_sam_state(64)
    keys = [key for key in model.state_dict() if not key.startswith("image_encoder")]
    for dialect in DIALECTS:
        sources = [name for key in keys for name in dialect.sources(key)]
        assert len(sources) == len(set(sources))
