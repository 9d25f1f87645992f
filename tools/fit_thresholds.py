"""Choose what everything mode asks of a model's masks, on photos that training held out.

    python tools/fit_thresholds.py samedge-nano samedge-pico --data DATA

Every photo gets SAM's grid of 32 x 32 clicks once; the candidates are then cut at every pair of
predicted IoU and stability, and freed of doubles as everything mode does. A pair is judged by the F
measure of the masks that find an annotated object (IoU of at least 0.5, one mask an object) over
COCO's photos, where most objects are annotated. The winner goes into ``thresholds`` of the
decoder's plug-in (``samedge/models/_decoders``). Photos are those that ``pack_training.py`` holds
out of training; ``eval`` is never looked at.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from pack_training import Photo, photos

from samedge.bundle.bundle import bundle_path
from samedge.pixels.boxes import nms, point_grid
from samedge.pixels.segmentations import mask_from_segmentation
from samedge.predict.predictor import Predictor
from samedge.types import Array, Prompt

PREDICTED = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.88)
STABILITY = (0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95)
SOURCES = (0, 1)
"""Indices of ``train/coco`` and ``train/coco_other`` in ``pack_training.SOURCES``."""
BATCH = 16
DOUBLE = 0.7
"""Overlap of boxes above which the mask of the lower predicted IoU goes, as in everything mode."""

Bits = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidates:
    """All masks of one photo's clicks, N of them, and its M objects.

    Attributes:
        predicted, stability: (N,).
        boxes: (N, 4), cells of the low-res grid.
        overlaps: (N, M), IoU with every object on that grid.
    """

    predicted: Array
    stability: Array
    boxes: Array
    overlaps: Array


def candidates(predictor: Predictor, photo: Photo, *, side: int) -> Candidates:
    """Click everywhere on a photo."""
    image = np.asarray(Image.open(photo.path).convert("RGB"))
    embedding = predictor.encode(image)
    height, width = embedding.view.low_res_size
    objects = _objects(photo, (image.shape[0], image.shape[1]), (height, width))
    points = point_grid(side) * (image.shape[1], image.shape[0])
    parts: list[Candidates] = []
    for start in range(0, len(points), BATCH):
        prompts = [Prompt(points=[p]) for p in points[start : start + BATCH]]
        logits, predicted = predictor.decode_logits(embedding, prompts)
        good = predicted[:, 1:] >= PREDICTED[0]
        low_res = logits[:, 1:][good][:, :height, :width]
        masks: Bits = low_res > 0
        boxes, full = _boxes(masks)
        parts.append(
            Candidates(
                predicted=predicted[:, 1:][good][full],
                stability=embedding.view.stability(logits[:, 1:][good][full]),
                boxes=boxes[full],
                overlaps=_overlaps(masks[full], objects),
            )
        )
    fields = [field.name for field in dataclasses.fields(Candidates)]
    return Candidates(**{f: np.concatenate([getattr(p, f) for p in parts]) for f in fields})


def _objects(photo: Photo, size: tuple[int, int], grid: tuple[int, int]) -> Bits:
    """(M, h, w): the annotated objects on the low-res grid; those that vanish there left out."""
    found = []
    for segmentation in photo.masks:
        mask = mask_from_segmentation(segmentation, size)
        cells = Image.fromarray(np.uint8(255 * mask)).resize(grid[::-1], Image.Resampling.BOX)
        found.append(np.asarray(cells) > 127)
    kept = [mask for mask in found if mask.any()]
    return np.stack(kept) if kept else np.zeros((0, *grid), np.bool_)


def _boxes(masks: Bits) -> tuple[Array, Bits]:
    """Boxes of masks, and which are not empty."""
    rows, columns = masks.any(2), masks.any(1)
    full: Bits = rows.any(1)
    y0, x0 = rows.argmax(1), columns.argmax(1)
    y1 = rows.shape[1] - rows[:, ::-1].argmax(1)
    x1 = columns.shape[1] - columns[:, ::-1].argmax(1)
    return np.stack([x0, y0, x1, y1], 1).astype(np.float64), full


def _overlaps(masks: Bits, objects: Bits) -> Array:
    first = masks.reshape(len(masks), -1).astype(np.float32)
    second = objects.reshape(len(objects), -1).astype(np.float32)
    shared = first @ second.T
    union = first.sum(1, keepdims=True) + second.sum(1) - shared
    return shared / np.maximum(union, 1)


@dataclasses.dataclass
class Count:
    """What a pair of thresholds finds over all photos."""

    masks: int = 0
    found: int = 0
    objects: int = 0
    recalls: float = 0.0

    @property
    def f_measure(self) -> float:
        """Harmonic mean of precision and recall at an IoU of 0.5."""
        return 2 * self.found / max(self.masks + self.objects, 1)

    def add(self, photo: Candidates, predicted: float, stability: float) -> None:
        """Cut one photo's candidates and count."""
        good = (photo.predicted >= predicted) & (photo.stability >= stability)
        chosen = np.flatnonzero(good)
        kept = chosen[nms(photo.boxes[chosen], photo.predicted[chosen], threshold=DOUBLE)]
        overlaps = photo.overlaps[kept]
        count = overlaps.shape[1]
        best = overlaps.max(0) if len(kept) and count else np.zeros(count)
        self.masks += len(kept)
        self.objects += count
        self.found += _matches(overlaps)
        self.recalls += sum(float((best >= t).sum()) for t in np.arange(0.5, 1.0, 0.05)) / 10


def _matches(overlaps: Array) -> int:
    """Pairs of mask and object with an IoU of at least 0.5, best first, each used once."""
    pairs = np.argwhere(overlaps >= 0.5)
    order = np.argsort([-overlaps[i, j] for i, j in pairs], kind="stable")
    masks: set[int] = set()
    objects: set[int] = set()
    for mask, thing in pairs[order] if len(pairs) else []:
        if mask not in masks and thing not in objects:
            masks.add(int(mask))
            objects.add(int(thing))
    return len(objects)


def sweep(photos_of: Iterator[Candidates]) -> dict[tuple[float, float], Count]:
    """Counts of every pair of thresholds."""
    counts = {pair: Count() for pair in itertools.product(PREDICTED, STABILITY)}
    for photo in photos_of:
        for pair, count in counts.items():
            count.add(photo, *pair)
    return counts


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--side", default=32, show_default=True, help="Clicks along each side of the grid.")
@click.option("--limit", type=int, help="Photos of each model, the first of them.")
def main(models: tuple[str, ...], data: Path, *, side: int, limit: int | None) -> None:
    """Print the best pairs for each of MODELS, bundles or names of embedded models."""
    held_out = [p for p in photos(data) if p.held_out and p.source in SOURCES][:limit]
    for model in models:
        with Predictor.from_bundle(bundle_path(model), any_backend=True) as predictor:
            counts = sweep(candidates(predictor, photo, side=side) for photo in held_out)
        click.echo(f"{model}: {len(held_out)} photos")
        ranked = sorted(counts.items(), key=lambda item: -item[1].f_measure)
        for (predicted, stability), count in ranked[:12]:
            click.echo(
                f"  predicted IoU {predicted:.2f}, stability {stability:.3f}: F "
                f"{count.f_measure:.3f}, AR {count.recalls / count.objects:.3f}, "
                f"{count.masks / len(held_out):.1f} masks a photo"
            )


if __name__ == "__main__":
    main()
