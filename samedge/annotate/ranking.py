"""Which images to annotate first: those that the model is least sure of, and unlike the others.

Active selection by uncertainty and by diversity. The first is measured on a coarse grid of clicks,
without any ground truth; the second is the greedy k-centre order over pooled image embeddings
(Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach",
2018), weighted by the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from samedge.annotate.layout import RANK_FILE
from samedge.annotate.tasks import PartError, Task, decoded
from samedge.annotate.worker import OF_ONE_IMAGE, part_error
from samedge.errors import DatasetError
from samedge.files.json_text import json_text
from samedge.files.writing import write_text
from samedge.pixels.boxes import point_grid
from samedge.pixels.images import load_image
from samedge.pixels.sample_range import SampleRange
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.predictor import Predictor
from samedge.types import IMAGE_EMBEDDINGS, Array, Progress, Prompt, Steps

SCHEMA = "samedge.annotate-rank/1"
_BATCH = 16
POINTS_PER_SIDE, NOVELTY_WEIGHT = 8, 0.5


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """An image in the order of what is gained by annotating it; all figures are 0 to 1.

    Attributes:
        name: path below the folder of images.
        doubt: 1 - predicted IoU of the best candidate, mean over the clicks.
        instability: 1 - stability of that candidate.
        disagreement: 1 - IoU of that candidate with the mask that the model gives when asked for
            one only.
        novelty: distance of its embedding from the nearest image before it, 1 for the first.
    """

    name: str
    doubt: float
    instability: float
    disagreement: float
    novelty: float

    @property
    def uncertainty(self) -> float:
        """Mean of doubt, instability and disagreement."""
        return (self.doubt + self.instability + self.disagreement) / 3


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """All images of a folder, the ones to annotate first at the front.

    Attributes:
        schema: ``samedge.annotate-rank/1``.
        bundle_id: whose doubts they are.
        images: in their order.
        failures: images that could not be read, and why.
    """

    schema: str
    bundle_id: str
    images: list[Ranked]
    failures: list[tuple[str, PartError]]


class Measured(NamedTuple):
    """An image's doubts, and what it looks like to the encoder."""

    ranked: Ranked
    pooled: Array


def measure(
    predictor: Predictor,
    image: Array,
    *,
    name: str,
    points_per_side: int = POINTS_PER_SIDE,
    progress: Progress | None = None,
) -> Measured:
    """The doubts of the model about one image; its novelty depends on others and is 1 here.

    Args:
        predictor: an open predictor.
        image: (H, W, 3) uint8 RGB.
        name: of the image.
        points_per_side: clicks along each side of the grid.
        progress: hears of every batch of clicks.

    Raises:
        ImageError: not such an array.
        InferenceError: the backend failed.
    """
    embedding = predictor.encode(image)
    steps = Steps(progress=progress)
    ranked = _doubts(predictor, embedding, name=name, side=points_per_side, steps=steps)
    return Measured(ranked, _pooled(embedding))


def ordered(found: Sequence[Measured], *, novelty_weight: float = NOVELTY_WEIGHT) -> list[Ranked]:
    """The images that teach most first, with their novelty.

    Args:
        found: images in any order; the result does depend on it where two are equal.
        novelty_weight: as of :func:`rank_images`.
    """
    return _ordered([one.ranked for one in found], [one.pooled for one in found], novelty_weight)


def rank_images(
    predictor: Predictor,
    tasks: Sequence[Task],
    *,
    points_per_side: int = POINTS_PER_SIDE,
    novelty_weight: float = NOVELTY_WEIGHT,
    sample_range: SampleRange = "auto",
    progress: Progress | None = None,
) -> Ranking:
    """Order images by what is gained by annotating them.

    Args:
        predictor: an open predictor.
        tasks: the images.
        points_per_side: clicks along each side of the grid that asks for the model's doubts.
        novelty_weight: how much an image's distance from those before it counts beside its
            uncertainty; 0 orders by uncertainty alone.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.
        progress: hears of each image.

    Raises:
        InferenceError: the backend failed.
    """
    found: list[Measured] = []
    failures = []
    for count, task in enumerate(tasks, start=1):
        try:
            image = load_image(Path(task.path), range=sample_range)
            found.append(measure(predictor, image, name=task.name, points_per_side=points_per_side))
        except OF_ONE_IMAGE as error:
            failures.append((task.name, part_error(error)))
        if progress is not None:
            progress(count, len(tasks))
    images = ordered(found, novelty_weight=novelty_weight)
    return Ranking(schema=SCHEMA, bundle_id=predictor.manifest.id, images=images, failures=failures)


def write_ranking(folder: Path, ranking: Ranking) -> Path:
    """Write a ranking as ``rank.json``.

    Raises:
        WriteError: it cannot be written.
    """
    return write_text(folder / RANK_FILE, json_text(ranking, indent=2) + "\n")


def read_ranking(folder: Path) -> Ranking | None:
    """The ranking of a folder; ``None`` where there is none.

    Raises:
        DatasetError: the file is damaged.
    """
    file = folder / RANK_FILE
    try:
        found = decoded(file.read_bytes(), Ranking)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file} is no ranking ({error}): remove it, or rank again.") from error
    return found


def _doubts(
    predictor: Predictor, embedding: ImageEmbedding, *, name: str, side: int, steps: Steps
) -> Ranked:
    height, width = embedding.original_size
    points = point_grid(side) * (width, height)
    rows = []
    for start in range(0, len(points), _BATCH):
        prompts = [Prompt(points=[point]) for point in points[start : start + _BATCH]]
        logits, iou = predictor.decode_logits(embedding, prompts)
        rows.append(_figures(predictor, embedding, logits, iou))
        steps.step()
    doubt, instability, disagreement = np.concatenate(rows, axis=1).mean(axis=1).tolist()
    return Ranked(
        name=name,
        doubt=round(doubt, 6),
        instability=round(instability, 6),
        disagreement=round(disagreement, 6),
        novelty=1.0,
    )


def _figures(
    predictor: Predictor, embedding: ImageEmbedding, logits: Array, iou: Array
) -> npt.NDArray[np.float64]:
    """Doubt, instability and disagreement of B clicks, (3, B)."""
    cuts = predictor.manifest.thresholds
    best = iou[:, 1:].argmax(axis=1) + 1
    clicks = np.arange(len(best))
    chosen = logits[clicks, best]
    height, width = embedding.view.low_res_size
    masks: npt.NDArray[np.bool_] = chosen[:, :height, :width] > cuts.mask
    single: npt.NDArray[np.bool_] = logits[:, 0, :height, :width] > cuts.mask
    union = (masks | single).sum(axis=(1, 2))
    overlap = np.where(union > 0, (masks & single).sum(axis=(1, 2)) / np.maximum(union, 1), 1.0)
    stability = embedding.view.stability(chosen, offset=cuts.stability_offset)
    return 1.0 - np.stack([np.clip(iou[clicks, best], 0, 1), stability, overlap]).astype(np.float64)


def _pooled(embedding: ImageEmbedding) -> Array:
    values = embedding.tensors[IMAGE_EMBEDDINGS].mean(axis=(0, 2, 3))
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-9))


def _ordered(found: Sequence[Ranked], pooled: Sequence[Array], weight: float) -> list[Ranked]:
    """The greedy order: at each step the largest uncertainty + weight x distance."""
    if not found:
        return []
    points = np.stack(pooled)
    uncertainty = np.array([ranked.uncertainty for ranked in found])
    distance = np.ones(len(found))
    left = np.ones(len(found), np.bool_)
    order = []
    for _ in found:
        gain = np.where(left, uncertainty + weight * distance, -np.inf)
        index = int(gain.argmax())
        order.append(
            msgspec.structs.replace(found[index], novelty=round(float(distance[index]), 6))
        )
        left[index] = False
        away = np.linalg.norm(points - points[index], axis=1) / 2  # of unit vectors: 0 to 1
        distance = np.minimum(distance, away)
    return order
