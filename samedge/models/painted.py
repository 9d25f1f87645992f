"""The click-map decoder of the embedded models: click and distance maps (RITM), then convolutions.

SAM's two-way decoder learns slowly from little data, because sparse tokens alone do not tell it
where to look. Here prompts are drawn as maps on the low-res grid (:mod:`samedge.models.painting`;
RITM, Sofiiuk et al. 2021), the appearance under the prompt is pooled from the image embedding and
compared with every position (feature matching as in interactive video segmentation, e.g. FEELVOS,
Voigtlaender et al. 2019), and a small U-shaped network turns both into the same outputs that SAM's
decoder has. It keeps SAM's tensors to the letter, so the runtime cannot tell the two apart.

Everything is convolution, matrix product and plain arithmetic on fixed grids; coordinates are
divided by the image size first, so that no intermediate value leaves the range of fp16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.models.painted_trunk import (
    EARLIER_SCALE,
    PLANES,
    POOL,
    POOLED_PROMPTS,
    Drawing,
    PaintedConfig,
    PaintedTrunk,
    column,
    evidence,
)
from samedge.models.painting import CELLS_CUT, CLICK_SIGMAS, RADIUS_CUT, Paint, constant
from samedge.models.promptable import PromptableModel, image_embeddings


class Block(nn.Module):
    """Residual block: 7x7 depthwise, norm, two 1x1 (ConvNeXt, Liu et al. 2022, with ReLU)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = ChannelNorm(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same."""
        y: Tensor = self.project(F.relu(self.expand(self.norm(self.depthwise(x)))))
        return x + y


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every pixel's channels."""
        centred = x - x.mean(1, keepdim=True)
        scale = torch.rsqrt((centred * centred).mean(1, keepdim=True) + self.eps)
        return centred * scale * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class PaintedDecoder(PaintedTrunk):
    """Prompts and an image embedding to four masks, with SAM's tensors in and out.

    Args:
        image_size: side S of the padded input, in pixels; a multiple of 16.
        config: widths.
    """

    token_code: Tensor

    def __init__(self, image_size: int, config: PaintedConfig | None = None) -> None:
        c = config or PaintedConfig()
        super().__init__(image_size, c)
        keys = c.heads * c.head_dim
        # What depends on the image alone: done once an image, whatever the number of prompts.
        self.image_coarse = nn.Conv2d(c.embed_dim, c.coarse, 1)
        self.image_middle = nn.ConvTranspose2d(c.embed_dim, c.middle, 2, stride=2)
        self.image_fine = nn.Sequential(nn.Conv2d(c.embed_dim, 16 * c.fine, 1), nn.PixelShuffle(4))
        self.image_keys = nn.Conv2d(c.embed_dim, keys, 1)
        # What depends on the prompt.
        self.paint_fine = nn.Conv2d(PLANES, c.fine, 3, padding=1)
        self.paint_middle = nn.Conv2d(c.fine, c.middle, 2, stride=2)
        self.paint_coarse = nn.Conv2d(c.middle, c.coarse, 2, stride=2)
        self.match = nn.Conv2d(POOLED_PROMPTS * c.heads, c.coarse, 1)
        self.blocks = nn.Sequential(*(Block(c.coarse) for _ in range(c.blocks)))
        self.up_middle = nn.Conv2d(c.coarse, c.middle, 1)
        self.middle = nn.Conv2d(c.middle, c.middle, 3, padding=1)
        self.middle_norm = ChannelNorm(c.middle)
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
        constant(self, "token_code", torch.eye(4).view(1, 1, 4, 4))
        self._start_from_the_painting()

    def _start_from_the_painting(self) -> None:
        """Let the painted prompt be the whole answer at first; the network's part grows from 0."""
        nn.init.zeros_(self.masks.weight)
        nn.init.zeros_(self.masks.bias)  # type: ignore[arg-type]
        for block in self.blocks:
            nn.init.normal_(block.project.weight, std=0.02)  # type: ignore[union-attr, arg-type]

    def _laid_out(self, x: Tensor) -> Tensor:
        # Channels last halves the time of these convolutions on a CPU; exporters do not see it.
        return x.contiguous(memory_format=torch.channels_last)

    def _planes(self, painted: Paint, earlier: Tensor, has: Tensor) -> Tensor:
        box = [painted.edges * (1 / CELLS_CUT), painted.sharp, painted.radius * (1 / RADIUS_CUT)]
        flags = [self.plane * painted.present, earlier * EARLIER_SCALE, self.plane * has]
        return self._laid_out(torch.cat([painted.clicks, *box, *flags], 1))

    def _pooled(self, clicks: Tensor, known: Tensor, inside: Tensor, ring: Tensor) -> Tensor:
        near, far = _precise(clicks)
        return F.avg_pool2d(torch.cat([near + known, far, inside, ring], 1), POOL, POOL)

    def _near_edges(self, drawing: Drawing) -> Tensor:
        drawn = drawing.paint
        return (
            drawn.edges * (1 / CELLS_CUT) * column(self.box_weight)
            + drawn.sharp * column(self.edge_weight)
            + drawn.sharp * drawn.small * column(self.small_weight)
        )

    def _with_seen(self, start: Tensor, drawing: Drawing) -> Tensor:
        near, far = _precise(drawing.paint.clicks)
        known = drawing.earlier * column(self.mask_weight)
        return start + known + (near - far) * column(self.touch_weight)

    def _iou(self, logits: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        found = evidence(logits.detach(), fine, coarse)
        code = self.token_code.expand(logits.shape[0], -1, -1, -1)
        quality: Tensor = torch.sigmoid(self.quality(torch.cat([*found, code], -1)))
        return quality.reshape(-1, 4)


def _precise(clicks: Tensor) -> tuple[Tensor, Tensor]:
    """The narrowest foreground and background clicks, each (B, 1, G, G)."""
    far = len(CLICK_SIGMAS)
    return clicks[:, :1], clicks[:, far : far + 1]


class PaintedSam(PromptableModel):
    """An image encoder under the click-map decoder of the embedded models."""

    decoder_name = "painted"

    def __init__(self, image_encoder: nn.Module, decoder: PaintedDecoder) -> None:
        maps = (image_embeddings(decoder.config.embed_dim),)
        super().__init__(image_encoder, decoder.image_size, maps=maps)
        self.decoder = decoder

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
