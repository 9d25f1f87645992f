"""What a model of words is: regions, and maybe texts, to embeddings whose product is a logit."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from samedge.bundle.manifest import ModelRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegionRules:
    """How regions get into a model and what counts as found.

    Attributes:
        enlarge: side of a crop over the longer side of the region's box.
        outside: share of its contrast that is left of what is outside of the region.
        threshold: margin over the background words from which on a region is an asked word's.
        label_threshold: the same of words that nobody asked for; ``None`` is ``threshold``.
        suppression: IoU of two boxes above which the better region of a word is kept.
    """

    enlarge: float = 1.5
    outside: float = 0.5
    threshold: float = 0.0
    label_threshold: float | None = None
    suppression: float = 0.5


class WordModel(nn.Module, ABC):
    """A model of words, in evaluation mode.

    Attributes:
        source: where its weights come from.
        side: of the crops that it takes, pixels.
        width: D, numbers of an embedding.
        rules: of regions.
        reads_text: whether :meth:`embed_text` is there.
        templates: phrases that a word is read in.
    """

    reads_text: ClassVar[bool] = False
    source: ModelRecord
    side: int
    width: int
    rules: RegionRules
    templates: tuple[str, ...] = ()
    mean: Tensor
    std: Tensor

    def _normalisation(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Keep mean and standard deviation of pixels, 0 to 255, a channel."""
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def embed_regions(self, regions: Tensor) -> Tensor:
        """Embed crops.

        Args:
            regions: (B, S, S, 3) uint8 RGB.

        Returns:
            (B, D) float32.
        """
        pixels = regions.permute(0, 3, 1, 2).to(torch.float32)
        return self.embed_pixels((pixels - self.mean) / self.std)

    @abstractmethod
    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Embed normalised (B, 3, S, S) to (B, D)."""

    def embed_text(self, tokens: Tensor) -> Tensor:
        """Embed the ids of texts, (B, 77) int32, to (B, D), scaled so that products are logits."""
        raise NotImplementedError(f"{type(self).__name__} reads no text")
