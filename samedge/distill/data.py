"""Training data: sources of scenes, mixed by weight, as samples of fixed shape.

Sample ``i`` of epoch ``e`` is a function of ``(seed, e, i)`` and of nothing else: not of the number
of workers, of the order of reading, nor of what came before. A resumed run therefore sees exactly
what an uninterrupted one would have seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from samedge.distill.augment import (
    MOSAIC_SCALE,
    AugmentConfig,
    Window,
    choose_window,
    image_in_window,
    masks_in_window,
    padded,
    recolour,
)
from samedge.distill.coco import CocoFolder
from samedge.distill.composites import Composites
from samedge.distill.mosaic import mosaic
from samedge.distill.pasting import pasted
from samedge.distill.scenes import ImageFolder, Scene, Source
from samedge.errors import DatasetError
from samedge.types import Array

__all__ = [
    "AugmentConfig",
    "CocoFolder",
    "Composites",
    "ImageFolder",
    "Mixture",
    "Part",
    "Sample",
    "Source",
]


class Sample(TypedDict):
    """One image and up to M of its masks; a batch has a leading axis B before each shape.

    Attributes:
        image: (S, S, 3) uint8 RGB, padded to the right and below with the mean colour.
        masks: (M, S, S) uint8, 0 and 1; zeros where ``valid`` is false.
        valid: (M,) bool, which of the M are masks of this image.
        valid_size: (2,) int64, height and width without the padding, px.
        source: () int64, which part of the mixture it came from.
    """

    image: Tensor
    masks: Tensor
    valid: Tensor
    valid_size: Tensor
    source: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """One source of a mixture.

    Attributes:
        source: its scenes.
        weight: its share of the samples, relative to the other parts'.
        augment: its augmentation, or ``None`` for the mixture's.
    """

    source: Source
    weight: float = 1.0
    augment: AugmentConfig | None = None


class Mixture(Dataset[Sample]):
    """Samples drawn from weighted sources.

    Index ``e * samples_per_epoch + i`` is sample ``i`` of epoch ``e``, for any epoch. Within an
    epoch a source's scenes are all used before one is used again.

    Args:
        parts: the sources.
        image_size: S, side of the model's input.
        masks_per_image: M.
        samples_per_epoch: the length of an epoch; the number of scenes when ``None``.
        repeat_masks: whether an image with fewer than M masks shows them again (for other prompts
            of the same mask, when the decoder works on M in any case) or leaves slots invalid.
        augment: augmentation of the parts that have none of their own.
        seed: start of every random choice.

    Raises:
        DatasetError: no parts, or weights that are negative or all zero.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        image_size: int,
        masks_per_image: int = 4,
        repeat_masks: bool = False,
        samples_per_epoch: int | None = None,
        augment: AugmentConfig | None = None,
        seed: int = 0,
    ) -> None:
        weights = np.array([part.weight for part in parts], np.float64)
        if not len(parts) or (weights < 0).any() or not weights.sum() > 0:
            raise DatasetError(
                f"The mixture has weights {weights.tolist()}: give at least one positive weight."
            )
        self.parts = tuple(parts)
        self.image_size, self.masks_per_image, self.seed = image_size, masks_per_image, seed
        self.repeat_masks = repeat_masks
        self.samples_per_epoch = samples_per_epoch or sum(len(p.source) for p in parts)
        self.augment = augment or AugmentConfig()
        self._shares = weights / weights.sum()
        self._planned: tuple[int, Array] | None = None

    def __len__(self) -> int:
        return self.samples_per_epoch

    def _plan(self, epoch: int) -> Array:
        """(samples_per_epoch, 2) int64: part and scene of every sample of an epoch."""
        if self._planned is None or self._planned[0] != epoch:
            self._planned = epoch, self._plan_of_epoch(epoch)
        return self._planned[1]

    def _plan_of_epoch(self, epoch: int) -> Array:
        rng = np.random.default_rng((self.seed, epoch))
        chosen = rng.choice(len(self.parts), size=self.samples_per_epoch, p=self._shares)
        scenes = np.zeros_like(chosen)
        for number, part in enumerate(self.parts):
            places, length = np.flatnonzero(chosen == number), len(part.source)
            rounds = [rng.permutation(length) for _ in range(-(-len(places) // length))]
            scenes[places] = np.concatenate([*rounds, places[:0]])[: len(places)]
        return np.stack([chosen, scenes], 1)

    def origin(self, index: int) -> tuple[int, int]:
        """Part and scene of sample ``index``."""
        epoch, position = divmod(index, self.samples_per_epoch)
        part, scene = self._plan(epoch)[position]
        return int(part), int(scene)

    def __getitem__(self, index: int) -> Sample:
        epoch, position = divmod(index, self.samples_per_epoch)
        number, item = self.origin(index)
        rng = np.random.default_rng((self.seed, epoch, position))
        part = self.parts[number]
        config = part.augment or self.augment
        scene = part.source.scene(item, rng)
        if config.pasted and rng.random() < config.pasted:
            others = rng.integers(len(part.source), size=2)
            scene = pasted(scene, [part.source.scene(int(i), rng) for i in others], rng=rng)
        if rng.random() < config.mosaic:
            scene = mosaic([scene, *self._companions(epoch, rng, count=3)])
            config = dataclasses.replace(config, full_share=0.0, scale=MOSAIC_SCALE)
        window = choose_window(scene, rng, image_size=self.image_size, config=config)
        masks = self._masks(scene, window, rng, min_area=config.min_area)
        image = recolour(image_in_window(scene, window), rng, config=config)
        return self._sample(padded(image, self.image_size), masks, window=window, source=number)

    def _companions(self, epoch: int, rng: np.random.Generator, *, count: int) -> list[Scene]:
        """Scenes of other samples of the same epoch."""
        plan = self._plan(epoch)
        chosen = plan[rng.integers(len(plan), size=count)]
        return [self.parts[part].source.scene(int(item), rng) for part, item in chosen]

    def _masks(
        self, scene: Scene, window: Window, rng: np.random.Generator, *, min_area: int
    ) -> Tensor:
        """Up to M masks that are large enough in the window; (n, h, w) uint8."""
        order = rng.permutation(_overlapping(scene.boxes, window))
        found = torch.zeros((0, *window.output), dtype=torch.uint8)
        while len(order) and len(found) < self.masks_per_image:
            wanted = self.masks_per_image - len(found)
            taken, order = order[:wanted], order[wanted:]
            masks = masks_in_window([scene.read_mask(int(i)) for i in taken], window)
            found = torch.cat([found, masks[masks.count_nonzero((1, 2)) >= min_area]])
        if self.repeat_masks and len(found):
            found = found[torch.arange(self.masks_per_image) % len(found)]
        return found

    def _sample(self, image: Tensor, masks: Tensor, *, window: Window, source: int) -> Sample:
        size, count = self.image_size, self.masks_per_image
        height, width = window.output
        canvas = torch.zeros((count, size, size), dtype=torch.uint8)
        canvas[: len(masks), :height, :width] = masks
        return Sample(
            image=image,
            masks=canvas,
            valid=torch.arange(count) < len(masks),
            valid_size=torch.tensor(window.output),
            source=torch.tensor(source),
        )


def _overlapping(boxes: Array, window: Window) -> Array:
    """Indices of the boxes that reach into a window."""
    lows, highs = boxes[:, 1::-1], boxes[:, 1::-1] + boxes[:, :1:-1]
    start = np.array([window.top, window.left])
    end = start + window.size
    return np.flatnonzero(((highs > start) & (lows < end)).all(1))
