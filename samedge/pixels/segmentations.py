"""COCO's three kinds of segmentation to masks: polygons, run lengths, compressed run lengths.

Polygons are drawn by pycocotools, as COCO's own figures are. Its compiled code trusts what it is
given: a coordinate that is not a number, or lies far away, takes all memory or ends the process.
So everything is checked before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from samedge.errors import BackendUnavailableError, DatasetError
from samedge.pixels.rle import checked_runs, mask_from_rle
from samedge.types import Size

_MOST_EDGE_PIXELS = 5_000_000
"""Pixels along all lines of an object: pycocotools takes about 100 bytes for each."""


class UndrawableError(DatasetError):
    """A segmentation that cannot be drawn.

    Attributes:
        reason: why, in words under which such annotations are counted.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"This segmentation cannot be drawn: {reason}.")
        self.reason = reason


def mask_from_segmentation(segmentation: Any, size: Size) -> npt.NDArray[np.bool_]:
    """Draw one COCO segmentation.

    Args:
        segmentation: polygons ``[[x0, y0, x1, y1, ...], ...]``, uncompressed run lengths
            ``{"size", "counts": [...]}`` or compressed ones ``{"size", "counts": str}``.
        size: the image's ``(height, width)``.

    Returns:
        (H, W) bool; it may be empty.

    Raises:
        UndrawableError: none of the three, or not of this size, or not near the image.
        BackendUnavailableError: polygons, and pycocotools is not installed.
    """
    if isinstance(segmentation, Mapping):
        return _from_runs(segmentation, size)
    return _from_polygons(drawable_polygons(segmentation, size), size)


def check_segmentation(segmentation: Any, size: Size) -> None:
    """Refuse what cannot be drawn, without drawing it.

    Raises:
        UndrawableError: as :func:`mask_from_segmentation`.
    """
    if isinstance(segmentation, Mapping):
        _checked_runs(segmentation, size)
    else:
        drawable_polygons(segmentation, size)


def drawable_polygons(segmentation: Any, size: Size) -> list[list[float]]:
    """The polygons that have an inside; those of one or two points are left out beside others.

    Raises:
        UndrawableError: there are none, or one is malformed.
    """
    if segmentation is None:
        raise UndrawableError("no segmentation")
    if not isinstance(segmentation, list):
        raise UndrawableError("a segmentation that is neither polygons nor run lengths")
    if not segmentation:
        raise UndrawableError("a segmentation without a polygon")
    for polygon in segmentation:
        _check_polygon(polygon, size)
    polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
    if not polygons:
        raise UndrawableError("a polygon of fewer than three points")
    if sum(map(_edge_pixels, polygons)) > min(_MOST_EDGE_PIXELS, 8 * (size[0] + 1) * (size[1] + 1)):
        raise UndrawableError("polygons that are longer than the image has room for")
    return polygons


def _check_polygon(polygon: Any, size: Size) -> None:
    if not isinstance(polygon, list):
        raise UndrawableError("a polygon that is no list of numbers")
    if any(type(number) not in (int, float) for number in polygon):
        raise UndrawableError("a polygon with coordinates that are no numbers")
    if len(polygon) % 2:
        raise UndrawableError("a polygon with an odd number of coordinates")
    far = 2 * max(size) + 100
    if not all(-far < number < far for number in polygon):  # NaN is in no order
        raise UndrawableError("a polygon that is not finite, or far from its image")


def _edge_pixels(polygon: list[float]) -> float:
    x, y = polygon[::2], polygon[1::2]
    return math.fsum(max(abs(x[i] - x[i - 1]), abs(y[i] - y[i - 1])) + 1 for i in range(len(x)))


def _from_polygons(polygons: list[list[float]], size: Size) -> npt.NDArray[np.bool_]:
    try:
        from pycocotools import mask as coco_masks
    except ImportError as error:
        raise BackendUnavailableError(
            "pycocotools, which draws the ground truth's polygons, is not installed: "
            'pip install "samedge[eval]"'
        ) from error
    height, width = size
    drawn = coco_masks.decode(coco_masks.merge(coco_masks.frPyObjects(polygons, height, width)))
    return np.ascontiguousarray(drawn).astype(np.bool_)


def _checked_runs(segmentation: Mapping[str, Any], size: Size) -> None:
    if not {"size", "counts"} <= segmentation.keys():
        raise UndrawableError("a segmentation that is neither polygons nor run lengths")
    if segmentation["size"] != list(size):
        raise UndrawableError("run lengths of another size than the image")
    try:
        checked_runs(segmentation["counts"], size)
    except DatasetError as error:
        raise UndrawableError("run lengths that do not fill the image") from error


def _from_runs(segmentation: Mapping[str, Any], size: Size) -> npt.NDArray[np.bool_]:
    _checked_runs(segmentation, size)
    return mask_from_rle(segmentation)
