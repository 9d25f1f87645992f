"""Masked-autoencoder pretraining: the encoder sees the visible patches only, and learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from samedge.distill.mae import MaeStep, encode_visible, patch_pixels, visible_patches
from samedge.distill.recipe import MaeStage
from samedge.models._vit import ViTConfig, ViTEncoder
from samedge.models.sam import Sam, build_sam

CONFIG = ViTConfig(
    image_size=128,
    width=32,
    depth=3,
    heads=2,
    global_blocks=(1,),
    window=4,
    embed_dim=32,
    mlp_dim=64,
)


@pytest.fixture
def encoder() -> ViTEncoder:
    torch.manual_seed(0)
    encoder = ViTEncoder(CONFIG)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return encoder.eval()


def trunk(encoder: ViTEncoder, images: Tensor) -> Tensor:
    """The whole trunk as the encoder itself computes it, (B, patches, C)."""
    neck, encoder.neck = encoder.neck, nn.Sequential()
    try:
        out: Tensor = encoder(images)
    finally:
        encoder.neck = neck
    return out.flatten(2).transpose(1, 2)


def every_patch(batch: int) -> Tensor:
    return torch.arange(64).expand(batch, -1)


def test_with_nothing_hidden_it_is_the_encoder_itself(encoder: ViTEncoder) -> None:
    images = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        seen = encode_visible(encoder, images, visible=every_patch(2))
        whole = trunk(encoder, images)
    difference = float((seen - whole).abs().max())
    print(f"largest difference {difference:.2e}")
    assert difference < 1e-4


def test_hidden_pixels_have_no_influence(encoder: ViTEncoder) -> None:
    generator = torch.Generator().manual_seed(0)
    visible = visible_patches(1, 64, hidden=0.75, generator=generator)
    images = torch.randn(1, 3, 128, 128)
    hidden = sorted(set(range(64)) - set(visible[0].tolist()))
    other = images.clone()
    for patch in hidden:
        row, column = 16 * (patch // 8), 16 * (patch % 8)
        other[:, :, row : row + 16, column : column + 16] = 9.0
    with torch.no_grad():
        first = encode_visible(encoder, images, visible=visible)
        second = encode_visible(encoder, other, visible=visible)
    assert torch.equal(first, second)


def test_the_share_of_hidden_patches_and_their_choice() -> None:
    first = visible_patches(3, 64, hidden=0.75, generator=torch.Generator().manual_seed(1))
    again = visible_patches(3, 64, hidden=0.75, generator=torch.Generator().manual_seed(1))
    assert first.shape == (3, 16)
    assert torch.equal(first, again)
    assert all(len(set(row.tolist())) == 16 for row in first)
    assert not torch.equal(first[0], first[1])
    assert visible_patches(1, 4, hidden=0.99, generator=torch.Generator()).shape == (1, 1)


def test_targets_are_the_patches_pixels() -> None:
    images = torch.arange(2 * 3 * 32 * 32, dtype=torch.float32).view(2, 3, 32, 32)
    pixels = patch_pixels(images, normalize=False)
    assert pixels.shape == (2, 4, 768)
    assert torch.equal(pixels[1, 2].view(3, 16, 16), images[1, :, 16:, :16])
    normalised = patch_pixels(images, normalize=True)
    assert torch.allclose(normalised.mean(-1), torch.zeros(2, 4), atol=1e-4)
    assert torch.allclose(normalised.var(-1), torch.ones(2, 4), atol=1e-3)


def batch_of(images: Tensor, *, height: int = 128) -> Any:
    return {
        "image": images,
        "valid_size": torch.tensor([[height, 128]]).expand(len(images), -1),
    }


def student() -> Sam:
    torch.manual_seed(0)
    return build_sam(ViTEncoder(CONFIG), 128, embed_dim=32, heads=2, mlp_dim=32)


def test_padding_is_no_target() -> None:
    step = MaeStep(student(), MaeStage(steps=1, decoder_dim=32), bf16=False).eval()
    images = torch.randint(0, 255, (1, 128, 128, 3), dtype=torch.uint8)
    seed = 5
    visible = visible_patches(1, 64, hidden=0.75, generator=torch.Generator().manual_seed(seed))
    padded = images.clone()
    for patch in set(range(32, 64)) - set(visible[0].tolist()):  # hidden, in the lower half
        row, column = 16 * (patch // 8), 16 * (patch % 8)
        padded[:, row : row + 16, column : column + 16] = 0
    with torch.no_grad():
        losses = [float(step(batch_of(i, height=64), seed)[0]) for i in (images, padded)]
        whole = [float(step(batch_of(i), seed)[0]) for i in (images, padded)]
    assert losses[0] == losses[1]
    assert whole[0] != whole[1]


def test_it_learns_and_leaves_neck_and_decoder_alone() -> None:
    model = student()
    step = MaeStep(model, MaeStage(steps=1, decoder_dim=32, decoder_depth=1), bf16=False)
    ramp = torch.linspace(0, 255, 128)
    images = torch.stack([ramp.expand(128, 128), ramp.expand(128, 128).T], 0)
    batch = batch_of(images[..., None].expand(-1, -1, -1, 3).to(torch.uint8))
    optimizer = torch.optim.AdamW(step.parameters(), lr=3e-3)
    losses = []
    for seed in range(30):
        loss, metrics = step(batch, seed)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(metrics["loss"]))
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    assert losses[-1] < 0.5 * losses[0]
    untouched = [p for n, p in model.named_parameters() if not n.startswith("image_encoder.")]
    untouched += list(model.image_encoder.neck.parameters())  # type: ignore[union-attr]
    assert all(p.grad is None for p in untouched)
