"""Any timm backbone becomes a student."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from samedge.errors import CheckpointError, UnknownNameError
from samedge.models._timm import ENCODER, TimmConfig, TimmEncoder
from samedge.models.base import encoder
from samedge.models.layers import LayerNorm2d
from samedge.models.same_padding import SameConv2d


@pytest.mark.parametrize(
    ("backbone", "strides"),
    [
        ("test_resnet.r160_in1k", (4, 8, 16, 32)),
        ("test_efficientnet.r160_in1k", (4, 8, 16, 32)),
        ("test_vit.r160_in1k", (16,)),
        ("swin_s3_tiny_224", (4, 8, 16, 32)),
    ],
)
def test_backbones_give_an_embedding_at_stride_16(backbone: str, strides: tuple[int, ...]) -> None:
    built = ENCODER.build(TimmConfig(backbone, image_size=128, embed_dim=32, body_blocks=1))
    assert isinstance(built, TimmEncoder)
    assert built.neck.strides == strides
    with torch.no_grad():
        assert built.eval()(torch.randn(2, 3, 128, 128)).shape == (2, 32, 8, 8)


def test_every_stage_reaches_the_embedding() -> None:
    built = ENCODER.build(TimmConfig("mobilenetv2_100", image_size=64, embed_dim=32))
    built.train()(torch.randn(2, 3, 64, 64)).square().sum().backward()
    idle = [name for name, p in built.named_parameters() if p.grad is None or not p.grad.any()]
    # Batch norm takes away a constant, so a convolution's gradient may vanish but not a stage's.
    assert not [name for name in idle if name.startswith("neck.paths")], idle


def test_detail_inside_a_cell_survives() -> None:
    """A line moved inside one 16 px cell must change the embedding of that cell."""
    torch.manual_seed(0)
    built = ENCODER.build(TimmConfig("mobilenetv2_100", image_size=64)).eval()
    left, right = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    left[..., 36], right[..., 42] = 3.0, 3.0
    with torch.no_grad():
        difference = (built(left) - built(right))[0, :, :, 2]
    assert difference.abs().mean() > 1e-3


def test_norms() -> None:
    layer = ENCODER.build(TimmConfig("mobilenetv2_100", embed_dim=32, norm="layer"))
    batch = ENCODER.build(TimmConfig("mobilenetv2_100", embed_dim=32, norm="batch"))
    assert isinstance(layer, TimmEncoder)
    assert isinstance(batch, TimmEncoder)
    assert isinstance(layer.neck.norm, LayerNorm2d)
    assert isinstance(batch.neck.norm, nn.BatchNorm2d)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_batch_norm(frozen: bool) -> None:
    built = ENCODER.build(TimmConfig("mobilenetv2_100", embed_dim=32, frozen_bn=frozen)).train()
    assert isinstance(built, TimmEncoder)
    before = built.backbone.get_buffer("bn1.running_mean").clone()
    built(torch.randn(2, 3, 64, 64))
    assert torch.equal(before, built.backbone.get_buffer("bn1.running_mean")) is frozen
    assert built.get_submodule("neck.body.0.norm1").training


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (2, 2), (7, 4), (1, 2)])
def test_same_padding_is_tensorflows(kernel: int, stride: int) -> None:
    conv = nn.Conv2d(3, 4, kernel, stride=stride, padding=kernel // 2)
    reference = timm.layers.Conv2dSame(3, 4, kernel, stride=stride)
    reference.load_state_dict(conv.state_dict())
    x = torch.randn(1, 3, 32, 32)
    assert torch.allclose(SameConv2d.from_conv(conv)(x), reference(x), atol=1e-6)


@pytest.mark.parametrize("backbone", ["test_resnet.r160_in1k", "test_convnext.r160_in1k"])
def test_local_weights(backbone: str, tmp_path: Path) -> None:
    full = timm.create_model(backbone, pretrained=False)
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(full.state_dict(), path)
    config = TimmConfig(backbone, image_size=64, embed_dim=32, weights=str(path))
    built = ENCODER.build(config)
    assert isinstance(built, TimmEncoder)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        last = full.eval().forward_intermediates(x, intermediates_only=True)[-1]
        assert torch.allclose(built.eval().backbone(x)[-1], last, atol=1e-5)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"conv_stem.weight": torch.zeros(8, 3, 3, 3)}, path)
    with pytest.raises(CheckpointError, match=r"lacks \d+ tensors .*bn1\.weight"):
        ENCODER.build(TimmConfig("mobilenetv2_100", weights=str(path)))


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="mobilenetv2_100"):
        ENCODER.build(TimmConfig("mobilenet_v2_100"))
    with pytest.raises(UnknownNameError, match="Did you mean 'backbone'"):
        encoder("timm").config_from_mapping({"backbon": "resnet18"})
    with pytest.raises(CheckpointError, match="backbone"):
        encoder("timm").config_from_mapping({"image_size": 64})


def test_what_timm_brings_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub asks this variable once, when it is loaded."""
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    encoder("timm")
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
