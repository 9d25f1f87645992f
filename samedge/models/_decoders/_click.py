"""The embedded models' decoder of 0.2 GFLOP a prompt: click maps, and weights made per prompt."""

from __future__ import annotations

from torch import nn

from samedge.bundle.thresholds import EverythingRecord, Thresholds
from samedge.models.click_decoder import ClickDecoder, ClickSam
from samedge.models.click_parts import ClickConfig, click_maps
from samedge.models.decoders import Decoder
from samedge.models.promptable import EmbeddingMap


class _ClickDecoder(Decoder[ClickConfig, ClickSam]):
    name = "click"
    config_type = ClickConfig
    # Measured on photos held out of training: everything mode keeps what it finds down to here.
    thresholds = Thresholds(
        predicted_iou=0.3,
        stability=0.0,
        everything=EverythingRecord(
            points_per_side=16,
            suppression=0.7,
            crop_suppression=0.85,
            soft_nms_sigma=5.0,
            crop_layers=1,
            crops_by_rank=True,
            crop_points_downscale=2,
            redrawn=True,
            closer_layers=1,
        ),
    )
    repeats_images = True

    def maps(self, config: ClickConfig) -> tuple[EmbeddingMap, ...]:
        return click_maps(config)

    def build(self, config: ClickConfig, image_encoder: nn.Module, *, image_size: int) -> ClickSam:
        return ClickSam(image_encoder, ClickDecoder(image_size, config))

    def tiny(self, *, embed_dim: int) -> ClickConfig:
        return ClickConfig(
            embed_dim=embed_dim,
            coarse=embed_dim // 4,
            middle=8,
            fine=8,
            heads=2,
            head_dim=embed_dim // 8,
            paint=8,
            blocks=1,
            expanded=16,
            hidden=16,
        )


DECODER = _ClickDecoder()
