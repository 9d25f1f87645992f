"""Restoring batch norm must leave the network's function as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F

from samedge.errors import CheckpointError
from samedge.models._timm import ENCODER, TimmConfig, TimmEncoder
from samedge.models.imagenet import load_mobilenet_v2, mobilenet_v2_keys
from samedge.models.layers import Normalize

STRIDED = (2, 4, 7, 14)  # features.N whose depthwise convolution has stride 2


def student(image_size: int = 96) -> TimmEncoder:
    config = TimmConfig("mobilenetv2_100", image_size=image_size, padding="same", frozen_bn=True)
    encoder = ENCODER.build(config)
    assert isinstance(encoder, TimmEncoder)
    return encoder


def folded_weights(backbone: torch.nn.Module) -> dict[str, Tensor]:
    """A random file in the folded form, scaled so that activations neither die nor explode."""
    generator = torch.Generator().manual_seed(3)
    shapes = {name: p.shape for name, p in backbone.named_parameters()}
    tensors = {}
    for source, (conv, _) in mobilenet_v2_keys().items():
        shape = shapes[f"{conv}.weight"]
        fan_in = shape[1] * shape[2] * shape[3]
        tensors[f"{source}.weight"] = torch.randn(shape, generator=generator) * fan_in**-0.5
        tensors[f"{source}.bias"] = torch.randn(shape[0], generator=generator) * 0.3
    return tensors


def plain_stages(tensors: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """MobileNetV2 straight from the folded weights, as their README describes it."""

    def conv(x: Tensor, name: str, stride: int = 1, *, act: bool = True) -> Tensor:
        weight, bias = tensors[f"{name}.weight"].float(), tensors[f"{name}.bias"]
        if weight.shape[-1] == 3:
            x = F.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))
        x = F.conv2d(x, weight, bias, stride, groups=x.shape[1] // weight.shape[1])
        return F.relu6(x) if act else x

    x = conv((images.permute(0, 3, 1, 2).float() - 128) / 128, "features.0.0", 2)
    x = conv(conv(x, "features.1.conv.0.0"), "features.1.conv.1", act=False)
    stages = []
    for index in range(2, 18):
        name, before = f"features.{index}.conv", x
        x = conv(conv(x, f"{name}.0.0"), f"{name}.1.0", 2 if index in STRIDED else 1)
        x = conv(x, f"{name}.2", act=False)
        x = x + before if x.shape == before.shape else x
        if index in (3, 6, 13, 17):
            stages.append(x)
    return stages


def relative_error(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


def test_the_function_is_unchanged_away_from_the_border(tmp_path: Path) -> None:
    encoder = student().eval()
    tensors = folded_weights(encoder.backbone)
    safetensors.torch.save_file(tensors, tmp_path / "folded.safetensors")
    images = torch.randint(0, 256, (3, 96, 96, 3), dtype=torch.uint8)
    load_mobilenet_v2(encoder.backbone, tmp_path / "folded.safetensors", images[:2])
    expected = plain_stages(tensors, images)
    with torch.no_grad():
        got = encoder.backbone(Normalize()(images))
    # The first convolution sees its zero padding, at the right and the bottom, in another
    # normalisation; the stride 4 stage is the last one where part of the picture is out of reach.
    error = relative_error(got[0][:, :, :-4, :-4], expected[0][:, :, :-4, :-4])
    print(f"largest relative error {error:.1e}")
    assert error < 1e-5
    assert relative_error(got[0], expected[0]) > error


def test_every_stage_is_exact_when_the_stem_sees_the_padding_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samedge.models.imagenet._FILE_MEAN", Normalize().mean)
    monkeypatch.setattr("samedge.models.imagenet._FILE_STD", Normalize().std)
    encoder = student().eval()
    tensors = folded_weights(encoder.backbone)
    safetensors.torch.save_file(tensors, tmp_path / "folded.safetensors")
    images = torch.randint(0, 256, (3, 96, 96, 3), dtype=torch.uint8)
    load_mobilenet_v2(encoder.backbone, tmp_path / "folded.safetensors", images[:2])
    as_the_file_saw_them = Normalize()(images).permute(0, 2, 3, 1) * 128 + 128
    with torch.no_grad():
        got = encoder.backbone(Normalize()(images))
    for stage, reference in zip(got, plain_stages(tensors, as_the_file_saw_them), strict=True):
        assert relative_error(stage, reference) < 1e-4


def test_the_batch_norms_really_normalise(tmp_path: Path) -> None:
    encoder = student()
    safetensors.torch.save_file(folded_weights(encoder.backbone), tmp_path / "f.safetensors")
    images = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)
    load_mobilenet_v2(encoder.backbone, tmp_path / "f.safetensors", images)
    assert encoder.training
    assert not encoder.get_submodule("backbone.bn1").training  # frozen
    with torch.no_grad():
        out = encoder.get_submodule("backbone.conv_stem")(Normalize()(images))
    mean = encoder.get_buffer("backbone.bn1.running_mean")
    assert torch.allclose(out.mean((0, 2, 3)), mean, atol=1e-4)


def test_missing_and_misshaped_tensors_are_named(tmp_path: Path) -> None:
    encoder = student()
    tensors = folded_weights(encoder.backbone)
    del tensors["features.5.conv.2.bias"]
    tensors["features.9.conv.0.0.weight"] = torch.zeros(3, 3)
    safetensors.torch.save_file(tensors, tmp_path / "f.safetensors")
    images = torch.zeros(1, 96, 96, 3, dtype=torch.uint8)
    with pytest.raises(CheckpointError, match=r"features\.5\.conv\.2\.bias is missing") as caught:
        load_mobilenet_v2(encoder.backbone, tmp_path / "f.safetensors", images)
    assert "features.9.conv.0.0.weight is (3, 3), expected (384, 64, 1, 1)" in str(caught.value)


def test_the_real_file(shared_data: Path) -> None:
    path = shared_data / "weights" / "mobilenet_v2_imagenet.safetensors"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    encoder = student(image_size=224).eval()
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 7, 7, generator=generator) * 255
    smooth = F.interpolate(coarse, size=(224, 224), mode="bicubic").clamp(0, 255)
    images = smooth.permute(0, 2, 3, 1).to(torch.uint8)
    load_mobilenet_v2(encoder.backbone, path, images)
    with torch.no_grad():
        got = encoder.backbone(Normalize()(images))[0][:, :, :-4, :-4]
    expected = plain_stages(safetensors.torch.load_file(path), images)[0][:, :, :-4, :-4]
    error = relative_error(got, expected)
    print(f"largest relative error at stride 4: {error:.1e}")
    assert error < 1e-4
