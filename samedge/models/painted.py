"""A convolutional mask decoder that sees prompts as pictures: the decoder of the embedded models.

SAM's two-way decoder learns slowly from little data, because sparse tokens alone do not tell it
where to look. Here prompts are painted as maps on the low-res grid (clicks as Gaussians, as in
RITM, Sofiiuk et al. 2021; a box as its clipped signed distance), the appearance under the prompt
is pooled from the image embedding and compared with every position (feature matching as in
interactive video segmentation, e.g. FEELVOS, Voigtlaender et al. 2019), and a small U-shaped
network turns both into the same outputs that SAM's decoder has. It keeps SAM's tensors to the
letter, so the runtime cannot tell the two apart.

Everything is convolution, matrix product and plain arithmetic on fixed grids; coordinates are
divided by the image size first, so that no intermediate value leaves the range of fp16.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.models.promptable import PromptableModel
from samedge.types import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND

CLICK_SIGMAS = (6 / 512, 24 / 512)
"""Widths of the painted clicks, as fractions of the image: one precise, one that finds the part."""

PRIOR_SIGMAS = (48 / 512, 20 / 512, 48 / 512, 110 / 512)
"""Widths of the blobs that the four masks of a click start from; masks 1 to 3 are SAM's subpart,
part and whole."""

_PAINTED_CHANNELS = 10
POOLED_PROMPTS = 4


@dataclasses.dataclass(frozen=True)
class PaintedConfig:
    """Widths of the decoder.

    Attributes:
        embed_dim: channels of the image embedding.
        coarse, middle, fine: channels at strides 16, 8 and 4 of the input.
        blocks: residual blocks at stride 16.
        heads: groups in which the pooled appearance is compared.
        head_dim: channels of one group.
    """

    embed_dim: int = 256
    coarse: int = 128
    middle: int = 48
    fine: int = 24
    blocks: int = 3
    heads: int = 4
    head_dim: int = 16


class PromptPainter(nn.Module):
    """Paints points and boxes on the low-res grid.

    Args:
        image_size: side S of the padded input, in pixels.
    """

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.grid = image_size // 4
        centres = (torch.arange(self.grid, dtype=torch.float32) + 0.5) / self.grid
        self.register_buffer("centres", centres, persistent=False)
        self.centres: Tensor

    def blob(self, coords: Tensor, weights: Tensor, sigma: float) -> Tensor:
        """Sum of Gaussians, cut at 1.

        Args:
            coords: (B, N, 2), xy as fractions of the image.
            weights: (B, N), what each point counts.
            sigma: standard deviation, as a fraction of the image.

        Returns:
            (B, 1, G, G) in 0 to 1, G = S/4.
        """
        # A Gaussian is the product of its profiles, so the sum over points is one matrix product.
        scale = 0.5**0.5 / sigma
        offset = (self.centres - coords.unsqueeze(-1)) * scale  # (B, N, 2, G)
        profile = torch.exp(-(offset.clamp(-8.0, 8.0) ** 2))
        across, down = profile[:, :, 0], profile[:, :, 1] * weights.unsqueeze(-1)
        return (down.transpose(1, 2) @ across).clamp(max=1.0).unsqueeze(1)

    def box(self, coords: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distance maps of the box of each prompt.

        Returns:
            (B, 3, G, G): signed distance to the edge in cells, cut at 8 cells and divided by 8; the
            same cut at 1 cell; squared distance from the centre in half sides, cut at 4 and
            divided by 4. Zero where there is no box. (B, 1, 1, 1): 1 where there is a box. And
            (B, 1, 1, 1): how few cells the box has, 1 up to half sides of 2, 0 from 6.
        """
        low = ((labels == BOX_TOP_LEFT).to(coords.dtype).unsqueeze(-1) * coords).sum(1)
        high = ((labels == BOX_BOTTOM_RIGHT).to(coords.dtype).unsqueeze(-1) * coords).sum(1)
        present = (labels == BOX_TOP_LEFT).to(coords.dtype).sum(1).clamp(max=1.0).view(-1, 1, 1, 1)
        low, high = low.unsqueeze(-1), high.unsqueeze(-1)  # (B, 2, 1)
        inside = torch.minimum(self.centres - low, high - self.centres) * self.grid  # (B, 2, G)
        across, down = inside[:, 0].unsqueeze(1), inside[:, 1].unsqueeze(2)
        distance = torch.minimum(across, down).unsqueeze(1)
        half = ((high - low) * 0.5).clamp(min=1 / self.image_size)
        ratio = ((self.centres - (low + high) * 0.5) / half).clamp(-2.0, 2.0) ** 2
        radius = (ratio[:, 0].unsqueeze(1) + ratio[:, 1].unsqueeze(2)).unsqueeze(1).clamp(max=4.0)
        maps = torch.cat(
            [distance.clamp(-8.0, 8.0) * 0.125, distance.clamp(-1.0, 1.0), radius * 0.25], 1
        )
        cells = half.mean(1, keepdim=True).unsqueeze(-1) * self.grid  # (B, 1, 1, 1)
        small = ((6.0 - cells) * 0.25).clamp(0.0, 1.0) * present
        return maps * present, present, small


class _Block(nn.Module):
    """Residual block: 7x7 depthwise, norm, two 1x1 (ConvNeXt, Liu et al. 2022, with ReLU)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = _ChannelNorm(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(F.relu(self.expand(self.norm(self.depthwise(x)))))
        return x + y


class _ChannelNorm(nn.Module):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        scale = torch.rsqrt((centred * centred).mean(1, keepdim=True) + self.eps)
        return centred * scale * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


def _pool(x: Tensor, factor: int) -> Tensor:
    return F.avg_pool2d(x, factor, factor)


def _per_prompt(x: Tensor, prompts: int) -> Tensor:
    """Repeat images (b, ...) for the prompts (B, ...) of each; a single image broadcasts."""
    if x.shape[0] == 1:
        return x
    return x.repeat_interleave(prompts // x.shape[0], 0)


class PaintedDecoder(nn.Module):
    """Prompts and an image embedding to four masks, with SAM's tensors in and out.

    Args:
        image_size: side S of the padded input, in pixels; a multiple of 16.
        config: widths.
    """

    def __init__(self, image_size: int, config: PaintedConfig | None = None) -> None:
        super().__init__()
        c = self.config = config or PaintedConfig()
        self.image_size = image_size
        self.painter = PromptPainter(image_size)
        keys = c.heads * c.head_dim
        # What depends on the image alone: done once an image, whatever the number of prompts.
        self.image_coarse = nn.Conv2d(c.embed_dim, c.coarse, 1)
        self.image_middle = nn.ConvTranspose2d(c.embed_dim, c.middle, 2, stride=2)
        self.image_fine = nn.Sequential(nn.Conv2d(c.embed_dim, 16 * c.fine, 1), nn.PixelShuffle(4))
        self.image_keys = nn.Conv2d(c.embed_dim, keys, 1)
        # What depends on the prompt.
        self.paint_fine = nn.Conv2d(_PAINTED_CHANNELS, c.fine, 3, padding=1)
        self.paint_middle = nn.Conv2d(c.fine, c.middle, 2, stride=2)
        self.paint_coarse = nn.Conv2d(c.middle, c.coarse, 2, stride=2)
        self.match = nn.Conv2d(POOLED_PROMPTS * c.heads, c.coarse, 1)
        self.blocks = nn.Sequential(*(_Block(c.coarse) for _ in range(c.blocks)))
        self.up_middle = nn.Conv2d(c.coarse, c.middle, 1)
        self.middle = nn.Conv2d(c.middle, c.middle, 3, padding=1)
        self.middle_norm = _ChannelNorm(c.middle)
        self.up_fine = nn.Conv2d(c.middle, c.fine, 1)
        self.fine = nn.Conv2d(c.fine, c.fine, 3, padding=1)
        self.masks = nn.Conv2d(c.fine, 4, 1)
        self.box_weight = nn.Parameter(torch.tensor([4.0, 4.0, 4.0, 4.0]))
        self.edge_weight = nn.Parameter(torch.tensor([1.0, 1.0, 1.0, 1.0]))
        # Boxes of few cells are trusted more: the grid is too coarse for what is in them.
        self.small_weight = nn.Parameter(torch.zeros(4))
        self.radius_weight = nn.Parameter(torch.tensor([1.0, 1.0, 1.0, 1.0]))
        self.click_weight = nn.Parameter(torch.tensor([6.0, 6.0, 6.0, 6.0]))
        self.click_bias = nn.Parameter(torch.tensor([-3.0, -3.0, -3.0, -3.0]))
        self.mask_weight = nn.Parameter(torch.tensor([0.7, 0.7, 0.7, 0.7]))
        self.touch_weight = nn.Parameter(torch.tensor([2.0, 2.0, 2.0, 2.0]))
        self.quality = nn.Sequential(
            nn.Linear(c.fine + c.coarse + 3 + 4, 64), nn.ReLU(), nn.Linear(64, 1)
        )
        self.register_buffer("token_code", torch.eye(4).unsqueeze(0), persistent=False)
        self.token_code: Tensor
        self._start_from_the_painting()

    def _start_from_the_painting(self) -> None:
        """Let the painted prompt be the whole answer at first; the network's part grows from 0."""
        nn.init.zeros_(self.masks.weight)
        nn.init.zeros_(self.masks.bias)  # type: ignore[arg-type]
        for block in self.blocks:
            nn.init.normal_(block.project.weight, std=0.02)  # type: ignore[union-attr, arg-type]

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompts.

        Args:
            image_embeddings: (1, C, S/16, S/16), or (b, C, S/16, S/16) with B a multiple of b and
                the prompts of one image side by side.
            point_coords: (B, N, 2), xy pixels of the S x S input.
            point_labels: (B, N), as in :mod:`samedge.types`; negative labels paint nothing.
            mask_input: (B, 1, S/4, S/4), low-res logits of an earlier mask.
            has_mask_input: (B,), 1 where ``mask_input`` counts.

        Returns:
            low_res_masks (B, 4, S/4, S/4) and iou_predictions (B, 4).
        """
        count = point_coords.shape[0]
        coords = (point_coords + 0.5) / self.image_size
        earlier = mask_input.clamp(-8.0, 8.0) * has_mask_input.view(-1, 1, 1, 1)
        clicks, box, present, small, painted = self._paint(
            coords, point_labels, earlier, has_mask_input
        )

        # Channels last halves the time of these convolutions on a CPU; exporters do not see it.
        painted = painted.contiguous(memory_format=torch.channels_last)
        fine = self.paint_fine(painted)
        middle = self.paint_middle(F.relu(fine))
        coarse = self.paint_coarse(F.relu(middle))
        coarse = coarse + _per_prompt(self.image_coarse(image_embeddings), count)
        similar = self._match(image_embeddings, clicks, box, present, earlier)
        coarse = coarse + self.match(similar.contiguous(memory_format=torch.channels_last))
        coarse = self.blocks(coarse)

        middle = middle + _per_prompt(self.image_middle(image_embeddings), count)
        middle = middle + F.interpolate(self.up_middle(coarse), scale_factor=2.0, mode="nearest")
        middle = F.relu(self.middle_norm(middle))
        middle = middle + F.relu(self.middle(middle))

        fine = fine + _per_prompt(self.image_fine(image_embeddings), count)
        fine = fine + F.interpolate(
            self.up_fine(middle), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        fine = F.relu(fine)
        fine = fine + F.relu(self.fine(fine))

        logits = self.masks(fine) + self._prior(
            coords, point_labels, clicks, box, present, small, earlier, has_mask_input
        )
        return logits, self._iou(logits, fine, coarse)

    def _paint(
        self, coords: Tensor, labels: Tensor, earlier: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        foreground = (labels == FOREGROUND).to(coords.dtype)
        background = (labels == BACKGROUND).to(coords.dtype)
        clicks = torch.cat(
            [
                self.painter.blob(coords, weights, sigma)
                for weights in (foreground, background)
                for sigma in CLICK_SIGMAS
            ],
            1,
        )
        box, present, small = self.painter.box(coords, labels)
        ones = torch.ones_like(earlier)
        painted = torch.cat(
            [
                clicks,
                box,
                ones * present,
                earlier * 0.25,
                ones * has_mask.view(-1, 1, 1, 1),
            ],
            1,
        )
        return clicks, box, present, small, painted

    def _match(
        self, embeddings: Tensor, clicks: Tensor, box: Tensor, present: Tensor, earlier: Tensor
    ) -> Tensor:
        """Cosine similarity of every position with the appearance under the prompt.

        Returns:
            (B, prompts * heads, S/16, S/16); zero for a kind of prompt that is absent.
        """
        c = self.config
        keys = self.image_keys(embeddings)
        side = keys.shape[-1]
        keys = keys.reshape(-1, c.heads, c.head_dim, side * side)
        norm = (keys * keys).sum(2, keepdim=True)
        keys = _per_prompt(keys * torch.rsqrt(norm + 1e-3), clicks.shape[0])
        inside = ((1.0 - box[:, 2:3] * 4.0).clamp(0.0, 1.0)) * present
        ring = (box[:, 2:3] * 4.0 - 1.5).clamp(0.0, 1.0) * present
        known = torch.sigmoid(earlier) - 0.5  # positive inside an earlier mask, 0 without one
        weights = torch.cat(
            [clicks[:, 0:1] + known.clamp(min=0.0), clicks[:, 2:3], inside, ring], 1
        )
        weights = _pool(weights, 4).flatten(2)  # (B, prompts, L)
        weights = weights / (weights.sum(2, keepdim=True) + 1e-3)
        pooled = torch.einsum("bpl,bhdl->bhpd", weights, keys.expand(weights.shape[0], -1, -1, -1))
        similar = pooled @ keys  # (B, heads, prompts, L)
        return similar.reshape(weights.shape[0], c.heads * POOLED_PROMPTS, side, side)

    def _prior(
        self,
        coords: Tensor,
        labels: Tensor,
        clicks: Tensor,
        box: Tensor,
        present: Tensor,
        small: Tensor,
        earlier: Tensor,
        has_mask: Tensor,
    ) -> Tensor:
        """Logits that the painting alone would give, (B, 4, S/4, S/4)."""
        foreground = (labels == FOREGROUND).to(coords.dtype)
        blobs = torch.cat(
            [self.painter.blob(coords, foreground, sigma) for sigma in PRIOR_SIGMAS], 1
        )
        has = has_mask.view(-1, 1, 1, 1)
        from_click = blobs * _column(self.click_weight) + _column(self.click_bias)
        radius = (0.75 - 4.0 * box[:, 2:3]).clamp(min=-1.0) * present
        from_box = (
            box[:, 0:1] * _column(self.box_weight)
            + box[:, 1:2] * _column(self.edge_weight)
            + box[:, 1:2] * small * _column(self.small_weight)
            + radius * _column(self.radius_weight)
        )
        start = from_box + (1.0 - present) * from_click
        touch = (clicks[:, 0:1] - clicks[:, 2:3]) * _column(self.touch_weight)
        return (1.0 - has) * start + earlier * _column(self.mask_weight) + touch

    def _iou(self, logits: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        """Each mask's IoU, estimated from what lies under it and how sure its edge is."""
        chance = torch.sigmoid(logits.detach())
        area = chance.mean((2, 3)).unsqueeze(-1)  # (B, 4, 1)
        scale = 1.0 / (area + 1e-4)
        sure = (chance * chance).mean((2, 3)).unsqueeze(-1) * scale
        cells = fine.shape[-1] * fine.shape[-2]
        under = (chance.flatten(2) / cells) @ fine.flatten(2).transpose(1, 2) * scale
        small = _pool(chance, 4)
        below = (small.flatten(2) / (cells / 16)) @ coarse.flatten(2).transpose(1, 2) * scale
        code = self.token_code.expand(logits.shape[0], -1, -1)
        root = torch.sqrt(area)
        features = torch.cat([under, below, root, sure, sure * sure, code], -1)
        quality: Tensor = torch.sigmoid(self.quality(features)).squeeze(-1)
        return quality


class PaintedSam(PromptableModel):
    """An image encoder under the painted-prompt decoder of the embedded models."""

    def __init__(self, image_encoder: nn.Module, decoder: PaintedDecoder) -> None:
        super().__init__(image_encoder, decoder.image_size)
        self.decoder = decoder

    @property
    def embed_dim(self) -> int:
        """Channels C of the image embedding."""
        return self.decoder.config.embed_dim

    def decode(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`PromptableModel.decode`; B may also be a multiple of the number of images."""
        low_res_masks, iou_predictions = self.decoder(
            image_embeddings, point_coords, point_labels, mask_input, has_mask_input
        )
        return low_res_masks, iou_predictions


def _column(weight: Tensor) -> Tensor:
    return weight.view(1, -1, 1, 1)
