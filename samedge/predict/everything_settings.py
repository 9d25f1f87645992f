"""Settings of everything mode: what is given, the bundle's own, and those of Segment Anything."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any, TypeVar

from msgspec import UnsetType

from samedge.bundle.manifest import Manifest
from samedge.errors import OptionError

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class EverythingRules:
    """The settings that a bundle has values of its own for; see :class:`EverythingConfig`."""

    points_per_side: int
    pred_iou_threshold: float
    stability_threshold: float
    box_nms_threshold: float
    stability_weight: float
    crop_layers: int
    crop_nms_threshold: float
    crops_by_rank: bool
    crop_points_downscale: int
    coarse_to_fine: bool
    redrawn: bool
    closer_layers: int
    soft_nms_sigma: float


@dataclasses.dataclass(frozen=True)
class EverythingConfig:
    """Settings of everything mode. What is ``None`` is the bundle's, measured for its model.

    :meth:`for_bundle` fills in what is the bundle's, :meth:`segment_anything` what that project's
    automatic mask generator has.

    Attributes:
        points_per_side: clicks along each side of the grid.
        points_per_batch: clicks decoded and filtered at a time; only the memory depends on it,
            and where ``coarse_to_fine`` skips, how soon.
        pred_iou_threshold: masks with a lower predicted IoU are dropped.
        stability_threshold: masks whose area depends more on the threshold are dropped.
        box_nms_threshold: of two masks whose boxes overlap more, the one of the lower rank is
            dropped.
        stability_weight: masks are ranked by predicted IoU times stability to this power; 0 is
            Segment Anything's ranking.
        crop_layers: also look at 2^i x 2^i overlapping crops, for each layer i.
        crop_nms_threshold: as ``box_nms_threshold``, between crops; the smaller crop wins, or with
            ``crops_by_rank`` the better mask.
        crops_by_rank: between crops, too, the mask of the higher rank wins.
        crop_overlap_ratio: of the first layer's crops, as a share of the image's shorter side.
        crop_points_downscale: each layer's grid has so many times fewer points a side.
        coarse_to_fine: decode a coarse grid first, then the clicks between, and skip those that a
            good mask covers already.
        redrawn: ask for every mask again with its own box and logits, which draws and rates it
            better, and drop those that come back as another thing. Small ones are drawn in the
            smallest crop that shows them.
        closer_layers: with ``redrawn`` and crops, also draw in crops of so many further layers, on
            which there are no clicks; where ``crop_layers`` alone is given, as far as the bundle's.
        soft_nms_sigma: masks come the later, the more their boxes overlap with those before them
            (:func:`~samedge.pixels.boxes.soft_nms_order`); 0 leaves the order to the rank alone.
        min_area: holes and islands of fewer pixels of the image are mended, smaller masks dropped.

    Raises:
        OptionError: a setting is out of its range.
    """

    points_per_side: int | None = None
    points_per_batch: int = 16
    pred_iou_threshold: float | None = None
    stability_threshold: float | None = None
    box_nms_threshold: float | None = None
    stability_weight: float | None = None
    crop_layers: int | None = None
    crop_nms_threshold: float | None = None
    crops_by_rank: bool | None = None
    crop_overlap_ratio: float = 512 / 1500
    crop_points_downscale: int | None = None
    coarse_to_fine: bool | None = None
    redrawn: bool | None = None
    closer_layers: int | None = None
    soft_nms_sigma: float | None = None
    min_area: int = 0

    @classmethod
    def for_bundle(cls, manifest: Manifest, **settings: Any) -> EverythingConfig:
        """Settings with everything that is the bundle's filled in.

        Args:
            manifest: of the bundle.
            settings: fields that are to be as given; ``None`` leaves one to the bundle.

        Raises:
            OptionError: a setting is out of its range.
        """
        given = cls(**{name: value for name, value in settings.items() if value is not None})
        return dataclasses.replace(given, **vars(given.rules(manifest)))

    @classmethod
    def without_near_duplicates(cls, manifest: Manifest, **settings: Any) -> EverythingConfig:
        """As :meth:`for_bundle`, for those who go through all masks: one of several that are alike.

        Everything mode keeps what may be better than a higher ranked mask of nearly the same box,
        which finds more and is ranked low. Where each mask costs a person's or a network's time,
        ``suppression`` of the bundle holds between crops, too.

        Args:
            manifest: of the bundle.
            settings: fields that are to be as given; ``None`` leaves one to the bundle.

        Raises:
            OptionError: a setting is out of its range.
        """
        cut = manifest.thresholds.own_everything.suppression
        alike = {"box_nms_threshold": cut, "crop_nms_threshold": cut}
        return cls.for_bundle(manifest, **{**alike, **settings})

    @classmethod
    def segment_anything(cls, **settings: Any) -> EverythingConfig:
        """The settings of Segment Anything's automatic mask generator.

        Args:
            settings: fields that are to be as given.

        Raises:
            OptionError: a setting is out of its range.
        """
        theirs = EverythingRules(
            points_per_side=32,
            pred_iou_threshold=0.88,
            stability_threshold=0.95,
            box_nms_threshold=0.7,
            stability_weight=0.0,
            crop_layers=0,
            crop_nms_threshold=0.7,
            crops_by_rank=False,
            crop_points_downscale=1,
            coarse_to_fine=False,
            redrawn=False,
            closer_layers=0,
            soft_nms_sigma=0.0,
        )
        return cls(**{**vars(theirs), **settings})

    def rules(self, manifest: Manifest) -> EverythingRules:
        """These settings, and the bundle's where they are ``None``."""
        cuts, own = manifest.thresholds, manifest.thresholds.own_everything
        layers = own.crop_layers if self.crop_layers is None else self.crop_layers
        suppression = own.suppression
        if layers:
            suppression = _or(own.crop_suppression, suppression)
        defaults = EverythingRules(
            points_per_side=own.points_per_side,
            pred_iou_threshold=cuts.predicted_iou,
            stability_threshold=cuts.stability,
            box_nms_threshold=suppression,
            stability_weight=own.stability_weight,
            crop_layers=own.crop_layers,
            crop_nms_threshold=suppression,
            crops_by_rank=own.crops_by_rank,
            crop_points_downscale=own.crop_points_downscale,
            coarse_to_fine=own.coarse_to_fine,
            redrawn=own.redrawn is True,
            closer_layers=_or(own.closer_layers, 0),
            soft_nms_sigma=_or(own.soft_nms_sigma, 0.0),
        )
        names = [field.name for field in dataclasses.fields(defaults)]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.crop_layers is not None and self.closer_layers is None:  # as close as before
            last = defaults.crop_layers + defaults.closer_layers
            given["closer_layers"] = max(last - self.crop_layers, 0)
        return dataclasses.replace(defaults, **given)

    def __post_init__(self) -> None:
        for name, (least, most, unit) in _COUNTS.items():
            value = getattr(self, name)
            if value is not None and not _counts(value, least, most):
                expected = f"{least} or more" if most is None else f"{least} to {most}"
                kind = "" if isinstance(value, int) else "a whole number, "
                raise OptionError(f"{name} is {value!r}, expected {kind}{expected}{unit}.")
        for name in _SHARES:
            value = getattr(self, name)
            if value is not None and not _is_finite(value):
                raise OptionError(f"{name} is {value!r}, expected a number.")
        if self.soft_nms_sigma is not None and self.soft_nms_sigma < 0:
            raise OptionError(f"soft_nms_sigma is {self.soft_nms_sigma}, expected 0 or more.")
        if not 0 <= self.crop_overlap_ratio < 1:
            raise OptionError(
                f"crop_overlap_ratio is {self.crop_overlap_ratio}, expected a share of 0 or more, "
                "and below 1."
            )


_COUNTS: dict[str, tuple[int, int | None, str]] = {
    "points_per_side": (1, None, ""),
    "points_per_batch": (1, None, ""),
    "crop_points_downscale": (1, None, ""),
    "crop_layers": (0, 4, ""),
    "closer_layers": (0, 2, ""),
    "min_area": (0, None, " pixels"),
}
"""Lowest and highest value of what is counted, and its unit."""

_SHARES = (
    *("pred_iou_threshold", "stability_threshold", "stability_weight", "soft_nms_sigma"),
    *("box_nms_threshold", "crop_nms_threshold", "crop_overlap_ratio"),
)


def _or(value: _T | UnsetType, default: _T) -> _T:
    """A value of the manifest, or what holds where it is left out."""
    return default if isinstance(value, UnsetType) else value


def _is_finite(value: object) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _counts(value: object, least: int, most: int | None) -> bool:
    """Whether a value is a whole number in a range."""
    return isinstance(value, numbers.Integral) and least <= int(value) <= (most or int(value))
