"""An encoder whose decoder gets real high-resolution features: three maps of one backbone.

The embedding at stride 16 is fused from the stages at strides 8 to 32. From there a narrow path
leads back up (feature pyramid, Lin et al. 2017), so that the maps at strides 8 and 4 carry both
what the backbone saw there (stride 2 included, folded) and what the whole picture is about; SAM 2
hands its decoder such maps under the same names. All that depends on the image alone is done here,
once an image, whatever the number of prompts: the embedding is already cut into what the decoder
of :mod:`samedge.models.click_decoder` adds, compares and pools.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.models.base import Encoder, keep_statistics
from samedge.models.click_parts import ClickWidths, click_maps
from samedge.models.neck import ResidualBlock
from samedge.models.promptable import EmbeddingMap
from samedge.models.proxyless_trunk import CHANNELS as PROXYLESS_CHANNELS
from samedge.models.proxyless_trunk import ProxylessTrunk
from samedge.models.same_padding import use_same_padding

_STRIDES = (2, 4, 8, 16, 32)

Trunk = Literal["mobilenetv2_100", "proxyless"]


class ImageFeatures(NamedTuple):
    """What the decoder needs of an image.

    Attributes:
        image_embeddings: (B, 256, S/16, S/16): what the decoder adds, keys of unit length, values.
        high_res_features_4: (B, 16, S/4, S/4).
        high_res_features_8: (B, 24, S/8, S/8).
    """

    image_embeddings: Tensor
    high_res_features_4: Tensor
    high_res_features_8: Tensor


@dataclasses.dataclass(frozen=True)
class PyramidConfig:
    """What to build.

    Attributes:
        trunk: the backbone.
        image_size: side S of the input, in pixels; a multiple of 32.
        width: channels in which the stages are fused at stride 16.
        body_blocks: residual blocks after the fusion.
        frozen_bn: keep the backbone's batch norms at their running statistics while training.
        embed_dim: channels of the image embedding: what the decoder adds, compares and pools.
        coarse, middle, fine, heads, head_dim: the decoder's, of the same name.
    """

    trunk: Trunk = "mobilenetv2_100"
    image_size: int = 512
    width: int = 256
    body_blocks: int = 2
    frozen_bn: bool = True
    embed_dim: int = 256
    coarse: int = 64
    middle: int = 24
    fine: int = 16
    heads: int = 8
    head_dim: int = 16

    @property
    def widths(self) -> ClickWidths:
        """What the decoder has to be built with."""
        return ClickWidths(
            embed_dim=self.embed_dim,
            coarse=self.coarse,
            middle=self.middle,
            fine=self.fine,
            heads=self.heads,
            head_dim=self.head_dim,
        )


class PyramidNeck(nn.Module):
    """Stages at strides 2 to 32 to the three maps.

    Args:
        channels: channels of each stage, by its stride.
        config: widths and ``body_blocks``.
    """

    def __init__(self, channels: dict[int, int], config: PyramidConfig) -> None:
        super().__init__()
        self.widths = config.widths
        width, middle, fine = config.width, config.middle, config.fine
        self.from_32 = _conv(channels[32], width, 1)
        self.from_16 = _conv(channels[16], width, 1)
        self.fold_8 = _conv(channels[8], width, 2, stride=2)
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(config.body_blocks)))
        self.embed = _conv(width, config.embed_dim, 1)
        self.lateral_8 = _conv(channels[8], middle, 1)
        self.down_8 = _conv(width, middle, 1)
        self.smooth_8 = _conv(middle, middle, 3)
        self.lateral_4 = _conv(channels[4], fine, 1)
        self.fold_2 = _conv(channels[2], fine, 2, stride=2)
        self.down_4 = _conv(middle, fine, 1)
        self.smooth_4 = _conv(fine, fine, 3)

    def forward(self, stages: list[Tensor]) -> ImageFeatures:
        """Fuse stages, finest first."""
        s2, s4, s8, s16, s32 = stages
        fused = self.from_16(s16) + self.fold_8(s8) + _double(self.from_32(s32))
        fused = torch.relu(self.body(torch.relu(fused)))
        eighth = torch.relu(self.lateral_8(s8) + _double(self.down_8(fused)))
        quarter = self.lateral_4(s4) + self.fold_2(s2) + _double(self.down_4(eighth))
        return ImageFeatures(
            self._embedding(self.embed(fused)),
            self.smooth_4(torch.relu(quarter)),
            self.smooth_8(eighth),
        )

    def _embedding(self, x: Tensor) -> Tensor:
        """Give the keys unit length, head by head."""
        d = self.widths
        coarse, keys, values = torch.split(x, [d.coarse, d.heads * d.head_dim, d.values], 1)
        side = keys.shape[-1]
        heads = keys.reshape(-1, d.heads, d.head_dim, side * side)
        heads = heads * torch.rsqrt((heads * heads).sum(2, keepdim=True) + 1e-3)
        return torch.cat([coarse, heads.reshape(-1, d.heads * d.head_dim, side, side), values], 1)


def _conv(entering: int, leaving: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    padding = kernel // 2 if stride == 1 else 0
    return nn.Sequential(
        nn.Conv2d(entering, leaving, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(leaving),
    )


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class PyramidEncoder(nn.Module):
    """A backbone and its pyramid.

    Args:
        config: what to build.
    """

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone: nn.Module
        if config.trunk == "proxyless":
            self.backbone = ProxylessTrunk()
            channels = dict(PROXYLESS_CHANNELS)
        else:
            self.backbone = timm.create_model(
                config.trunk, features_only=True, pretrained=False, out_indices=(0, 1, 2, 3, 4)
            )
            info: Any = self.backbone.feature_info
            use_same_padding(self.backbone)
            channels = dict(zip(_STRIDES, info.channels(), strict=True))
        self.neck = PyramidNeck(channels, config)
        self.train(self.training)

    def forward(self, x: Tensor) -> ImageFeatures:
        """Map normalised (B, 3, S, S) to the three maps."""
        features: ImageFeatures = self.neck(list(self.backbone(x)))
        return features

    def train(self, mode: bool = True) -> PyramidEncoder:  # noqa: FBT001, FBT002 - torch's signature
        """Set training mode; with ``frozen_bn`` the backbone's batch norms stay in evaluation."""
        super().train(mode)
        if self.config.frozen_bn:
            keep_statistics(self.backbone)
        return self


class _Pyramid(Encoder[PyramidConfig]):
    name = "pyramid"
    packages = ("timm", "torchvision")
    config_type = PyramidConfig

    def build(self, config: PyramidConfig) -> nn.Module:
        return PyramidEncoder(config)

    def tiny(self, *, image_size: int, embed_dim: int) -> PyramidConfig:
        return PyramidConfig(
            trunk="proxyless",
            image_size=image_size,
            width=16,
            body_blocks=1,
            embed_dim=embed_dim,
            coarse=embed_dim // 4,
            middle=8,
            fine=8,
            heads=2,
            head_dim=embed_dim // 8,
        )

    def maps(self, config: PyramidConfig) -> tuple[EmbeddingMap, ...]:
        return click_maps(config.widths)


ENCODER = _Pyramid()
