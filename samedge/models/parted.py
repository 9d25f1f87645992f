"""A decoder in two parts: what coordinates become, and everything after.

Where a device computes in half precision and has no sine or exponential, the first part can be a
graph of its own that runs on the CPU in fp32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class PointsPart(nn.Module, ABC):
    """The arithmetic on coordinates: points and labels to what the rest makes use of.

    Attributes:
        output_names: names of the outputs, in order.
    """

    output_names: ClassVar[tuple[str, ...]]

    @abstractmethod
    def forward(self, point_coords: Tensor, point_labels: Tensor) -> tuple[Tensor, ...]:
        """Map (B, N, 2) points and (B, N) labels to the tensors of ``output_names``."""

    @abstractmethod
    def output_shapes(self, batch: int, count: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of the outputs for B prompts of N points, in order."""


class PartedDecoder(nn.Module, ABC):
    """Prompts and an image embedding to four masks, by way of :class:`PointsPart`.

    Attributes:
        prompts: the first part.
    """

    prompts: PointsPart

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompts; arguments and results as of ``PromptableModel.decode``."""
        points = self.prompts(point_coords, point_labels)
        return self.decode(image_embeddings, mask_input, has_mask_input, *points)

    @abstractmethod
    def decode(
        self, image_embeddings: Tensor, mask_input: Tensor, has_mask_input: Tensor, *points: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same from the outputs of ``prompts``."""
