"""Which regions of an image a word gets, by their margins: what is found, and what is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from samedge.bundle.manifest import Manifest
from samedge.pixels.boxes import nms
from samedge.predict.everything import EverythingConfig
from samedge.types import Array

_NEAR = 1.5
"""Log-odds below the best region of a word from which on others are not meant by it; chosen on
training photos by tables that had not seen them."""

_PART = 0.9
"""Share of a region that must lie in another for it to be a part of that."""

_FILLED = 0.7
"""Share of a region that its parts cover where it is a group of them, and not one thing."""

_SHEET_SIDE = 512
_CLOSE = 0.5
"""Log-odds below what is found from which on a region is drawn again: that may lift it so far."""

_MOST_LAYERS = 1
_FEWER_POINTS = 0.75
"""Clicks along each side of the grid, as a share of the bundle's."""

_CLICKS_AT_ONCE = 4
"""Few, so that what they find settles the next ones soon; a processor decodes no more in a call."""

MOST_REGIONS = 64
"""Regions of an image that are held against words, the best ranked."""

Mask = npt.NDArray[np.bool_]


def proposing(manifest: Manifest, given: EverythingConfig | None = None) -> EverythingConfig:
    """How regions are proposed for words: as everything mode looks, but less closely.

    Crops beyond the first layer and more clicks find and draw small things, which are hardly ever
    named rightly, and which pass for something else the more often the more there are.

    Args:
        manifest: of the bundle.
        given: settings that stay as they are; what they leave open is that of words.
    """
    own, given = manifest.thresholds.own_everything, given or EverythingConfig()
    words = EverythingConfig.without_near_duplicates(
        manifest,
        points_per_side=max(round(own.points_per_side * _FEWER_POINTS), 1),
        crop_layers=min(own.crop_layers, _MOST_LAYERS),
        closer_layers=0,
        soft_nms_sigma=0.0,
    )
    fields = {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
    stays = {name: value for name, value in fields.items() if value is not None}
    few = min(given.points_per_batch, _CLICKS_AT_ONCE)
    return dataclasses.replace(words, **{**stays, "points_per_batch": few})


def close_rows(margins: Array, *, cut: float) -> npt.NDArray[np.intp]:
    """Rows of the regions that one word names, or would if their margins were a little higher.

    Args:
        margins: (N,) of the word.
        cut: as of :func:`kept_rows`.
    """
    if not len(margins):
        return np.zeros(0, np.intp)
    least = max(cut, float(margins.max()) - _NEAR) - _CLOSE
    return np.flatnonzero(margins > least)


def kept_rows(margins: Array, boxes: Array, *, cut: float, suppression: float) -> list[int]:
    """Rows of the regions that one word names, the best first.

    Args:
        margins: (N,) of the word.
        boxes: (N, 4) ``x0, y0, x1, y1`` of the regions.
        cut: a margin has to be larger, and not much below the best one.
        suppression: of two boxes with a larger IoU the better is kept.
    """
    if not len(margins):
        return []
    over = np.flatnonzero((margins > cut) & (margins >= margins.max() - _NEAR))
    order = nms(boxes[over], margins[over], threshold=suppression)
    return [int(over[index]) for index in order]


def without_parts(rows: Sequence[int], mask: Callable[[int], Mask]) -> list[int]:
    """The rows without parts of others: a person's head where the person is there.

    A region that several parts fill is a group of them: they stay, and it goes.

    Args:
        rows: of regions of one word, the best first.
        mask: gives a row's, (H, W) bool.
    """
    drawn = {row: _sheet(mask(row)) for row in rows}
    parts: dict[int, list[int]] = {}
    for row in rows:
        wholes = [whole for whole in parts if _is_part(drawn[row], drawn[whole])]
        if wholes:
            parts[wholes[0]].append(row)
        else:
            parts[row] = []
    kept: set[int] = set()
    for whole, own in parts.items():
        kept.update(own if _is_group(drawn[whole], [drawn[row] for row in own]) else [whole])
    return [row for row in rows if row in kept]


def _sheet(mask: Mask) -> Mask:
    step = max(1, -(-max(mask.shape) // _SHEET_SIDE))
    return np.array(mask[::step, ::step], np.bool_)


def _is_part(region: Mask, whole: Mask) -> bool:
    inside = np.count_nonzero(region & whole)
    own, other = np.count_nonzero(region), np.count_nonzero(whole)
    return bool(_PART * own <= inside < _PART * other)


def _is_group(whole: Mask, parts: Sequence[Mask]) -> bool:
    if len(parts) < 2:
        return False
    filled = np.count_nonzero(whole & np.any(parts, axis=0))
    return bool(filled >= _FILLED * np.count_nonzero(whole))
