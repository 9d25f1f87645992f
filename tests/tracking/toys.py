"""A model that a test can predict: it segments by colour what lies in a box or under a click."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from samedge.formats.results import Masks
from samedge.pixels.metrics import bounding_box
from samedge.types import ActiveBackend, Prompt

RED, BLUE = (220, 40, 40), (40, 60, 220)


@dataclasses.dataclass
class ColourSegmenter:
    """Finds what has the colour of the prompt's middle. Counts what it is asked.

    Attributes:
        regions: of each encoding.
        prompts: how many have been decoded.
        quality: what it says of its own masks.
    """

    quality: float = 0.9
    regions: list = dataclasses.field(default_factory=list)
    prompts: int = 0

    def encode(self, image: np.ndarray, *, region: tuple | None = None) -> np.ndarray:
        self.regions.append(region)
        return image

    def decode_batch(
        self, embedding: np.ndarray, prompts: Sequence[Prompt], *, multimask: bool = False
    ) -> list[Masks]:
        self.prompts += len(prompts)
        return [self._masks(embedding, prompt) for prompt in prompts]

    def _masks(self, image: np.ndarray, prompt: Prompt) -> Masks:
        inside = np.zeros(image.shape[:2], bool)
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box.round().astype(int)
            inside[y0:y1, x0:x1] = True
        else:
            inside[:] = True
        vivid = image.max(2).astype(int) - image.min(2) > 100
        if prompt.box is None:
            x, y = prompt.points[0].astype(int)
            vivid &= (np.abs(image.astype(int) - image[y, x]) < 60).all(2)
        mask = inside & vivid
        return Masks(
            masks=mask[None],
            iou_predictions=np.full(1, self.quality, np.float32),
            low_res_logits=np.zeros((1, 8, 8), np.float32),
            stability_scores=np.ones(1, np.float32),
            backend=ActiveBackend("toy", None, "cpu"),
        )


def scene(
    *objects: tuple[float, float, tuple[int, int, int]],
    size: tuple[int, int] = (120, 160),
    side: int = 30,
    seed: int = 0,
) -> np.ndarray:
    """Textured squares (centre x, centre y, colour) on a grey textured ground."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 130, (*size, 1), np.uint8).repeat(3, 2)
    shade = np.random.default_rng(5).integers(-15, 15, (side, side, 1))
    for x, y, colour in objects:
        left, top = round(x - side / 2), round(y - side / 2)
        rows = slice(max(top, 0), max(0, min(top + side, size[0])))
        columns = slice(max(left, 0), max(0, min(left + side, size[1])))
        part = shade[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        image[rows, columns] = np.clip(np.array(colour) + part, 0, 255)
    return image


def truth(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.asarray((np.abs(image.astype(int) - colour) < 60).all(2))


def box_of(image: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    box = bounding_box(truth(image, colour))
    assert box is not None
    return box
