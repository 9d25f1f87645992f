"""Prompts in the original image's frame to the decoder graph's input tensors.

A prompt's points come first, then SAM's padding point where there is no box, then the box's two
corners. Shorter prompts of a batch are filled with ``PADDING``, which the decoder graph masks out
of the attention, so that batching changes no mask.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samedge.errors import PromptError
from samedge.pixels.frames import (
    LOW_RES_STRIDE,
    input_coords_from_original,
    input_size_from_original,
    low_res_logits_from_mask,
)
from samedge.types import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, IGNORED, PADDING, Prompt, Size

Array = npt.NDArray[Any]
Bucket = tuple[int, int]
"""``(B, N)`` of a decoder graph with fixed shapes."""

CPU_BATCH = 4
"""Prompts in one call of the decoder on a processor: larger batches are no faster there, and 64
took gigabytes."""

logger = logging.getLogger(__name__)


def decoder_feeds(
    prompts: Sequence[Prompt],
    *,
    original_size: Size,
    target_length: int,
    bucket: Bucket | None = None,
) -> dict[str, Array]:
    """The decoder's inputs but for the embedding.

    Args:
        prompts: B prompts about one image.
        original_size: ``(height, width)`` of the image.
        target_length: S, pixels.
        bucket: shapes to fill up to; ``None`` keeps B and takes the longest prompt's N. Filled
            rows repeat nothing: they hold ignored points.

    Returns:
        ``point_coords`` (B, N, 2), ``point_labels`` (B, N), ``mask_input`` (B, 1, S/4, S/4) and
        ``has_mask_input`` (B,), all float32; coordinates in the input frame.

    Raises:
        PromptError: a point or box outside the image, or a mask of another size.
    """
    rows = [_tokens(prompt, original_size) for prompt in prompts]
    batch, length = bucket or (len(rows), max(len(labels) for _, labels in rows))
    coords = np.zeros((batch, length, 2), np.float32)
    labels = np.full((batch, length), IGNORED, np.float32)
    input_size = input_size_from_original(original_size, target_length)
    for row, (points, kinds) in enumerate(rows):
        coords[row, : len(points)] = input_coords_from_original(points, original_size, input_size)
        # A lone mask has no point at all, not even SAM's padding point: its row stays ignored.
        labels[row] = IGNORED if (kinds == IGNORED).all() else PADDING
        labels[row, : len(kinds)] = kinds
    masks, flags = _mask_inputs(prompts, batch, original_size, target_length)
    return {
        "point_coords": coords,
        "point_labels": labels,
        "mask_input": masks,
        "has_mask_input": flags,
    }


def token_count(prompt: Prompt) -> int:
    """Points that a prompt takes in the decoder: its own, and the padding point or two corners."""
    points = len(prompt.points)
    if prompt.box is not None:
        return points + 2
    return points + 1


def usual_shapes(target_length: int) -> tuple[dict[str, tuple[int, ...]], ...]:
    """Shapes that most calls of a decoder have: a click or a box, alone or a processor's batch.

    Args:
        target_length: S, pixels.

    Returns:
        Shapes by the names of :func:`decoder_feeds`; that of a single prompt first.
    """
    side = target_length // LOW_RES_STRIDE
    return tuple(
        {
            "point_coords": (batch, 2, 2),
            "point_labels": (batch, 2),
            "mask_input": (batch, 1, side, side),
            "has_mask_input": (batch,),
        }
        for batch in (1, CPU_BATCH)
    )


def fitting_bucket(buckets: Sequence[Bucket], batch: int, length: int) -> Bucket | None:
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


def _tokens(prompt: Prompt, original_size: Size) -> tuple[Array, Array]:
    """Points (n, 2) float32 in the original frame and their labels (n,)."""
    _check_inside(prompt.points, original_size)
    if prompt.box is not None:
        corners = _clipped(prompt.box, original_size).reshape(2, 2)
        kinds = np.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT])
    else:
        corners = np.zeros((1, 2), np.float32)
        kinds = np.array([PADDING if len(prompt.points) else IGNORED])
    return np.concatenate([prompt.points, corners]), np.concatenate([prompt.labels, kinds])


def _check_inside(points: Array, original_size: Size) -> None:
    height, width = original_size
    outside = (points < 0).any(axis=1) | (points[:, 0] > width) | (points[:, 1] > height)
    if outside.any():
        raise PromptError(
            f"Point {points[outside][0].tolist()} is outside the image of {width}x{height} pixels "
            "(width x height): give x, y in pixels of the original image."
        )


def _clipped(box: Array, original_size: Size) -> Array:
    """The part of a box inside the image."""
    height, width = original_size
    inside = np.clip(box, 0, np.array([width, height, width, height], np.float32))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise PromptError(
            f"Box {box.tolist()} is wholly outside the image of {width}x{height} pixels (width x "
            "height): give x0, y0, x1, y1 in pixels of the original image."
        )
    if not np.array_equal(inside, box):
        logger.warning("Box %s reaches over the image, cut to %s.", box.tolist(), inside.tolist())
    return np.asarray(inside)


def _mask_inputs(
    prompts: Sequence[Prompt], batch: int, original_size: Size, target_length: int
) -> tuple[Array, Array]:
    side = target_length // LOW_RES_STRIDE
    masks = np.zeros((batch, 1, side, side), np.float32)
    flags = np.zeros(batch, np.float32)
    for row, prompt in enumerate(prompts):
        if prompt.mask is None:
            continue
        flags[row] = 1.0
        if prompt.mask.dtype == np.bool_:
            masks[row, 0] = low_res_logits_from_mask(prompt.mask, original_size, target_length)
        elif prompt.mask.shape == (side, side):
            masks[row, 0] = prompt.mask
        else:
            raise PromptError(
                f"The mask prompt has shape {prompt.mask.shape}, expected low-res logits of shape "
                f"{(side, side)}, or a bool mask of the image's size {original_size}."
            )
    return masks, flags
