"""From a recipe's ``[data]`` section to the samples of a run and the photos held out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from samedge.distill.augment import PLAIN
from samedge.distill.coco import CocoFolder
from samedge.distill.composites import Composites
from samedge.distill.data import Mixture, Part, Source
from samedge.distill.recipe import Data
from samedge.distill.recipe import Source as Section
from samedge.distill.scenes import ImageFolder, Scene
from samedge.errors import DatasetError


class Chosen:
    """Some scenes of a source."""

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self.source, self.indices = source, tuple(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def scene(self, index: int, rng: np.random.Generator) -> Scene:
        """Scene ``index`` of the chosen ones."""
        return self.source.scene(self.indices[index], rng)


def held_out(name: str, share: float) -> bool:
    """Whether a photo is kept for validation: a function of its file name alone.

    A photo that several folders carry under one name falls on the same side everywhere.
    """
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def open_sources(data: Data, root: Path) -> list[tuple[CocoFolder | ImageFolder, float]]:
    """The recipe's folders and their weights.

    Raises:
        DatasetError: a folder is missing or malformed.
    """
    return [(_opened(section, root), section.weight) for section in data.sources]


def _opened(section: Section, root: Path) -> CocoFolder | ImageFolder:
    folder = root / section.path
    if section.format == "images":
        return ImageFolder(folder)
    return CocoFolder(
        folder,
        annotations=root / section.annotations if section.annotations else None,
        images=root / section.images if section.images else None,
    )


def _photo_name(source: CocoFolder | ImageFolder, index: int) -> str:
    return (source.path(index) if isinstance(source, CocoFolder) else source.files[index]).name


def _split(source: CocoFolder | ImageFolder, share: float, *, validation: bool) -> Chosen:
    numbers = range(len(source))
    return Chosen(
        source, [i for i in numbers if held_out(_photo_name(source, i), share) == validation]
    )


def _by_masks(source: CocoFolder, kept: Chosen, *, masks: int) -> Chosen:
    """Every photo as often as it takes to see all its masks, ``masks`` at a time."""
    return Chosen(source, [i for i in kept.indices for _ in range(-(-source.masks_of(i) // masks))])


def photo_parts(data: Data, root: Path) -> list[Part]:
    """The recipe's folders without the photos that are held out.

    Raises:
        DatasetError: a folder is missing or malformed, or every photo of it is held out.
    """
    parts = []
    for section, (source, weight) in zip(data.sources, open_sources(data, root), strict=True):
        kept = _split(source, data.validation, validation=False)
        if section.balance == "masks" and isinstance(source, CocoFolder):
            kept = _by_masks(source, kept, masks=data.masks)
        if not len(kept):
            raise DatasetError(
                f"All {len(source)} photos of {source.root} are held out for validation: "
                "lower data.validation or add photos."
            )
        parts.append(Part(kept, weight))
    return parts


def training_mixture(data: Data, root: Path, *, image_size: int, seed: int) -> Mixture:
    """Everything that is trained on, augmented and mixed by weight.

    Args:
        data: the recipe's section.
        root: what its paths are relative to.
        image_size: side of the samples.
        seed: of every random choice.

    Raises:
        DatasetError: a folder is missing or malformed, or every photo of it is held out.
    """
    parts = photo_parts(data, root)
    if data.composites is not None:
        composites = Composites(
            root / data.composites.cutouts,
            backgrounds=tuple(root / b for b in data.composites.backgrounds),
            config=data.composites.options,
        )
        parts.append(Part(composites, data.composites.weight))
    return Mixture(
        parts,
        image_size=image_size,
        masks_per_image=data.masks,
        repeat_masks=data.repeat_masks,
        augment=data.augment,
        seed=seed,
    )


def validation_mixture(data: Data, root: Path, *, image_size: int) -> Mixture | None:
    """The held-out photos with masks, unchanged; ``None`` where there are none.

    Raises:
        DatasetError: a folder is missing or malformed.
    """
    parts = []
    for source, weight in open_sources(data, root):
        if isinstance(source, CocoFolder):
            kept = _split(source, data.validation, validation=True)
            if len(kept):
                parts.append(Part(kept, weight))
    if not parts:
        return None
    return Mixture(parts, image_size=image_size, masks_per_image=data.masks, augment=PLAIN, seed=0)
