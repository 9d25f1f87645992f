"""Prompts of every kind about any photo, for comparing an exported model with its reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samedge.pixels.frames import View
from samedge.types import BACKGROUND, FOREGROUND, Prompt, Size

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Probe:
    """A prompt and what kind it is."""

    kind: str
    prompt: Prompt


# Fractions of the photo's width and height. Boxes are of several sizes and shapes, and none is
# square or centred, so that corners or axes that were exchanged show.
_POINTS = ((0.5, 0.5), (0.22, 0.31), (0.71, 0.64), (0.04, 0.96))
_BOXES = (
    (0.12, 0.2, 0.55, 0.9),
    (0.4, 0.35, 0.97, 0.6),
    (0.62, 0.1, 0.74, 0.3),
)


_GOLDEN = (0.618034, 0.754878)  # multiples of these, without their whole part, lie evenly


def probes(size: Size, *, lengths: Sequence[int] = ()) -> list[Probe]:
    """Prompts of points and boxes.

    Args:
        size: ``(height, width)`` of the photo.
        lengths: of fixed shapes of a decoder, the point that pads a prompt without a box among
            them: each gets a prompt that fills it.
    """
    points = _scaled(_POINTS, size)
    boxes = [_scaled([box[:2], box[2:]], size).ravel() for box in _BOXES]
    several = [FOREGROUND, FOREGROUND, BACKGROUND]
    return [
        *(Probe("point", Prompt(points=[point])) for point in points),
        *(Probe("points", Prompt(points=points[i : i + 2], labels=[1, 0])) for i in (0, 1)),
        Probe("points", Prompt(points=points[:3], labels=several)),
        Probe("background point", Prompt(points=points[1:2], labels=[BACKGROUND])),
        *(Probe("box", Prompt(box=box)) for box in boxes),
        Probe("point and box", Prompt(points=[_inside(boxes[0])], box=boxes[0])),
        Probe(
            "point and box",
            Prompt(points=[_inside(boxes[1]), points[1]], labels=[1, 0], box=boxes[1]),
        ),
        *(Probe(f"{n - 1} points", _many_points(n - 1, size)) for n in lengths if n > 1),
    ]


def feedback_probes(
    view: View, asked: Sequence[Probe], *, expected: Sequence[Array]
) -> list[Probe]:
    """Prompts that continue from earlier masks: with a click, with a box, alone, and as a picture.

    Args:
        view: of the photo.
        asked: what :func:`probes` gave.
        expected: (4, S/4, S/4) logits of the reference for each of them.
    """
    earlier = {probe.kind: (probe, logits) for probe, logits in zip(asked, expected, strict=True)}
    point, from_point = earlier["point"]
    box, from_box = earlier["box"]
    picture = view.masks(from_box[:1])[0]
    return [
        Probe("mask and point", Prompt(points=point.prompt.points, mask=from_point[1])),
        Probe("mask and box", Prompt(box=box.prompt.box, mask=from_box[0])),
        Probe("mask alone", Prompt(mask=from_box[2])),
        Probe("mask picture", Prompt(points=point.prompt.points, labels=[0], mask=picture)),
    ]


def _many_points(count: int, size: Size) -> Prompt:
    """Points all over a photo, every third one outside."""
    places = np.outer(np.arange(1, count + 1), _GOLDEN) % 1.0
    labels = np.where(np.arange(count) % 3 == 2, BACKGROUND, FOREGROUND)
    return Prompt(points=_scaled((0.05 + 0.9 * places).tolist(), size), labels=labels)


def _scaled(fractions: Sequence[Sequence[float]], size: Size) -> Array:
    """Fractions of width and height as (n, 2) xy pixels."""
    return np.asarray(fractions, np.float32) * np.array([size[1], size[0]], np.float32)


def _inside(box: Array) -> Array:
    """A point of the box that is not its centre."""
    inside: Array = box[:2] + (box[2:] - box[:2]) * np.array([0.4, 0.6], np.float32)
    return inside
