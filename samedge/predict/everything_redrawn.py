"""Masks of clicks drawn again: a model draws a thing better from a box than from a click."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from samedge.pixels.boxes import Box, cut_off
from samedge.pixels.frames import View
from samedge.pixels.regridding import regridded
from samedge.predict.decoding import FIRMER
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.everything_candidates import Candidates, joined, low_res_boxes
from samedge.predict.predictor import Predictor
from samedge.types import Array, Prompt, Size

_SAME = 0.3
"""IoU from which on the second drawing is of the same thing."""

_EDGE_PX = 4.0
"""What is drawn so near to the edge of a crop goes on beyond it."""

_MARGIN = 0.08
"""Share of a crop's side that has to lie between a thing and the crop's edge."""

_LONGEST = 0.6
"""Longer side of a thing over that of a crop, at most."""


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """A part of the image, and the masks that the clicks on it gave.

    Attributes:
        crop_box: the part.
        layer: of it among the crops; 0 is the whole image.
        found: its masks, in pixels of the part.
        encoded: gives the embedding of the part, as of an image of its own; asked for at most once.
        origins: of each mask that was drawn again the number of the part on which it was found, and
            its place there.
    """

    crop_box: Box
    layer: int
    found: Candidates
    encoded: Callable[[], ImageEmbedding]
    origins: tuple[tuple[int, int], ...] = ()


def redrawn(
    predictor: Predictor, parts: Sequence[Part], *, size: Size, batch: int
) -> Iterator[Part]:
    """Masks asked for again, each with its own box and logits, in the closest part that shows it.

    What is drawn as another thing then was none, and goes, as does what a part's edge cuts off. Of
    the rest the predicted IoU is the mean of both answers', which ranks them better than that of a
    click alone.

    Args:
        predictor: of a bundle that understands boxes and masks.
        parts: of the image; the masks of each keep their order. A part where nothing is drawn is
            not encoded for it.
        size: ``(height, width)`` of the image.
        batch: masks that are asked for at a time.

    Yields:
        Every part with the masks that were drawn on it.
    """
    views = [predictor.frame.view(size, region=part.crop_box) for part in parts]
    targets = [_closest(part, parts, size=size) for part in parts]
    for number, part in enumerate(parts):
        places = [np.flatnonzero(target == number) for target in targets]
        moved = [
            _moved(source.found[own], source=seen, target=views[number])
            for source, own, seen in zip(parts, places, views, strict=True)
        ]
        asked = joined(moved)
        origins = [(source, int(place)) for source, own in enumerate(places) for place in own]
        if len(asked.iou):
            found, same = _all_again(predictor, part, asked, batch=batch)
            cut = cut_off(found.boxes, part.crop_box, size=size, tolerance_px=_EDGE_PX)
            kept = np.flatnonzero(same & ~cut)
            asked, origins = found[kept], [origins[place] for place in kept]
        yield dataclasses.replace(part, found=asked, origins=tuple(origins))


def _all_again(
    predictor: Predictor, part: Part, asked: Candidates, *, batch: int
) -> tuple[Candidates, npt.NDArray[np.bool_]]:
    """The masks as they were drawn again, and which of them are the same things."""
    embedding = part.encoded()
    starts = range(0, len(asked.iou), batch)
    chosen = [asked[slice(start, start + batch)] for start in starts]
    found = [_again(predictor, embedding, some) for some in chosen]
    threshold = predictor.manifest.thresholds.mask
    ious = [
        _ious(again.logits > threshold, some.logits > threshold)
        for again, some in zip(found, chosen, strict=True)
    ]
    return joined(found), np.concatenate(ious) >= _SAME


def _closest(part: Part, parts: Sequence[Part], *, size: Size) -> npt.NDArray[np.intp]:
    """(N,) number of the part on which each mask of a part is drawn again: its own or a closer one.

    Of those that show the thing whole and not too large, one of the last layer counts, and among
    these the one whose middle is nearest.
    """
    boxes = part.found.boxes + np.tile(part.crop_box[:2], 2)
    offers = []
    for other in parts:
        offer = np.full(len(boxes), -np.inf)
        if other is part:
            offer[:] = other.layer
        elif other.layer > part.layer:
            shown = _shown(boxes, other.crop_box, size=size)
            offer[shown] = other.layer - _off_middle(boxes[shown], other.crop_box)
        offers.append(offer)
    chosen: npt.NDArray[np.intp] = np.argmax(offers, axis=0)
    return chosen


def _shown(boxes: Array, crop_box: Box, *, size: Size) -> npt.NDArray[np.bool_]:
    """Which of (N, 4) boxes of the image a crop shows whole, with a margin, and not too large."""
    x0, y0, x1, y1 = crop_box
    across, down = _MARGIN * (x1 - x0), _MARGIN * (y1 - y0)
    inside = (boxes[:, 0] >= (x0 + across if x0 else 0)) & (boxes[:, 1] >= (y0 + down if y0 else 0))
    inside &= (boxes[:, 2] <= x1 - across) | (x1 == size[1])
    inside &= (boxes[:, 3] <= y1 - down) | (y1 == size[0])
    longer: Array = np.max(boxes[:, 2:] - boxes[:, :2], axis=1)
    shown: npt.NDArray[np.bool_] = inside & (longer <= _LONGEST * max(x1 - x0, y1 - y0))
    return shown


def _off_middle(boxes: Array, crop_box: Box) -> Array:
    """How far the middles of boxes in a crop are from its middle, in its sides; below 1."""
    x0, y0, x1, y1 = crop_box
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2 - ((x0 + x1) / 2, (y0 + y1) / 2)
    return np.asarray(np.hypot(*(middles / (x1 - x0, y1 - y0)).T), np.float64)


def _moved(found: Candidates, *, source: View, target: View) -> Candidates:
    """Masks of one part as those of another one."""
    if source == target or not len(found.iou):
        return found
    shift = np.subtract(source.bounds[:2], target.bounds[:2])
    return dataclasses.replace(
        found,
        logits=regridded(found.logits, source=source, target=target),
        boxes=found.boxes + np.tile(shift, 2),
        points=found.points + shift,
    )


def _again(predictor: Predictor, embedding: ImageEmbedding, found: Candidates) -> Candidates:
    view, threshold = embedding.view, predictor.manifest.thresholds.mask
    height, width = view.viewed_size
    boxes = np.clip(found.boxes, 0, (width, height, width, height))
    prompts = [
        Prompt(box=box, mask=FIRMER * logits, region=view.bounds)
        for box, logits in zip(boxes, found.logits, strict=True)
    ]
    every, iou = predictor.decode_logits(embedding, prompts)
    logits = every[:, 0]
    return dataclasses.replace(
        found,
        logits=logits,
        boxes=low_res_boxes(logits, view, threshold=threshold),
        iou=(found.iou + iou[:, 0]) / 2,
        stability=view.stability(logits, offset=predictor.manifest.thresholds.stability_offset),
    )


def _ious(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> Array:
    """Of pairs of masks, (N, m, m) to (N,); padding is in none of them."""
    common = np.count_nonzero(first & second, axis=(1, 2))
    union = np.count_nonzero(first | second, axis=(1, 2))
    return np.asarray(common / np.maximum(union, 1), np.float64)
