"""What every format reads and writes: the masks of one image, and one record a mask."""

from __future__ import annotations

import dataclasses
import os
from pathlib import PurePosixPath

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET, UnsetType

from samedge.files import limits
from samedge.pixels.metrics import bounding_box
from samedge.pixels.orientation import UPRIGHT
from samedge.pixels.rle import mask_from_rle, rle_from_mask
from samedge.pixels.runs import runs_from_rle
from samedge.types import Array, Focus, Prompt, Region, Rle, Size

BoxXywh = tuple[int, int, int, int]
"""``(x, y, width, height)`` pixels of the image."""

DEFAULT_CATEGORY = "object"


class PromptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, in pixels of the image; ``mask`` says whether there was an earlier mask.

    ``text`` is the word as it was given; unset where none was.
    """

    index: int
    points: list[list[float]] = msgspec.field(default_factory=list)
    labels: list[int] = msgspec.field(default_factory=list)
    box_xyxy: list[float] | None = None
    mask: bool = False
    text: str | UnsetType = UNSET


class MaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One mask of an image, as ``--json`` prints it; a field that is unset is left out there.

    Attributes:
        prompt: what asked for it.
        rle: the mask in the image's frame.
        bbox: around it; ``None`` where it is empty.
        area: in pixels.
        predicted_iou: the model's own estimate, or another program's score; ``None`` without one.
        stability_score: IoU of the mask cut at logits +1 and -1.
        point: ``(x, y)`` of the click of a grid that gave it.
        crop_box: the part of the image that the encoder saw.
        focus: the part that a second look saw; unset where the first look gave the mask.
        parent: place among the image's masks of the smallest one that this one is a part of;
            ``None`` where it is part of none.
        is_cut: set where a tile's edge cuts the mask and no neighbour has the rest.
        category: what it shows.
        word_score: how sure a model of words is of the category, 0 to 1.
        is_crowd: one mask for many things, which evaluation leaves out.
    """

    prompt: PromptRecord | UnsetType = UNSET
    rle: Rle
    bbox: BoxXywh | None
    area: int
    predicted_iou: float | None = None
    stability_score: float | None = None
    point: tuple[float, float] | UnsetType = UNSET
    crop_box: BoxXywh | UnsetType = UNSET
    focus: BoxXywh | UnsetType = UNSET
    parent: int | UnsetType | None = UNSET
    is_cut: bool | UnsetType = UNSET
    category: str | UnsetType = UNSET
    word_score: float | UnsetType = UNSET
    is_crowd: bool | UnsetType = UNSET

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The mask, (H, W) bool, decoded anew each time: many masks of a photo fill a memory."""
        return mask_from_rle(dict(self.rle))

    def window(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """The mask's part of the image, (h, w) bool, and the ``(x, y)`` of its top left pixel."""
        runs = runs_from_rle(dict(self.rle))
        return runs.drawn(runs.box), np.array(runs.box[:2], np.int64)

    @property
    def category_name(self) -> str:
        """What it shows, or ``"object"`` where nobody said."""
        return self.category if isinstance(self.category, str) else DEFAULT_CATEGORY


def fits_window(record: MaskRecord) -> bool:
    """Whether the mask's part of the image, too, may be held."""
    width, height = (0, 0) if record.bbox is None else record.bbox[2:]
    return width * height <= limits.limit("image_pixels")


def record_from_mask(
    mask: npt.NDArray[np.bool_],
    *,
    predicted_iou: float | None = None,
    stability_score: float | None = None,
    prompt: PromptRecord | UnsetType = UNSET,
    category: str | UnsetType = UNSET,
    focus: Focus | None = None,
) -> MaskRecord:
    """Describe a mask.

    Args:
        mask: (H, W) bool, in the image's frame.
        predicted_iou: an estimate; one that is not finite becomes ``None``.
        stability_score: the same.
        prompt: what asked for it.
        category: what it shows.
        focus: the second look that gave it.
    """
    box = bounding_box(mask)
    return MaskRecord(
        prompt=prompt,
        rle=rle_from_mask(mask),
        bbox=None if box is None else (box[0], box[1], box[2] - box[0], box[3] - box[1]),
        area=int(np.count_nonzero(mask)),
        predicted_iou=_rounded(predicted_iou),
        stability_score=_rounded(stability_score),
        category=category,
        focus=UNSET if focus is None else corner_and_sides(focus.region),
    )


def corner_and_sides(box: Region) -> BoxXywh:
    """``(x0, y0, x1, y1)`` as ``(x, y, width, height)``."""
    x0, y0, x1, y1 = box
    return x0, y0, x1 - x0, y1 - y0


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 6)


def prompt_record(prompt: Prompt, index: int) -> PromptRecord:
    """Describe a prompt; ``index`` is its place among those asked together."""
    return PromptRecord(
        index=index,
        points=prompt.points.tolist(),
        labels=prompt.labels.tolist(),
        box_xyxy=None if prompt.box is None else prompt.box.tolist(),
        mask=prompt.mask is not None,
    )


def inside(name: str) -> PurePosixPath:
    """A name as a path that stays inside of the folder that it is put into.

    Folders are between ``/``; a backslash is a letter but where the system has it between folders.
    """
    parts = name.replace(os.sep, "/").replace("\0", "").split("/")
    kept = [part.rstrip(":") for part in parts if part.strip(". :")]
    return PurePosixPath(*kept) if kept else PurePosixPath("image")


@dataclasses.dataclass(frozen=True, eq=False)
class ImageMasks:
    """The masks of one image, read from a file or to be written.

    Attributes:
        name: the image's file, relative to the common folder of all images, with ``/`` between
            folders.
        size: its ``(height, width)``, the way up in which the masks are.
        masks: in the order of the file.
        frame: ``"upright"``, ``"stored"``, or ``None`` where the file does not say; see
            :mod:`samedge.pixels.orientation`.
        pixels: (H, W, 3) uint8 RGB, for formats that draw; ``None`` where it is not at hand.
        prompts: what was asked, to be drawn.
        low_res_logits: (M, S/4, S/4) float32 of the masks, or ``None``.
    """

    name: str
    size: Size
    masks: tuple[MaskRecord, ...]
    frame: str | None = UPRIGHT
    pixels: Array | None = None
    prompts: tuple[Prompt, ...] = ()
    low_res_logits: Array | None = None

    @property
    def place(self) -> PurePosixPath:
        """Where a file named after the image goes, inside of a folder whatever the name says.

        Names come from other people's files: ``/etc/x``, ``../x``, ``s3://bucket/x``.
        """
        return inside(self.name)

    def stacked(self) -> npt.NDArray[np.bool_]:
        """All masks as one (M, H, W) bool array; M may be 0."""
        found = np.zeros((len(self.masks), *self.size), np.bool_)
        for index, record in enumerate(self.masks):
            found[index] = record.mask
        return found
