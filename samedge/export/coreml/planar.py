"""The graphs that Core ML packages are made of: those of every target, rewritten where it pays."""

from __future__ import annotations

from torch import Tensor, nn

from samedge.errors import ExportError
from samedge.export.coreml.painted import PlanarPaintedDecoder
from samedge.export.coreml.two_way import PlanarSamDecoder
from samedge.export.graphs import DecoderGraph, Graph
from samedge.models.painted import PaintedSam
from samedge.models.promptable import PromptableModel
from samedge.models.sam import Sam
from samedge.pixels.prompts import Bucket
from samedge.types import (
    HAS_MASK_INPUT,
    IMAGE_EMBEDDINGS,
    MASK_INPUT,
    POINT_COORDS,
    POINT_LABELS,
    Role,
)

_POINTS = (POINT_COORDS, POINT_LABELS)
_REST = (IMAGE_EMBEDDINGS, MASK_INPUT, HAS_MASK_INPUT)


class PlanarDecoderGraph(DecoderGraph):
    """A decoder for the Neural Engine: four axes, the long one last, nothing moved about.

    Args:
        model: whose decoder it is. One that is neither SAM's nor painted is taken as it is.
        bucket: fixed ``(B, N)``.
    """

    def __init__(self, model: PromptableModel, *, bucket: Bucket) -> None:
        super().__init__(model, bucket=bucket)
        planar = planar_decoder(model)
        if isinstance(planar, PlanarPaintedDecoder):
            self.decoder = _Inner(planar)
        elif planar is not None:
            self.decoder = planar


class PointsGraph(Graph):
    """The arithmetic on coordinates alone: points and labels to what the decoder makes of them.

    Apart from the decoder, so that sines, exponentials and fp32 stay off the Neural Engine.

    Args:
        model: SAM or a painted model.
        bucket: fixed ``(B, N)``.
    """

    role = Role.PROMPTS
    prompt_axes = DecoderGraph.prompt_axes

    def __init__(self, model: PromptableModel, *, bucket: Bucket) -> None:
        super().__init__()
        self.whole = PlanarDecoderGraph(model, bucket=bucket)
        self.prompts = _planar_of(self.whole).prompts
        self.output_names = self.prompts.output_names
        self.bucket = bucket

    def forward(self, point_coords: Tensor, point_labels: Tensor) -> tuple[Tensor, ...]:
        """Map (B, N, 2) points and (B, N) labels to the tensors of ``output_names``."""
        outputs: tuple[Tensor, ...] = self.prompts(point_coords, point_labels)
        return outputs

    def example(self) -> dict[str, Tensor]:
        """Points along a diagonal."""
        whole = self.whole.example()
        return {name: whole[name] for name in _POINTS}

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes for the bucket."""
        return self.prompts.output_shapes(*self.bucket)


class PointlessDecoderGraph(Graph):
    """A decoder that takes what :class:`PointsGraph` gives instead of points.

    Args:
        model: SAM or a painted model.
        bucket: fixed ``(B, N)``.
    """

    role = Role.DECODER
    prompt_axes = DecoderGraph.prompt_axes
    output_names = DecoderGraph.output_names

    def __init__(self, model: PromptableModel, *, bucket: Bucket) -> None:
        super().__init__()
        self.points = (PointsGraph(model, bucket=bucket),)  # a tuple: it is no part of this graph
        self.decoder = self.points[0].whole.decoder
        self.planar = (_planar_of(self.points[0].whole),)
        self.bucket = bucket

    def forward(
        self, image_embeddings: Tensor, mask_input: Tensor, has_mask_input: Tensor, *points: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompts on one image."""
        return self.planar[0].decode(image_embeddings, mask_input, has_mask_input, *points)

    def example(self) -> dict[str, Tensor]:
        """An example of the whole decoder, its points replaced by what they become."""
        (points,) = self.points
        whole = points.whole.example()
        made = points(*(whole[name] for name in _POINTS))
        named = dict(zip(points.output_names, made, strict=True))
        return {**{name: whole[name] for name in _REST}, **named}

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """As of the whole decoder."""
        return self.points[0].whole.output_shapes()


def planar_decoder(model: PromptableModel) -> PlanarPaintedDecoder | PlanarSamDecoder | None:
    """The rewritten decoder of a model; ``None`` where there is no rewriting for it."""
    if isinstance(model, PaintedSam):
        return PlanarPaintedDecoder(model.decoder)
    if isinstance(model, Sam):
        return PlanarSamDecoder(model)
    return None


class _Inner(nn.Module):
    """A painted decoder under the name that its model has for it, which precision plans use."""

    def __init__(self, decoder: PlanarPaintedDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = self.decoder(*inputs)
        return result


def _planar_of(graph: PlanarDecoderGraph) -> PlanarPaintedDecoder | PlanarSamDecoder:
    decoder = graph.decoder.decoder if isinstance(graph.decoder, _Inner) else graph.decoder
    if not isinstance(decoder, PlanarPaintedDecoder | PlanarSamDecoder):
        raise ExportError(
            "This model's decoder cannot be parted from its points: leave out --option prompts."
        )
    return decoder
