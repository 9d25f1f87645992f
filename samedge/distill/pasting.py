"""Objects of other photos pasted on a photo, along the masks that people drew.

After Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
Segmentation", 2021 (arXiv:2012.07177). A mask below loses what is covered; the pasted object's mask
is what is seen of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from samedge.distill.composites import paste, turned
from samedge.distill.scenes import Scene
from samedge.types import Array

OBJECTS = (1, 3)
SCALE = (0.5, 1.5)
MOST = 0.6
"""Longest side of a pasted object at most, in longer sides of the photo."""

LEAST_VISIBLE = 0.25
"""A mask of which less is left is not marked any more."""


def pasted(scene: Scene, givers: Sequence[Scene], *, rng: np.random.Generator) -> Scene:
    """A scene with one to three objects of other scenes on it.

    Args:
        scene: what is pasted on; comes back unchanged where there is nothing to paste.
        givers: whose objects are taken.
        rng: source of every choice.
    """
    givers = [giver for giver in givers if len(giver.boxes)]
    if not givers:
        return scene
    canvas = np.array(scene.read_image(1.0))
    owner = np.full(scene.size, -1, np.int16)
    areas: list[int] = []
    for _ in range(int(rng.integers(OBJECTS[0], OBJECTS[1] + 1))):
        cutout = _cut_out(givers[int(rng.integers(len(givers)))], max(scene.size), rng)
        height, width = cutout.shape[:2]
        top = int(rng.integers(scene.size[0])) - height // 2
        left = int(rng.integers(scene.size[1])) - width // 2
        areas.append(paste(canvas, cutout, owner=owner, place=len(areas), corner=(top, left)))
    visible = np.bincount(owner[owner >= 0], minlength=len(areas))
    kept = [n for n, area in enumerate(areas) if visible[n] > LEAST_VISIBLE * area]
    return _joined(scene, canvas, owner, kept)


def _joined(scene: Scene, canvas: Array, owner: Array, kept: Sequence[int]) -> Scene:
    """The scene's masks less what is covered, then the pasted ones."""
    own: list[Array] = [(owner == number).astype(np.uint8) for number in kept]
    boxes = np.array([cv2.boundingRect(mask) for mask in own], np.float32).reshape(-1, 4)

    def read_mask(index: int) -> Array:
        if index >= len(scene.boxes):
            return own[index - len(scene.boxes)]
        mask = scene.read_mask(index)
        left: Array = mask * (owner < 0)
        return left if left.sum() >= LEAST_VISIBLE * mask.sum() else np.zeros_like(mask)

    return Scene(
        size=scene.size,
        boxes=np.concatenate([scene.boxes, boxes]),
        read_image=lambda _scale: canvas,
        read_mask=read_mask,
    )


def _cut_out(giver: Scene, side: int, rng: np.random.Generator) -> Array:
    """A random object of a scene, (h, w, 4) uint8 premultiplied, scaled, turned and mirrored."""
    number = int(rng.integers(len(giver.boxes)))
    mask = giver.read_mask(number)
    x, y, width, height = cv2.boundingRect(mask)
    part = mask[y : y + height, x : x + width, None]
    colour = giver.read_image(1.0)[y : y + height, x : x + width]
    cutout = np.concatenate([colour * part, part * np.uint8(255)], 2)
    low, high = np.log(SCALE)
    scale = float(np.exp(rng.uniform(low, high)))
    scale = min(scale, MOST * side / max(width, height, 1))
    cutout = turned(cutout, scale=scale, angle=rng.uniform(-15, 15))
    return cutout[:, ::-1] if rng.random() < 0.5 else cutout
