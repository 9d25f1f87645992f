"""Segment Anything's own decoder: prompt encoder and two-way transformer.

Source: Kirillov et al., "Segment Anything", 2023 (arXiv:2304.02643), appendix A.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from samedge.models.decoders import Decoder
from samedge.models.forms.deployed import DeployedDecoder
from samedge.models.forms.planar_sam import PlanarSamDecoder
from samedge.models.promptable import EmbeddingMap, image_embeddings
from samedge.models.sam import Sam, build_sam


@dataclasses.dataclass(frozen=True)
class SamConfig:
    """Widths of the decoder.

    Attributes:
        embed_dim: channels of the image embedding; 256 in every published model.
        depth: two-way layers.
        heads: attention heads.
        mlp_dim: hidden width of the MLPs.
    """

    embed_dim: int = 256
    depth: int = 2
    heads: int = 8
    mlp_dim: int = 2048


class _SamDecoder(Decoder[SamConfig, Sam]):
    name = "sam"
    config_type = SamConfig

    def maps(self, config: SamConfig) -> tuple[EmbeddingMap, ...]:
        return (image_embeddings(config.embed_dim),)

    def build(self, config: SamConfig, image_encoder: nn.Module, *, image_size: int) -> Sam:
        return build_sam(image_encoder, image_size, **dataclasses.asdict(config))

    def tiny(self, *, embed_dim: int) -> SamConfig:
        return SamConfig(embed_dim=embed_dim, heads=4, mlp_dim=16)

    def deployed(
        self, model: Sam, *, centred: bool = False, masks_padding: bool = True
    ) -> nn.Module:
        return DeployedDecoder(model, centred=centred, masks_padding=masks_padding)

    def planar(self, model: Sam) -> PlanarSamDecoder:
        return PlanarSamDecoder(model)


DECODER = _SamDecoder()
