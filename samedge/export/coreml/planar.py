"""The graphs that Core ML packages are made of: those of every target, rewritten where it pays."""

from __future__ import annotations

from torch import Tensor

from samedge.errors import ExportError
from samedge.export.graphs import DecoderGraph, Graph
from samedge.models.decoders import planar_decoder
from samedge.models.parted import PartedDecoder
from samedge.models.promptable import PromptableModel
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
        model: whose decoder it is. One whose plug-in has no such form is taken as for other
            targets.
        bucket: fixed ``(B, N)``.
    """

    def __init__(self, model: PromptableModel, *, bucket: Bucket) -> None:
        super().__init__(model, bucket=bucket)
        planar = planar_decoder(model)
        self.decoder = self.decoder if planar is None else planar


class PointsGraph(Graph):
    """The arithmetic on coordinates alone: points and labels to what the decoder makes of them.

    Apart from the decoder, so that sines, exponentials and fp32 stay off the Neural Engine.

    Args:
        model: whose decoder has a form for the Neural Engine.
        bucket: fixed ``(B, N)``.

    Raises:
        ExportError: the decoder has no such form.
    """

    role = Role.PROMPTS
    prompt_axes = DecoderGraph.prompt_axes

    def __init__(self, model: PromptableModel, *, bucket: Bucket) -> None:
        super().__init__()
        self.whole = PlanarDecoderGraph(model, bucket=bucket)
        self.prompts = _parted(self.whole).prompts
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
        model: as of :class:`PointsGraph`.
        bucket: fixed ``(B, N)``.

    Raises:
        ExportError: the decoder has no form for the Neural Engine.
    """

    role = Role.DECODER
    prompt_axes = DecoderGraph.prompt_axes
    output_names = DecoderGraph.output_names

    def __init__(self, model: PromptableModel, *, bucket: Bucket) -> None:
        super().__init__()
        self.points = (PointsGraph(model, bucket=bucket),)  # a tuple: it is no part of this graph
        self.decoder = _parted(self.points[0].whole)
        self.bucket = bucket

    def forward(
        self, image_embeddings: Tensor, mask_input: Tensor, has_mask_input: Tensor, *points: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompts on one image."""
        return self.decoder.decode(image_embeddings, mask_input, has_mask_input, *points)

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


def _parted(graph: PlanarDecoderGraph) -> PartedDecoder:
    if not isinstance(graph.decoder, PartedDecoder):
        raise ExportError(
            "This model's decoder cannot be parted from its points: leave out --option prompts."
        )
    return graph.decoder
