"""Masks as other libraries' objects in memory: ``supervision.Detections``, FiftyOne's samples.

The libraries are imported when a function is called; nobody else needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samedge.errors import BackendUnavailableError, DatasetError
from samedge.formats.masks import ImageMasks, MaskRecord, record_from_mask
from samedge.types import Size

if TYPE_CHECKING:
    from types import ModuleType

_NAMES = "class_name"  # where supervision's annotators look for names


def to_supervision(image: ImageMasks, *, categories: Sequence[str] | None = None) -> Any:
    """Masks as a ``supervision.Detections`` with boxes, scores, classes and their names.

    Args:
        image: the masks; a mask without a score gets NaN where others have one.
        categories: names in the order of class numbers; ``None`` numbers those that are there.

    Raises:
        BackendUnavailableError: supervision is not installed.
        DatasetError: a mask's category is not among ``categories``.
    """
    supervision = _library("supervision")
    masks = [record for record in image.masks if record.area]
    names = [record.category_name for record in masks]
    known = list(dict.fromkeys(names)) if categories is None else list(categories)
    foreign = sorted(set(names) - set(known))
    if foreign:
        raise DatasetError(
            f"The category {foreign[0]!r} of a mask is not among {', '.join(known)}: add it."
        )
    if not masks:
        return supervision.Detections.empty()
    scores = [record.predicted_iou for record in masks]
    return supervision.Detections(
        xyxy=np.array([_corners(record) for record in masks], np.float32),
        mask=np.stack([record.mask for record in masks]),
        confidence=None
        if all(score is None for score in scores)
        else np.array([np.nan if score is None else score for score in scores], np.float32),
        class_id=np.array([known.index(name) for name in names], np.int64),
        data={_NAMES: np.array(names)},
    )


def from_supervision(
    detections: Any, *, name: str, size: Size, categories: Sequence[str] = ()
) -> ImageMasks:
    """Masks of a ``supervision.Detections``.

    Args:
        detections: with masks.
        name: the image's.
        size: its ``(height, width)``.
        categories: names by class number, where the detections do not carry them.

    Raises:
        DatasetError: there are no masks, or they have another size.
    """
    if len(detections) and detections.mask is None:
        raise DatasetError("These detections have boxes only: give some with masks.")
    carried = detections.data.get(_NAMES) if detections.data else None
    records = []
    for place in range(len(detections)):
        mask = np.asarray(detections.mask[place], np.bool_)
        _check_size(mask.shape, size)
        score = None if detections.confidence is None else float(detections.confidence[place])
        number = None if detections.class_id is None else int(detections.class_id[place])
        if carried is not None:
            category = str(carried[place])
        elif number is not None and number < len(categories):
            category = categories[number]
        else:
            category = "object" if number is None else f"class {number}"
        records.append(record_from_mask(mask, predicted_iou=score, category=category))
    return ImageMasks(name, size, tuple(records))


def to_fiftyone(image: ImageMasks, path: Path) -> Any:
    """Masks as a ``fiftyone.Sample`` whose field ``samedge`` has detections with instance masks.

    Args:
        image: the masks.
        path: the image's file.

    Raises:
        BackendUnavailableError: FiftyOne is not installed.
    """
    fiftyone = _library("fiftyone")
    height, width = image.size
    found = []
    for record in image.masks:
        if record.bbox is None:
            continue
        x, y, across, down = record.bbox
        found.append(
            fiftyone.Detection(
                label=record.category_name,
                bounding_box=[x / width, y / height, across / width, down / height],
                mask=record.mask[y : y + down, x : x + across],
                confidence=record.predicted_iou,
            )
        )
    return fiftyone.Sample(filepath=str(path), samedge=fiftyone.Detections(detections=found))


def from_fiftyone(detections: Any, *, name: str, size: Size) -> ImageMasks:
    """Masks of a ``fiftyone.Detections``.

    Args:
        detections: with instance masks, each inside of its box.
        name: the image's.
        size: its ``(height, width)``.

    Raises:
        DatasetError: a detection has no mask in memory, or one that does not fit its box.
    """
    height, width = size
    records = []
    for found in detections.detections:
        if found.mask is None:
            raise DatasetError(
                f"The detection {found.label!r} has a box only, or a mask that is not in memory: "
                "give detections with masks."
            )
        cut = np.asarray(found.mask, np.bool_)
        x, y = round(found.bounding_box[0] * width), round(found.bounding_box[1] * height)
        _check_size((max(y + cut.shape[0], height), max(x + cut.shape[1], width)), size)
        mask = np.zeros(size, np.bool_)
        mask[y : y + cut.shape[0], x : x + cut.shape[1]] = cut
        records.append(
            record_from_mask(mask, predicted_iou=found.confidence, category=found.label or "object")
        )
    return ImageMasks(name, size, tuple(records))


def _library(name: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendUnavailableError(f"{name} is not installed: pip install {name}") from error


def _corners(record: MaskRecord) -> tuple[int, int, int, int]:
    assert record.bbox is not None  # empty masks were left out
    x, y, width, height = record.bbox
    return x, y, x + width, y + height


def _check_size(found: tuple[int, ...], size: Size) -> None:
    if tuple(found) != tuple(size):
        raise DatasetError(
            f"A mask is {found}, but its image {size} (height, width): give masks of the image."
        )
