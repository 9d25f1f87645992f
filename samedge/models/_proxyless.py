"""ProxylessNAS at width 0.3: an encoder for the smallest devices (see ``proxyless_trunk``)."""

from __future__ import annotations

import dataclasses
from typing import Literal

from torch import Tensor, nn

from samedge.models.base import Encoder, keep_statistics
from samedge.models.neck import FusionNeck
from samedge.models.proxyless_trunk import CHANNELS, ProxylessTrunk

FIRST_FUSED = 4
"""Stride of the finest stage that the neck fuses."""


@dataclasses.dataclass(frozen=True)
class ProxylessConfig:
    """What to build.

    Attributes:
        image_size: side S of the input, in pixels; a multiple of 32.
        embed_dim: channels of the image embedding.
        body_blocks: residual blocks of the neck after the fusion.
        norm: what ends the neck: ``"layer"`` over the channels, or ``"batch"``, which an exporter
            folds away.
        frozen_bn: keep the trunk's batch norms at their running statistics while training.
    """

    image_size: int = 512
    embed_dim: int = 256
    body_blocks: int = 0
    norm: Literal["layer", "batch"] = "batch"
    frozen_bn: bool = False


class ProxylessEncoder(nn.Module):
    """The trunk and a fusion neck.

    Args:
        config: what to build.
    """

    def __init__(self, config: ProxylessConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = ProxylessTrunk()
        fused = {stride: count for stride, count in CHANNELS.items() if stride >= FIRST_FUSED}
        self.neck = FusionNeck(fused, config.embed_dim, blocks=config.body_blocks, norm=config.norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised (B, 3, S, S) to (B, embed_dim, S/16, S/16)."""
        out: Tensor = self.neck(self.backbone(x)[1:])
        return out

    def train(self, mode: bool = True) -> ProxylessEncoder:  # noqa: FBT001, FBT002 - torch's signature
        """Set training mode; with ``frozen_bn`` the trunk's batch norms stay in evaluation."""
        super().train(mode)
        if self.config.frozen_bn:
            keep_statistics(self.backbone)
        return self


class _Proxyless(Encoder[ProxylessConfig]):
    name = "proxyless"
    config_type = ProxylessConfig

    def build(self, config: ProxylessConfig) -> nn.Module:
        return ProxylessEncoder(config)

    def tiny(self, *, image_size: int, embed_dim: int) -> ProxylessConfig:
        return ProxylessConfig(image_size, embed_dim, body_blocks=1)


ENCODER = _Proxyless()
