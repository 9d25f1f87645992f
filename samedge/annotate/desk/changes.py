"""What a page sends, made into the next review of a photo."""

from __future__ import annotations

import time
from collections import Counter

import msgspec
from msgspec import UNSET

from samedge.annotate.desk.messages import MaskChange, MaskMessage, SaveRequest
from samedge.annotate.desk.reviews import Review, ReviewedMask
from samedge.errors import PromptError
from samedge.formats.masks import MaskRecord, record_from_mask
from samedge.pixels.rle import mask_from_rle
from samedge.types import Size
from samedge.web.server.failures import ConflictError
from samedge.web.server.messages import RleMessage

_SLACK_S = 5.0  # clocks of page and desk may differ by so much between two changes


class OutdatedError(ConflictError):
    """A change to a state of the photo that is no longer the newest."""


def applied(review: Review, request: SaveRequest, *, annotator: str) -> Review:
    """The review after a change.

    Args:
        review: the newest one on disk.
        request: the page's.
        annotator: who made it.

    Raises:
        OutdatedError: the change was made to an older one.
        PromptError: a mask is unknown, comes twice, or has another size than the photo.
        DatasetError: a mask's run lengths are damaged.
    """
    is_mine = bool(review.saved_as) and review.saved_as in request.unanswered
    if request.revision != review.revision and not is_mine:
        raise OutdatedError(
            f"{review.name} was changed by somebody else (revision {review.revision}, yours is of "
            f"{request.revision}): open it again; your last change is not in it."
        )
    known = {mask.id: mask for mask in review.masks}
    twice = [key for key, count in Counter(c.id for c in request.masks).items() if count > 1]
    if twice:
        raise PromptError(f"The mask {twice[0]} comes twice: send each once.")
    now = time.time()
    return msgspec.structs.replace(
        review,
        masks=tuple(_mask(change, known.get(change.id), review.size) for change in request.masks),
        status=request.status,
        revision=review.revision + 1,
        saved_as=request.save_id,
        seconds=round(_seconds(review, request.seconds, now), 3),
        saved=now,
        annotators=tuple(dict.fromkeys((*review.annotators, annotator))),
    )


def _seconds(review: Review, told: float, now: float) -> float:
    """The page's time, but never back, nor by more than has gone by since the last change."""
    most = review.seconds + max(now - review.saved, 0) + _SLACK_S
    return min(max(told, review.seconds), most)


def _mask(change: MaskChange, known: ReviewedMask | None, size: Size) -> ReviewedMask:
    if change.rle is not None:
        record = _drawn(change.rle, change.predicted_iou, size)
    elif known is not None:
        record = known.record
    else:
        raise PromptError(f"There is no mask {change.id} yet: send its run lengths.")
    category = UNSET if change.category is None else change.category
    return ReviewedMask(
        id=change.id,
        record=msgspec.structs.replace(record, category=category),
        decision=change.decision,
        origin=change.origin,
    )


def _drawn(rle: RleMessage, predicted_iou: float | None, size: Size) -> MaskRecord:
    if tuple(rle.size) != tuple(size):
        raise PromptError(
            f"A mask has size {list(rle.size)}, expected the photo's {list(size)}: give [height, "
            "width] of the photo."
        )
    mask = mask_from_rle({"size": list(rle.size), "counts": rle.counts})
    return record_from_mask(mask, predicted_iou=predicted_iou)


def mask_message(mask: ReviewedMask) -> MaskMessage:
    """A mask for the page."""
    record = mask.record
    return MaskMessage(
        id=mask.id,
        decision=mask.decision,
        origin=mask.origin,
        category=record.category if isinstance(record.category, str) else None,
        rle=record.rle,
        area=record.area,
        predicted_iou=record.predicted_iou,
    )
