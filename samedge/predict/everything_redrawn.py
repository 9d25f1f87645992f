"""Masks of clicks drawn again: a model draws a thing better from a box than from a click."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from samedge.predict.decoding import FIRMER
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.everything_candidates import Candidates, joined, low_res_boxes
from samedge.predict.predictor import Predictor
from samedge.types import Array, Prompt

_SAME = 0.5
"""IoU from which on the second drawing is of the same thing."""


def redrawn(
    predictor: Predictor, embedding: ImageEmbedding, *, found: Candidates, batch: int
) -> Candidates:
    """Masks asked for again, each with its own box and logits.

    What is drawn as another thing then was none, and goes. Of the rest the predicted IoU is the
    mean of both answers', which ranks them better than that of a click alone.

    Args:
        predictor: of a bundle that understands boxes and masks.
        embedding: that the masks were decoded on.
        found: the masks; their order stays.
        batch: masks that are asked for at a time.
    """
    places = np.arange(len(found.iou))
    parts = [
        _again(predictor, embedding, found[places[start : start + batch]])
        for start in range(0, len(places), batch)
    ]
    return joined(parts) if parts else found


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
    again = dataclasses.replace(
        found,
        logits=logits,
        boxes=low_res_boxes(logits, view, threshold=threshold),
        iou=(found.iou + iou[:, 0]) / 2,
        stability=view.stability(logits, offset=predictor.manifest.thresholds.stability_offset),
    )
    return again[_ious(logits > threshold, found.logits > threshold) >= _SAME]


def _ious(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> Array:
    """Of pairs of masks, (N, m, m) to (N,); padding is in none of them."""
    common = np.count_nonzero(first & second, axis=(1, 2))
    union = np.count_nonzero(first | second, axis=(1, 2))
    return np.asarray(common / np.maximum(union, 1), np.float64)
