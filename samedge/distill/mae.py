"""Masked-autoencoder pretraining of SAM's ViT: most patches are hidden, the rest predict them.

The encoder computes only what it sees: its own blocks, with attention among the visible patches
(inside their window, where a block has windows) and the relative positions that these have in the
whole picture. A light decoder that is thrown away predicts the hidden patches' pixels.

Source: He et al., "Masked Autoencoders Are Scalable Vision Learners", 2022 (arXiv:2111.06377).
SAM pads a grid that its window does not divide with zero patches that take part in the attention;
here they do not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.distill.data import Sample
from samedge.distill.losses import valid_coverage
from samedge.distill.recipe import MaeStage
from samedge.distill.stages import Metrics, autocast
from samedge.models._vit import Attention, Block, ViTEncoder
from samedge.models.promptable import PromptableModel

_PATCH = 16
_MASKED = -1e4


def visible_patches(
    batch: int, patches: int, *, hidden: float, generator: torch.Generator
) -> Tensor:
    """Draw which patches stay visible.

    Args:
        batch: images.
        patches: patches of an image.
        hidden: share that is hidden.
        generator: source of the choice.

    Returns:
        (batch, V) int64 indices, sorted; V is at least 1.
    """
    kept = max(1, round(patches * (1 - hidden)))
    noise = torch.rand(batch, patches, generator=generator)
    return noise.argsort(1)[:, :kept].sort(1).values


def _position_scores(attention: Attention, q: Tensor, at: Tensor) -> Tensor:
    """What queries say of the row and column distances to every key.

    Args:
        attention: the block's.
        q: (B, heads, V, head_dim) queries.
        at: (B, V, 2) row and column of every patch, inside its window.

    Returns:
        (B, heads, V, V).
    """
    scores = torch.zeros(())
    for axis, table in ((0, attention.rel_h()), (1, attention.rel_w())):
        place = at[..., axis]
        by_key = torch.einsum("bhvd,bvdk->bhvk", q, table[place])
        keys = place[:, None, None, :].expand(-1, q.shape[1], q.shape[2], -1)
        scores = scores + by_key.gather(3, keys)
    return scores


def _attend(attention: Attention, x: Tensor, at: Tensor, same_window: Tensor | None) -> Tensor:
    """``Attention.forward`` among (B, V, C) visible patches."""
    batch, count, channels = x.shape
    split = (batch, count, 3 * attention.heads, attention.head_dim)
    qkv = attention.qkv(x).reshape(split).transpose(1, 2)
    q, k, v = qkv.split(attention.heads, dim=1)
    scores = (q * (1.0 / math.sqrt(attention.head_dim))) @ k.transpose(2, 3)
    scores = scores + _position_scores(attention, q, at)
    if same_window is not None:
        scores = scores.masked_fill(~same_window[:, None], _MASKED)
    mixed = torch.softmax(scores, dim=-1) @ v
    out: Tensor = attention.proj(mixed.transpose(1, 2).reshape(batch, count, channels))
    return out


def _through_block(block: Block, x: Tensor, at: Tensor) -> Tensor:
    """``Block.forward`` for (B, V, C) patches at (B, V, 2) rows and columns of the grid."""
    same_window, inside = None, at
    if block.window:
        window = at // block.window
        inside = at % block.window
        same_window = (window[:, :, None] == window[:, None]).all(-1)
    x = x + _attend(block.attn, block.norm1(x), inside, same_window)
    out: Tensor = x + block.lin2(F.gelu(block.lin1(block.norm2(x))))
    return out


def encode_visible(encoder: ViTEncoder, images: Tensor, *, visible: Tensor) -> Tensor:
    """The trunk's output for the visible patches; the neck is not used.

    Args:
        encoder: SAM's ViT.
        images: (B, 3, S, S) normalised.
        visible: (B, V) indices of the patches, row by row.

    Returns:
        (B, V, C).
    """
    patches = encoder.patch_embed(images).flatten(2).transpose(1, 2)
    x: Tensor = patches + encoder.pos_embed.flatten(1, 2)
    x = x.gather(1, visible[..., None].expand(-1, -1, x.shape[-1]))
    side = encoder.config.grid
    at = torch.stack([visible // side, visible % side], -1)
    for block in encoder.blocks:
        assert isinstance(block, Block)
        x = _through_block(block, x, at)
    return x


def patch_pixels(images: Tensor, *, normalize: bool) -> Tensor:
    """Pixels of every patch, the target.

    Args:
        images: (B, 3, S, S).
        normalize: whether each patch is brought to mean 0 and variance 1.

    Returns:
        (B, patches, 3 * 16 * 16).
    """
    pixels = F.unfold(images, _PATCH, stride=_PATCH).transpose(1, 2)
    if not normalize:
        return pixels
    spread = (pixels.var(-1, keepdim=True) + 1e-6).sqrt()
    return (pixels - pixels.mean(-1, keepdim=True)) / spread


def _sine_positions(side: int, width: int) -> Tensor:
    """Fixed sine and cosine encoding of a square grid, (1, side * side, width)."""
    rates = torch.exp(torch.arange(width // 4) * (-math.log(10000.0) / (width // 4)))
    angles = torch.arange(side)[:, None] * rates
    axis = torch.cat([angles.sin(), angles.cos()], 1)
    rows = axis[:, None].expand(side, side, -1)
    columns = axis[None].expand(side, side, -1)
    return torch.cat([rows, columns], 2).reshape(1, side * side, -1)


class PixelDecoder(nn.Module):
    """A light transformer from visible patches to all patches' pixels; thrown away afterwards.

    Args:
        encoder_width: channels of the encoder's trunk.
        side: patches along a side.
        stage: the recipe's section.
    """

    positions: Tensor

    def __init__(self, encoder_width: int, side: int, stage: MaeStage) -> None:
        super().__init__()
        width = stage.decoder_dim
        self.enter = nn.Linear(encoder_width, width)
        self.hidden = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.normal_(self.hidden, std=0.02)
        self.register_buffer("positions", _sine_positions(side, width), persistent=False)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                stage.decoder_heads,
                4 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(stage.decoder_depth)
        )
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, 3 * _PATCH * _PATCH)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """Map (B, V, C) visible patches at (B, V) indices to (B, patches, pixels)."""
        entered = self.enter(x)
        every = self.hidden.to(entered.dtype).expand(len(x), self.positions.shape[1], -1)
        index = visible[..., None].expand(-1, -1, entered.shape[-1])
        every = every.scatter(1, index, entered) + self.positions
        for block in self.blocks:
            every = block(every)
        out: Tensor = self.leave(self.norm(every))
        return out


class MaeStep(nn.Module):
    """Hide patches, predict their pixels.

    Args:
        student: a model with SAM's ViT; its neck and decoder are not touched.
        stage: the recipe's section.
        bf16: whether to compute the network in bf16.
    """

    def __init__(self, student: PromptableModel, stage: MaeStage, *, bf16: bool) -> None:
        super().__init__()
        encoder = student.image_encoder
        assert isinstance(encoder, ViTEncoder), "the recipe's check lets only ViT encoders through"
        self.student, self.stage, self.bf16 = student, stage, bf16
        self.decoder = PixelDecoder(encoder.config.width, encoder.config.grid, stage)

    def forward(self, batch: Sample, seed: int) -> tuple[Tensor, Metrics]:
        """Loss and metrics of one batch.

        Args:
            batch: the samples; only images and their sizes are used.
            seed: of the choice of hidden patches.
        """
        encoder = self.student.image_encoder
        assert isinstance(encoder, ViTEncoder)
        images = self.student.normalize(batch["image"])
        side = encoder.config.grid
        generator = torch.Generator().manual_seed(seed)
        visible = visible_patches(
            len(images), side * side, hidden=self.stage.hidden, generator=generator
        ).to(images.device)
        with autocast(images.device, enabled=self.bf16):
            predicted = self.decoder(encode_visible(encoder, images, visible=visible), visible)
        target = patch_pixels(images, normalize=self.stage.normalize)
        error = (predicted.float() - target).square().mean(-1)
        size = batch["image"].shape[1]
        weight = valid_coverage(batch["valid_size"], side, image_size=size).flatten(1)
        weight = weight.scatter(1, visible, 0.0)
        loss = (error * weight).sum() / weight.sum().clamp(min=1.0)
        return loss, {"loss": loss.detach()}
