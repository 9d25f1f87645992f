"""MobileSAM's TinyViT against timm's independent implementation of the same blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.models.tiny_vit import PatchMerging
from torch import Tensor, nn

from samedge.models._tinyvit import ENCODER, TinyViTConfig
from samedge.models.keymaps import MOBILE_SAM

SIZE = 224  # grids of 56, 28, 14, 14: one is padded to windows, one is a single window


class Reference(nn.Module):
    """timm's tiny_vit_5m without its head, its last stage kept at stride 16, and SAM's neck."""

    def __init__(self) -> None:
        super().__init__()
        self.body: Any = timm.create_model("tiny_vit_5m_224", num_classes=0)
        merge: Any = self.body.stages[3].downsample
        assert isinstance(merge, PatchMerging)
        merge.conv2.conv.stride = (1, 1)  # MobileSAM's only change to the backbone
        from segment_anything.modeling.common import LayerNorm2d

        self.neck = nn.Sequential(
            nn.Conv2d(320, 256, kernel_size=1, bias=False),
            LayerNorm2d(256),
            nn.Conv2d(256, 256, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(256),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.neck(self.body.stages(self.body.patch_embed(x)))
        return out


def mobile_sam_names(reference: Reference) -> dict[str, Tensor]:
    """The reference's tensors under the names that MobileSAM's file uses.

    timm puts the downsampling at the start of a stage, MobileSAM at the end of the one before.
    """
    tensors = {}
    for key, value in reference.state_dict().items():
        name = key.removeprefix("body.")
        name = name.replace("patch_embed.conv1.", "patch_embed.seq.0.")
        name = name.replace("patch_embed.conv2.", "patch_embed.seq.2.")
        for stage in (1, 2, 3):
            name = name.replace(f"stages.{stage}.downsample", f"layers.{stage - 1}.downsample")
        name = name.replace("stages.", "layers.")
        convolution = "conv" in name.rsplit(".", 2)[0]
        if convolution and name.rsplit(".", 2)[1] == "conv":
            name = name.replace(".conv.weight", ".c.weight")
        if name.startswith("patch_embed"):
            name = name.replace(".conv.weight", ".c.weight")
        tensors[f"image_encoder.{name}"] = value
    return tensors


@pytest.fixture(scope="module")
def pair(randomise: Callable[[nn.Module], nn.Module]) -> tuple[Reference, nn.Module]:
    reference = Reference()
    randomise(reference)
    tensors = mobile_sam_names(reference)
    encoder = ENCODER.build(TinyViTConfig(image_size=SIZE))
    state = {}
    for key in encoder.state_dict():
        (source,) = MOBILE_SAM.sources(f"image_encoder.{key}")
        state[key] = tensors.pop(source)
    leftover = [key for key in tensors if not MOBILE_SAM.is_unused(key)]
    assert not leftover, leftover
    encoder.load_state_dict(state)
    return reference.eval(), encoder.eval()


def test_equal_to_timm(pair: tuple[Reference, nn.Module]) -> None:
    reference, encoder = pair
    x = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        expected, got = reference(x), encoder(x)
    assert got.shape == (2, 256, 14, 14)
    difference = float((got - expected).abs().max())
    print(f"embedding: {difference:.1e} of {float(expected.std()):.2f}")
    assert float(expected.std()) > 0.1
    assert difference < 5e-5


def test_every_parameter_counts(pair: tuple[Reference, nn.Module]) -> None:
    """No parameter is idle, so that equality says something about each of them."""
    _, encoder = pair
    encoder.requires_grad_(requires_grad=True)
    encoder(torch.randn(1, 3, SIZE, SIZE)).pow(3).sum().backward()
    idle = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@pytest.mark.parametrize("size", [128, 256])
def test_other_sizes(size: int) -> None:
    config = TinyViTConfig(
        image_size=size, widths=(8, 16, 20, 32), depths=(1, 1, 1, 1), heads=(1, 2, 2, 4)
    )
    encoder = ENCODER.build(config).eval()
    with torch.no_grad():
        assert encoder(torch.randn(1, 3, size, size)).shape == (1, 256, size // 16, size // 16)
