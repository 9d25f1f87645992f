"""Which parts of an image get a look, and how wide: what is decided before anything is encoded."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence, Set

from samedge.errors import OptionError
from samedge.pixels.regions import (
    Extent,
    SharedRegion,
    Surroundings,
    longest_side,
    shared_regions,
    square_region,
    zoom,
)
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.looks import Looks
from samedge.types import Region, Size

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FocusSettings:
    """When a second look is taken, and how; chosen on photos that were held out of training.

    Attributes:
        below: ``auto`` looks again at what is smaller than this share of the image's longer side.
        around: how much is seen around it.
        least_zoom: no second look that shows things less than so many times larger.
        most_looks: parts encoded in one call, at most, and as many mirrored ones; the prompts that
            this leaves out get their first mask.
        most_unasked: the same for masks that nobody asked for one by one, of everything mode.
        wider: side of the mirrored look that boxes get as well, in sides of the part.
        whole: share that the whole image's answer to a box has beside those of its two looks.
        medium: boxes from ``below`` to this share get a mirrored look alone, beside the one at the
            whole image.
        around_medium: how much that shows.

    Raises:
        OptionError: a setting is out of its range.
    """

    below: float = 0.25
    around: Surroundings = dataclasses.field(default_factory=Surroundings)
    least_zoom: float = 1.1
    most_looks: int = 32
    most_unasked: int = 16
    wider: float = 1.2
    whole: float = 0.2
    medium: float = 0.6
    around_medium: Surroundings = dataclasses.field(
        default_factory=lambda: Surroundings(context=1.6, tightest=1.5, widest=1.9)
    )

    def __post_init__(self) -> None:
        if not 0 < self.below <= 1 or self.least_zoom < 1:
            raise OptionError(
                f"below and least_zoom are {self.below} and {self.least_zoom}, expected a share "
                "above 0 and a number of at least 1."
            )
        if self.most_looks < 1 or self.most_unasked < 1:
            raise OptionError(
                f"most_looks and most_unasked are {self.most_looks} and {self.most_unasked}, "
                "expected two numbers of at least 1."
            )
        if not (0 <= self.medium <= 1 and 0 <= self.whole <= 1) or self.wider < 1:
            raise OptionError(
                f"medium, whole and wider are {self.medium}, {self.whole} and {self.wider}, "
                "expected two shares and a number of at least 1."
            )


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of an image that is looked at for some prompts.

    Attributes:
        region: pixels of the image; what its answers are of.
        members: keys of the prompts.
        mirrored: the part that boxes among them are asked about again, mirrored; ``None`` if none.
    """

    region: Region
    members: list[int]
    mirrored: Region | None = None


class FocusPlan:
    """What one call looks at, within the number of looks that it may take.

    Args:
        settings: when and how to look.
        size: ``(height, width)`` of the image.
        always: at everything that a look shows larger, not only at what is small.
        most: parts that are encoded, and as many mirrored ones; ``None``: as the settings say.
    """

    def __init__(
        self, settings: FocusSettings, size: Size, *, always: bool, most: int | None = None
    ) -> None:
        self._settings, self._size, self._always = settings, size, always
        self._most = self._mirrored_left = settings.most_looks if most is None else most

    def pays(self, extent: Extent) -> bool:
        """Whether what is inside of a box is worth a part of its own."""
        share = longest_side(extent) / max(self._size)
        if not self._always and share >= self._settings.below:
            return False
        around = self._settings.around
        side = max(around.context * longest_side(extent), around.least_px)
        return zoom(square_region(extent, self._size, side=side), self._size) >= (
            self._settings.least_zoom
        )

    def parts(
        self, extents: Mapping[int, Extent], looks: Looks[ImageEmbedding], *, boxes: Set[int]
    ) -> list[Part]:
        """Parts that are there already, then as many new ones as are allowed, each seen closer.

        Args:
            extents: what is looked at, by keys of the caller's.
            looks: parts that were encoded.
            boxes: keys of plain boxes, which get a mirrored look where looks are left for it.
        """
        around = self._settings.around
        there = {i: looks.showing(extent, around=around) for i, extent in extents.items()}
        parts = [SharedRegion(region, [i]) for i, region in there.items() if region is not None]
        missing = {i: extent for i, extent in extents.items() if there[i] is None}
        new = shared_regions(missing, self._size, around=around)
        new = self._taken(new, self._most)
        return [
            Part(part.region, part.members, self._wider(part, boxes))
            for part in _merged(parts) + new
        ]

    def medium_parts(self, extents: Mapping[int, Extent]) -> list[Part]:
        """Parts seen mirrored alone: those around boxes that are neither small nor large."""
        limit = self._settings.medium * max(self._size)
        asked = {i: extent for i, extent in extents.items() if longest_side(extent) < limit}
        around = self._settings.around_medium
        new = shared_regions(asked, self._size, around=around)
        new = self._taken(new, self._mirrored_left)
        return [Part(part.region, part.members, part.region) for part in new]

    def _wider(self, part: SharedRegion, boxes: Set[int]) -> Region | None:
        if not self._mirrored_left or boxes.isdisjoint(part.members):
            return None
        self._mirrored_left -= 1
        x0, y0, x1, y1 = part.region
        side = self._settings.wider * max(x1 - x0, y1 - y0)
        return square_region((x0, y0, x1, y1), self._size, side=side)

    def _taken(self, parts: Sequence[SharedRegion], most: int) -> list[SharedRegion]:
        """The most useful of new parts."""
        ordered = sorted(parts, key=lambda p: (-len(p.members), -zoom(p.region, self._size)))
        if len(ordered) > most:
            what = "%d parts of the image are worth another look, and %d get one."
            logger.info(what, len(ordered), most)
        return ordered[:most]


def _merged(parts: Iterable[SharedRegion]) -> list[SharedRegion]:
    """Parts of one region as one."""
    members: dict[Region, list[int]] = {}
    for part in parts:
        members.setdefault(part.region, []).extend(part.members)
    return [SharedRegion(region, keys) for region, keys in members.items()]
