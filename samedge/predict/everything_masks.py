"""The masks of everything mode at the image's size, and which of them are parts of others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from msgspec import UNSET, UnsetType

from samedge.formats.masks import BoxXywh, MaskRecord, corner_and_sides
from samedge.pixels import metrics, rle
from samedge.pixels.boxes import Box
from samedge.pixels.frames import View
from samedge.pixels.islands import mended
from samedge.predict.everything_candidates import Candidates
from samedge.types import Array, Rle, Size

_SHEET_SIDE = 192
PART = 0.9
"""Share of a mask that must lie in another for it to be a part of that."""


@dataclasses.dataclass(frozen=True, eq=False)
class AutomaticMask:
    """One mask of the image.

    Attributes:
        rle: the mask as COCO run lengths in the original image's frame.
        box: around the mask.
        area: in pixels.
        predicted_iou: the model's own estimate.
        stability_score: IoU of the mask cut at logits +1 and -1.
        point: ``(x, y)`` of the click that gave it.
        crop_box: the part of the image that the encoder saw.
        parent: place in the list of the smallest mask that this one is a part of; ``None`` where it
            is part of none.
        focus: the part of the image that a second look saw; ``None`` without one.
        is_cut: whether a tile's edge cuts it, and no neighbour has the rest.
    """

    rle: Rle
    box: Box
    area: int
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]
    crop_box: Box
    parent: int | None = None
    focus: Box | None = None
    is_cut: bool = False

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The mask, (H, W) bool, decoded anew each time: many masks of a photo fill a memory."""
        return rle.mask_from_rle(self.rle)

    def record(self) -> MaskRecord:
        """The mask for JSON and files, its box as ``[x, y, width, height]``."""
        return MaskRecord(
            rle=self.rle,
            bbox=corner_and_sides(self.box),
            area=self.area,
            predicted_iou=self.predicted_iou,
            stability_score=self.stability_score,
            point=self.point,
            crop_box=corner_and_sides(self.crop_box),
            parent=self.parent,
            focus=UNSET if self.focus is None else corner_and_sides(self.focus),
            is_cut=self.is_cut or UNSET,
        )


def mask_from_record(record: MaskRecord) -> AutomaticMask:
    """The mask again that :meth:`AutomaticMask.record` described."""
    assert record.bbox is not None
    assert record.predicted_iou is not None
    assert record.stability_score is not None
    point, crop = record.point, record.crop_box
    return AutomaticMask(
        rle=record.rle,
        box=_edges(record.bbox),
        area=record.area,
        predicted_iou=record.predicted_iou,
        stability_score=record.stability_score,
        point=(0.0, 0.0) if isinstance(point, UnsetType) else point,
        crop_box=(0, 0, 0, 0) if isinstance(crop, UnsetType) else _edges(crop),
        parent=None if isinstance(record.parent, UnsetType) else record.parent,
        focus=None if isinstance(record.focus, UnsetType) else _edges(record.focus),
        is_cut=record.is_cut is True,
    )


def _edges(box: BoxXywh) -> Box:
    x, y, width, height = box
    return x, y, x + width, y + height


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """A mask and what it covers of a small sheet, for comparisons with others.

    Attributes:
        mask: as it is returned.
        sheet: which cells of the sheet it covers, (cells,) bool.
        origin: number of the crop that it was drawn on, and its place among the candidates there.
    """

    mask: AutomaticMask
    sheet: npt.NDArray[np.bool_]
    origin: tuple[int, int]


class Sheet:
    """An image in coarse cells, on which many masks can be kept at once.

    Args:
        size: ``(height, width)`` of the image.
    """

    def __init__(self, size: Size) -> None:
        self.step = max(1, math.ceil(max(size) / _SHEET_SIDE))
        self.shape = -(-size[0] // self.step), -(-size[1] // self.step)

    def covered(
        self,
        window: npt.NDArray[np.bool_],
        *,
        corner: tuple[int, int],
        point: tuple[float, float],
    ) -> npt.NDArray[np.bool_]:
        """The cells whose first pixel is in a mask; of a mask between all of those, its click's.

        Args:
            window: (h, w) bool, the mask's part of the image.
            corner: ``(x, y)`` of its top left pixel in the image.
            point: xy in the image, of the click.
        """
        cells = np.zeros(self.shape, np.bool_)
        x0, y0 = (-(-value // self.step) for value in corner)
        part = window[
            y0 * self.step - corner[1] :: self.step, x0 * self.step - corner[0] :: self.step
        ]
        cells[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = part
        if not cells.any():
            row = min(int(point[1]) // self.step, self.shape[0] - 1)
            cells[row, min(int(point[0]) // self.step, self.shape[1] - 1)] = True
        return cells.ravel()


def drawn(
    view: View,
    kept: Candidates,
    *,
    number: int,
    crop_box: Box,
    size: Size,
    threshold: float,
    min_area: int,
) -> list[Drawn]:
    """Upscale masks, one at a time, and place them in the image.

    Args:
        view: of the part of the image that they were decoded on, as an image of its own.
        kept: the masks.
        number: of that part among those of the image.
        crop_box: that part.
        size: ``(height, width)`` of the image.
        threshold: logits above it are in the mask.
        min_area: smaller holes and islands are mended, smaller masks left out.
    """
    sheet, made = Sheet(size), []
    for index in range(len(kept.iou)):
        part = view.masks(kept.logits[index : index + 1], threshold=threshold)[0]
        if min_area:
            part = mended(part, least_px=min_area)
        box = metrics.bounding_box(part)
        if box is None or np.count_nonzero(part) < min_area:
            continue
        x, y = (kept.points[index] + crop_box[:2]).tolist()
        corner = crop_box[0] + box[0], crop_box[1] + box[1]
        window = part[box[1] : box[3], box[0] : box[2]]
        mask = AutomaticMask(
            rle=rle.rle_from_window(window, corner=corner, size=size),
            box=(*corner, crop_box[0] + box[2], crop_box[1] + box[3]),
            area=int(np.count_nonzero(window)),
            predicted_iou=float(kept.iou[index]),
            stability_score=float(kept.stability[index]),
            point=(x, y),
            crop_box=crop_box,
        )
        cells = sheet.covered(window, corner=corner, point=(x, y))
        made.append(Drawn(mask, cells, (number, index)))
    return made


def with_parents(masks: Sequence[Drawn]) -> list[AutomaticMask]:
    """Masks in their order, each with the place of the smallest one that it is a part of."""
    if not masks:
        return []
    sheets = np.stack([one.sheet for one in masks]).astype(np.float32)
    areas = np.array([one.mask.area for one in masks], np.float64)
    shares: Array = (sheets @ sheets.T) / sheets.sum(axis=1, keepdims=True)
    inside = (shares >= PART) & (areas[None] * PART > areas[:, None])
    candidates = np.where(inside, areas[None], np.inf)
    parents = candidates.argmin(axis=1)
    return [
        dataclasses.replace(one.mask, parent=int(parent) if np.isfinite(least) else None)
        for one, parent, least in zip(masks, parents, candidates.min(axis=1), strict=True)
    ]
