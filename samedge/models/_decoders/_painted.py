"""The embedded models' decoder: click and distance maps (RITM), then convolutions."""

from __future__ import annotations

from torch import nn

from samedge.bundle.thresholds import Thresholds
from samedge.models.decoders import Decoder
from samedge.models.forms.planar_painted import PlanarPaintedDecoder
from samedge.models.painted import PaintedDecoder, PaintedSam
from samedge.models.painted_trunk import PaintedConfig
from samedge.models.promptable import EmbeddingMap, image_embeddings


class _PaintedDecoder(Decoder[PaintedConfig, PaintedSam]):
    name = "painted"
    config_type = PaintedConfig
    thresholds = Thresholds(predicted_iou=0.6, stability=0.75)
    repeats_images = True

    def maps(self, config: PaintedConfig) -> tuple[EmbeddingMap, ...]:
        return (image_embeddings(config.embed_dim),)

    def build(
        self, config: PaintedConfig, image_encoder: nn.Module, *, image_size: int
    ) -> PaintedSam:
        return PaintedSam(image_encoder, PaintedDecoder(image_size, config))

    def tiny(self, *, embed_dim: int) -> PaintedConfig:
        return PaintedConfig(embed_dim, coarse=16, middle=8, fine=8, blocks=1, heads=2, head_dim=4)

    def planar(self, model: PaintedSam) -> PlanarPaintedDecoder:
        return PlanarPaintedDecoder(model.decoder)


DECODER = _PaintedDecoder()
