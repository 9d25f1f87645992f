"""Pseudo-bundles that need no model: what a segmenter must beat to be worth its milliseconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from samedge.errors import BackendUnavailableError, PromptError, UnknownNameError
from samedge.formats.results import Masks
from samedge.records.subjects import BASELINE_PREFIX
from samedge.types import ActiveBackend, Array, Prompt

GRABCUT_ITERATIONS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Baseline:
    """A segmenter that turns a box into a mask without a model.

    Attributes:
        name: ``box`` (the filled box) or ``grabcut`` (C. Rother, V. Kolmogorov, A. Blake,
            "GrabCut", SIGGRAPH 2004, as in OpenCV).
    """

    name: str

    @property
    def library(self) -> str:
        """Who draws the masks: what stands as its backend."""
        return _BASELINES[self.name][1]

    def encode(self, image: Array) -> Array:
        """The image itself: there is nothing to encode."""
        return image

    def decode_batch(
        self, embedding: Array, prompts: Sequence[Prompt], *, multimask: bool = False
    ) -> list[Masks]:
        """One mask a box.

        Args:
            embedding: what ``encode`` returned.
            prompts: each with a box.
            multimask: there is only ever one mask; accepted for the interface's sake.

        Raises:
            PromptError: a prompt has no box.
        """
        del multimask
        draw, _ = _BASELINES[self.name]
        return [_masks(draw(embedding, _box(prompt)), self.name) for prompt in prompts]


def baseline(name: str) -> Baseline:
    """The pseudo-bundle ``baseline:box`` or ``baseline:grabcut``.

    Raises:
        UnknownNameError: there is no such baseline.
    """
    bare = name.removeprefix(BASELINE_PREFIX)
    if bare not in _BASELINES:
        raise UnknownNameError("baseline", name, [BASELINE_PREFIX + known for known in _BASELINES])
    return Baseline(bare)


def _box(prompt: Prompt) -> tuple[float, float, float, float]:
    if prompt.box is None:
        raise PromptError("A baseline turns a box into a mask, but the prompt has none.")
    x0, y0, x1, y1 = (float(value) for value in prompt.box)
    return x0, y0, x1, y1


def _masks(mask: Array, name: str) -> Masks:
    return Masks(
        masks=mask[None],
        iou_predictions=np.ones(1, np.float32),
        low_res_logits=np.where(mask[None, ::4, ::4], 1.0, -1.0).astype(np.float32),
        stability_scores=np.ones(1, np.float32),
        backend=ActiveBackend(name, None, "cpu"),
    )


def _pixels(box: tuple[float, float, float, float], size: tuple[int, ...]) -> tuple[int, ...]:
    """The box's edges at the nearest pixel edges, inside of the image and never empty."""
    height, width = size[:2]
    x0, x1 = (min(max(round(value), 0), width) for value in box[0::2])
    y0, y1 = (min(max(round(value), 0), height) for value in box[1::2])
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def filled_box(image: Array, box: tuple[float, float, float, float]) -> Array:
    """Every pixel of the box, as (H, W) bool."""
    mask = np.zeros(image.shape[:2], np.bool_)
    x0, y0, x1, y1 = _pixels(box, image.shape)
    mask[y0:y1, x0:x1] = True
    return mask


def grabcut(image: Array, box: tuple[float, float, float, float]) -> Array:
    """OpenCV's GrabCut from the box, as (H, W) bool.

    Where OpenCV cannot fit its colour models, in boxes of a few pixels or of the whole image, the
    filled box is returned.

    Raises:
        BackendUnavailableError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise BackendUnavailableError(
            'OpenCV, which has GrabCut, is not installed: pip install "samedge[eval]"'
        ) from error
    x0, y0, x1, y1 = _pixels(box, image.shape)
    labels = np.full(image.shape[:2], cv2.GC_BGD, np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    bgr = np.ascontiguousarray(image[..., ::-1])
    rectangle = x0, y0, x1 - x0, y1 - y0
    try:
        cv2.grabCut(bgr, labels, rectangle, *models, GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_RECT)
    except cv2.error:
        return filled_box(image, box)
    return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))


_BASELINES: Mapping[str, tuple[Callable[[Array, tuple[float, float, float, float]], Array], str]]
_BASELINES = {"box": (filled_box, "numpy"), "grabcut": (grabcut, "opencv")}
"""What draws each, and its library."""
