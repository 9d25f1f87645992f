"""The smallest encoder: its shapes, its weights' names, and the input that they were trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from samedge.errors import CheckpointError
from samedge.models._proxyless import ENCODER, ProxylessConfig, ProxylessEncoder
from samedge.models.layers import Normalize
from samedge.models.proxyless_trunk import ProxylessTrunk, load_trunk


def random_file(path: Path) -> ProxylessTrunk:
    """A trunk with random statistics, written under the authors' names."""
    torch.manual_seed(0)
    trunk = ProxylessTrunk().eval()
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    tensors = {}
    for name, tensor in trunk.state_dict().items():
        head, _, rest = name.partition(".")
        number, _, rest = rest.partition(".") if head == "blocks" else ("", "", rest)
        source = f"blocks.{number}.mobile_inverted_conv.{rest}" if number else name
        tensors[source] = tensor
    tensors["classifier.linear.weight"] = torch.zeros(1000, 384)
    safetensors.torch.save_file(tensors, path)
    return trunk


def test_the_embedding_is_at_stride_16() -> None:
    encoder = ENCODER.build(ProxylessConfig(image_size=64, embed_dim=32))
    assert encoder(torch.zeros(1, 3, 64, 64)).shape == (1, 32, 4, 4)


def test_stages() -> None:
    stages = ProxylessTrunk()(torch.zeros(1, 3, 64, 64))
    assert [tuple(s.shape[1:]) for s in stages] == [
        (8, 32, 32),
        (16, 16, 16),
        (16, 8, 8),
        (32, 4, 4),
        (96, 2, 2),
    ]


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_batch_norm(frozen: bool) -> None:
    config = ProxylessConfig(image_size=64, embed_dim=32, frozen_bn=frozen)
    encoder = ENCODER.build(config).train()
    assert isinstance(encoder, ProxylessEncoder)
    assert encoder.backbone.first_conv.bn.training is not frozen
    assert encoder.neck.norm.training


def test_weights_see_the_pixels_that_they_were_trained_on(tmp_path: Path) -> None:
    original = random_file(tmp_path / "w.safetensors")
    trunk = ProxylessTrunk().eval()
    load_trunk(trunk, tmp_path / "w.safetensors")
    pixels: Tensor = torch.rand(1, 96, 96, 3) * 255
    with torch.no_grad():
        theirs = original((pixels.permute(0, 3, 1, 2) - 127.5) / 127.5)
        ours = trunk(Normalize()(pixels))
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))  # away from the padding
    difference = float((theirs[0][inner] - ours[0][inner]).abs().max())
    print(f"largest difference {difference:.2e}")
    assert difference < 1e-4
    assert float(theirs[0].abs().max()) > 0.1


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"first_conv.conv.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"first_conv\.conv\.weight"):
        load_trunk(ProxylessTrunk(), path)


def test_the_authors_file(shared_data: Path) -> None:
    trunk = ProxylessTrunk()
    load_trunk(trunk, shared_data / "weights" / "proxyless-w0.3-r176_imagenet.safetensors")
    assert float(trunk.first_conv.bn.running_var.min()) >= 0  # type: ignore[union-attr]
