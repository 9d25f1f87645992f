"""The graphs that a Core ML package is made of: those of every target, rewritten where it pays."""

from __future__ import annotations

from torch import nn

from samedge.export.coreml.painted import PlanarPaintedDecoder
from samedge.export.coreml.two_way import PlanarSamDecoder
from samedge.export.graphs import DecoderGraph
from samedge.feeds import Bucket
from samedge.models.sam import PaintedSam, PromptableModel, Sam


class PlanarDecoderGraph(DecoderGraph):
    """A decoder for the Neural Engine: four axes, the long one last, nothing moved about.

    Args:
        model: whose decoder it is. One that is neither SAM's nor painted is taken as it is.
        bucket: fixed ``(B, N)``.
    """

    def __init__(self, model: PromptableModel, *, bucket: Bucket) -> None:
        super().__init__(model, bucket=bucket)
        planar = _planar(model)
        if planar is not None:
            self.decoder = planar


def _planar(model: PromptableModel) -> nn.Module | None:
    if isinstance(model, PaintedSam):
        return PlanarPaintedDecoder(model.decoder)
    if isinstance(model, Sam):
        return PlanarSamDecoder(model)
    return None
