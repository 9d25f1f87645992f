"""Prompts in the original image's frame to the decoder graph's input tensors.

A prompt's points come first, then SAM's padding point where there is no box, then the box's two
corners. Shorter prompts of a batch are filled with ``PADDING``, which the decoder graph masks out
of the attention, so that batching changes no mask.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from samedge.errors import ImageError, PromptError
from samedge.pixels.frames import Frame, View
from samedge.pixels.metrics import bounding_box
from samedge.pixels.regridding import regridded
from samedge.types import (
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    DRAWN_KINDS,
    HAS_MASK_INPUT,
    IGNORED,
    MASK_INPUT,
    PADDING,
    POINT_COORDS,
    POINT_LABELS,
    Array,
    Prompt,
)

Bucket = tuple[int, int]
"""``(B, N)`` of a decoder graph with fixed shapes."""

CPU_BATCH = 4
"""Prompts in one call of the decoder on a processor: larger batches are no faster there, and 64
took gigabytes."""

_SURELY_PIXELS = 32  # the side of an image in which nobody asks for one pixel by a box

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """One prompt as the decoder takes it.

    Attributes:
        coords: (n, 2) float32, xy pixels of the input.
        labels: (n,).
        mask: (S/4, S/4) float32 logits, or ``None``.
    """

    coords: Array
    labels: Array
    mask: Array | None


def check_prompts(prompts: object) -> None:
    """Refuse what is no sequence of prompts, by what it is.

    Raises:
        PromptError: it is none; names the first that is no prompt.
    """
    if isinstance(prompts, Prompt) or not isinstance(prompts, Sequence):
        raise PromptError(
            f"The prompts are a {type(prompts).__name__}, expected a list of samedge.Prompt."
        )
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, Prompt):
            place = "The prompt" if len(prompts) == 1 else f"Prompt {index} of {len(prompts)}"
            raise PromptError(
                f"{place} is a {type(prompt).__name__}, expected a samedge.Prompt, such as "
                "Prompt(points=[[x, y]]) or Prompt(box=[x0, y0, x1, y1])."
            )


def row_from_prompt(prompt: Prompt, view: View, *, kinds: Sequence[str] = DRAWN_KINDS) -> Row:
    """Check a prompt against its image and the model, and map it into the input.

    Args:
        prompt: in pixels of the original image.
        view: of that image.
        kinds: what the model understands, of ``DRAWN_KINDS``.

    Raises:
        PromptError: a point or box outside the image, a mask of another size or one that comes
            alone and shows nothing, or a kind of prompt that the model does not understand.
    """
    foreign = [kind for kind in prompt.kinds if kind not in kinds]
    if foreign:
        raise PromptError(
            f"The prompt has a {foreign[0]}, and this model understands {', '.join(kinds)}: give "
            "one of them, or use another bundle."
        )
    if prompt.text is not None:
        raise PromptError(
            f"The words {prompt.text!r} need the picture, and an embedding holds none: call "
            "predictor.find(words, image), or predictor.predict(image, prompt)."
        )
    points, labels = _tokens(prompt, view, kinds)
    return Row(view.input_coords(points), labels, _mask_logits(prompt, view))


def rows_from_prompts(
    prompts: Sequence[Prompt],
    view: View,
    *,
    kinds: Sequence[str] = DRAWN_KINDS,
    buckets: Sequence[Bucket] = (),
    skip: bool = False,
) -> list[Row | None]:
    """:func:`row_from_prompt` of every prompt of a batch.

    Args:
        prompts: in pixels of the original image.
        view: of that image.
        kinds: what the model understands.
        buckets: the decoder's fixed shapes, where it has them.
        skip: put ``None`` in the place of a prompt that does not fit, instead of raising.

    Raises:
        PromptError: names the first prompt that does not fit by its index in the batch.
    """
    rows: list[Row | None] = []
    for index, prompt in enumerate(prompts):
        row = _row_or_error(prompt, view, kinds=kinds, buckets=buckets)
        if isinstance(row, Row):
            rows.append(row)
            continue
        place = "" if len(prompts) == 1 else f"Prompt {index} of {len(prompts)}: "
        if not skip:
            raise PromptError(f"{place}{row}") from row
        logger.warning("%sskipped: %s", place, row)
        rows.append(None)
    return rows


def _row_or_error(
    prompt: Prompt, view: View, *, kinds: Sequence[str], buckets: Sequence[Bucket]
) -> Row | PromptError:
    try:
        row = row_from_prompt(prompt, view, kinds=kinds)
        fitting_bucket(buckets, length=len(row.labels))
    except PromptError as error:
        return error
    return row


def batches(
    rows: Sequence[Row], *, buckets: Sequence[Bucket], limit: int
) -> Iterator[tuple[Sequence[Row], Bucket | None]]:
    """Cut a batch into calls of the decoder, each with the fixed shapes that it is filled up to.

    Args:
        rows: in their order.
        buckets: the decoder's fixed shapes; none: any shape is possible.
        limit: most rows in a call where there are none.
    """
    waiting = list(rows)
    while waiting:
        length = max(len(row.labels) for row in waiting)
        bucket = fitting_bucket(buckets, batch=len(waiting), length=length)
        size = min(len(waiting), bucket[0] if bucket else limit)
        yield waiting[:size], bucket
        waiting = waiting[size:]


def decoder_feeds(
    rows: Sequence[Row], frame: Frame, *, bucket: Bucket | None = None
) -> dict[str, Array]:
    """The decoder's inputs but for what the encoder gives.

    Args:
        rows: B prompts about one image.
        frame: of the model.
        bucket: shapes to fill up to; ``None`` keeps B and takes the longest prompt's N. Filled
            rows repeat nothing: they hold ignored points.

    Returns:
        ``point_coords`` (B, N, 2), ``point_labels`` (B, N), ``mask_input`` (B, 1, S/4, S/4) and
        ``has_mask_input`` (B,), all float32; coordinates in the input.
    """
    batch, length = bucket or (len(rows), max(len(one.labels) for one in rows))
    side = frame.low_res_side
    coords = np.zeros((batch, length, 2), np.float32)
    labels = np.full((batch, length), IGNORED, np.float32)
    masks = np.zeros((batch, 1, side, side), np.float32)
    flags = np.zeros(batch, np.float32)
    for index, one in enumerate(rows):
        coords[index, : len(one.coords)] = one.coords
        # A lone mask has no point at all, not even SAM's padding point: its row stays ignored.
        labels[index] = IGNORED if (one.labels == IGNORED).all() else PADDING
        labels[index, : len(one.labels)] = one.labels
        if one.mask is not None:
            masks[index, 0], flags[index] = one.mask, 1.0
    return {
        POINT_COORDS: coords,
        POINT_LABELS: labels,
        MASK_INPUT: masks,
        HAS_MASK_INPUT: flags,
    }


def feeds_of(
    prompts: Sequence[Prompt], view: View, *, bucket: Bucket | None = None
) -> dict[str, Array]:
    """:func:`decoder_feeds` straight from prompts about one image.

    Raises:
        PromptError: one does not fit the image.
    """
    rows = [row for row in rows_from_prompts(prompts, view) if row is not None]
    return decoder_feeds(rows, view.frame, bucket=bucket)


def usual_shapes(frame: Frame) -> tuple[dict[str, tuple[int, ...]], ...]:
    """Shapes that most calls of a decoder have: a click or a box, alone or a processor's batch.

    Args:
        frame: of the model.

    Returns:
        Shapes by the names of :func:`decoder_feeds`; that of a single prompt first.
    """
    side = frame.low_res_side
    return tuple(
        {
            POINT_COORDS: (batch, 2, 2),
            POINT_LABELS: (batch, 2),
            MASK_INPUT: (batch, 1, side, side),
            HAS_MASK_INPUT: (batch,),
        }
        for batch in (1, CPU_BATCH)
    )


def buckets_from_shapes(shapes: Sequence[Mapping[str, Sequence[int]]]) -> tuple[Bucket, ...]:
    """``(B, N)`` of a graph's fixed shapes, in their order; nothing of a graph without points."""
    found = (tuple(one[POINT_COORDS][:2]) for one in shapes if POINT_COORDS in one)
    return tuple((batch, length) for batch, length in found)


def fitting_bucket(buckets: Sequence[Bucket], *, batch: int = 1, length: int) -> Bucket | None:
    """The smallest bucket that holds a batch, or as much of it as any bucket can.

    Args:
        buckets: the graph's fixed shapes; none mean that every shape is possible.
        batch: prompts that wait.
        length: points of the longest.

    Raises:
        PromptError: no bucket is long enough for the prompt.
    """
    if not buckets:
        return None
    long_enough = [bucket for bucket in buckets if bucket[1] >= length]
    if not long_enough:
        longest = max(bucket[1] for bucket in buckets)
        raise PromptError(
            f"The prompt needs {length} points (a box counts as 2, its absence as 1), and this "
            f"bundle's decoder takes at most {longest}: give fewer points, or export with longer "
            "prompt buckets."
        )
    whole = [bucket for bucket in long_enough if bucket[0] >= batch]
    if whole:
        return min(whole, key=lambda bucket: bucket[0] * bucket[1])
    most = max(bucket[0] for bucket in long_enough)
    return min(b for b in long_enough if b[0] == most)


def _tokens(prompt: Prompt, view: View, kinds: Sequence[str]) -> tuple[Array, Array]:
    """Points (n, 2) float32 in pixels of the original image and their labels (n,)."""
    _check_inside(prompt.points, view)
    box = _box_of_lone_mask(prompt, view) if "box" in kinds else None
    if prompt.box is not None:
        box = _clipped(prompt.box, view)
    if box is not None:
        corners = box.reshape(2, 2)
        marks = np.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT])
    else:
        corners = np.zeros((1, 2), np.float32)
        marks = np.array([PADDING if len(prompt.points) else IGNORED])
    return np.concatenate([prompt.points, corners]), np.concatenate([prompt.labels, marks])


def _box_of_lone_mask(prompt: Prompt, view: View) -> Array | None:
    """(4,) float32, the box of a mask of the image that comes alone: models are trained on none."""
    if prompt.mask is None or prompt.box is not None or len(prompt.points):
        return None
    if prompt.mask.dtype != np.bool_ or prompt.mask.shape != view.original_size:
        return None
    left, top, right, bottom = view.bounds
    found = bounding_box(np.asarray(prompt.mask[top:bottom, left:right], np.bool_))
    if found is None and not prompt.mask.any():
        raise PromptError("The mask shows nothing, and comes alone: give a point or a box with it.")
    return None if found is None else np.add(found, (left, top, left, top), dtype=np.float32)


def _check_inside(points: Array, view: View) -> None:
    x0, y0, x1, y1 = view.bounds
    outside = (points < (x0, y0)).any(axis=1) | (points > (x1, y1)).any(axis=1)
    if outside.any():
        raise PromptError(
            f"Point {points[outside][0].tolist()} is outside {_words(view)}: give x, y in pixels "
            "of the original image."
        )
    shares = ((points > 0) & (points < 1)).any(axis=1) & (points <= 1).all(axis=1)
    if _is_surely_in_pixels(view) and shares.any():
        _warn_of_shares("Point", points[shares][0], view)


def _is_surely_in_pixels(view: View) -> bool:
    return view.region is None and min(view.original_size) >= _SURELY_PIXELS


def _warn_of_shares(what: str, given: Array, view: View) -> None:
    logger.warning(
        "%s %s lies within the first pixel of %s: coordinates are pixels, no shares of it.",
        what,
        given.tolist(),
        _words(view),
    )


def _clipped(box: Array, view: View) -> Array:
    """The part of a box inside the image."""
    x0, y0, x1, y1 = view.bounds
    inside = np.clip(box, (x0, y0, x0, y0), np.array([x1, y1, x1, y1], np.float32))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise PromptError(
            f"Box {box.tolist()} is wholly outside {_words(view)}: give x0, y0, x1, y1 in pixels "
            "of the original image."
        )
    if _is_surely_in_pixels(view) and max(inside[2:]) <= 1:
        _warn_of_shares("Box", box, view)
    if not np.array_equal(inside, box):
        logger.warning("Box %s reaches over the image, cut to %s.", box.tolist(), inside.tolist())
    return np.asarray(inside, np.float32)


def _words(view: View) -> str:
    height, width = view.original_size
    image = f"the image of {width}x{height} pixels (width x height)"
    return image if view.region is None else f"the region {list(view.region)} of {image}"


def _mask_logits(prompt: Prompt, view: View) -> Array | None:
    """(S/4, S/4) float32 logits of the mask that a prompt starts from."""
    if prompt.mask is None:
        return None
    if prompt.mask.dtype == np.bool_:
        return view.mask_prompt(prompt.mask)
    side = view.frame.low_res_side
    if prompt.mask.shape != (side, side):
        raise PromptError(
            f"The mask prompt has shape {prompt.mask.shape}, expected low-res logits of shape "
            f"{(side, side)}, or a bool mask of the image's size {view.original_size}."
        )
    if prompt.region is None or prompt.region == view.bounds:
        return np.asarray(prompt.mask)
    try:
        seen = view.frame.view(view.original_size, region=prompt.region)
    except ImageError as error:
        raise PromptError(f"The low-res logits are of another image. {error}") from error
    moved: Array = regridded(prompt.mask[None], source=seen, target=view)[0]
    return moved
