"""What a threshold of words would find: chosen on training photos, with the bundle as it is.

    python tools/words_threshold.py ../shared/data --minutes 7
    python tools/words_threshold.py ../shared/data --minutes 0 --write
    python tools/embed.py --manifest samedge/data/nano-cpu

The threshold in the embedded model of words was set with the regions that everything mode proposed
on the day of the training (`tools/train_words.py`). Other weights or rules propose other regions,
and the chance that one of them passes for a word grows with their number. This measures the words
protocol of docs/accuracy-protocol.md for many thresholds, with the regions of today, on photos of
`train/coco` and `train/coco_other` whose regions the training has not seen; the objects on them it
has. Instead of as many absent words as present ones all of them are asked, which has the same mean.
The lowest threshold that keeps false alarms down is taken: they are of regions that the training
has not seen, where the mIoU of objects that it has seen flatters high thresholds. Every call goes
on where the last one stopped, and prints the table of what is measured; --write puts the threshold
into the embedded model of words. Nothing of `eval` is read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
import numpy as np
import safetensors.torch
from train_words import MOST_ALARMS
from words_samples import Photo, read_photos

from benchmarks.pieces import whole_lines
from samedge.models.words.head import EMBEDDED, load_head
from samedge.models.zoo import WEIGHTS
from samedge.pixels import metrics
from samedge.pixels.images import load_image
from samedge.pixels.rle import mask_from_rle
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import open_predictor
from samedge.predict.words.finding import proposed_regions
from samedge.predict.words.phrases import AskedWord
from samedge.predict.words.regions import RegionScorer
from samedge.predict.words.scored import ScoredRegions
from samedge.types import Array

THRESHOLDS = np.arange(-4.0, 4.01, 0.25)
SEEN = 40
"""Complete photos, the first in the training's order, whose regions it learned from."""


class Measured(msgspec.Struct, frozen=True):
    """One photo of one bundle: for each threshold the IoU of present words, and alarms."""

    bundle: str
    photo: str
    regions: int
    absent: int
    ious: list[list[float]]
    alarms: list[int]


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--bundle", default=None, help="A bundle with words; default: the embedded one.")
@click.option("--photos", default=100, show_default=True)
@click.option("--minutes", default=7.0, show_default=True, help="A call ends after so many.")
@click.option("--most-alarms", default=MOST_ALARMS, show_default=True, help="Of absent words.")
@click.option(
    "--kept",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("runs/words_threshold.jsonl"),
    show_default=True,
)
@click.option("--write", is_flag=True, help="Put it into the embedded model of words.")
def main(
    data: Path,
    *,
    bundle: str | None,
    photos: int,
    minutes: float,
    most_alarms: float,
    kept: Path,
    write: bool,
) -> None:
    """Measure on the folder DATA, and print the threshold to take."""
    until = time.monotonic() + 60 * minutes
    every = sorted(read_photos(data / "train"), key=lambda photo: photo.order)
    whole = [photo for photo in every if photo.is_complete][SEEN : SEEN + photos]
    predictor, _ = open_predictor(bundle, threads=1)
    with predictor:
        own = predictor.bundle.id
        read = [msgspec.json.decode(line, type=Measured) for line in whole_lines(kept)]
        found = {one.photo: one for one in read if one.bundle == own}
        kept.parent.mkdir(parents=True, exist_ok=True)
        scorer = RegionScorer(predictor.graphs)
        with kept.open("ab") as file:
            for photo in whole:
                if photo.key in found or time.monotonic() > until:
                    continue
                found[photo.key] = one = measured(predictor, scorer, photo)
                file.write(msgspec.json.encode(one) + b"\n")
                file.flush()
    best = say([found[photo.key] for photo in whole if photo.key in found], most_alarms)
    if write and best is not None:
        embed(threshold=best)


def measured(predictor: Predictor, scorer: RegionScorer, photo: Photo) -> Measured:
    """What each threshold finds on one photo."""
    image = load_image(photo.path)
    regions = proposed_regions(predictor, image)
    words = [word for word in scorer.table.words if word.is_askable]
    rows = {word.name: scorer.table.rows[word.keys[0]] for word in words if word.off is None}
    asked = [AskedWord(name, name, row) for name, row in rows.items()]
    scored = ScoredRegions(scorer, image, regions=regions, words=asked)
    truth: dict[str, Array] = {}
    for name, run in photo.objects:
        if name:
            mask = mask_from_rle(dict(run))
            truth[name] = truth[name] | mask if name in truth else mask
    ious: list[list[float]] = []
    alarms: list[int] = []
    for threshold in THRESHOLDS:
        named = zip(rows, scored.named(cut=float(threshold)), strict=True)
        chosen = {name: [region.mask for region in one.regions] for name, one in named}
        ious.append([_iou(mask, chosen.get(name, [])) for name, mask in truth.items()])
        alarms.append(sum(bool(kept) for name, kept in chosen.items() if name not in truth))
    return Measured(
        bundle=predictor.bundle.id,
        photo=photo.key,
        regions=len(regions),
        absent=sum(word.name not in truth for word in words),
        ious=ious,
        alarms=alarms,
    )


def _iou(truth: Array, regions: Sequence[Array]) -> float:
    union = np.zeros_like(truth)
    for region in regions:
        union |= region
    return metrics.mask_iou(truth, union)


def embed(**thresholds: float) -> None:
    """Write fields into the embedded model of words, whose weights stay as they are."""
    path = WEIGHTS / f"{EMBEDDED}.safetensors"
    spec = msgspec.structs.replace(load_head(path).spec, **thresholds)
    tensors = safetensors.torch.load_file(path)
    text = msgspec.json.encode(spec).decode()
    safetensors.torch.save_file(tensors, path, metadata={"spec": text})


def say(found: Sequence[Measured], most_alarms: float) -> float | None:
    """Print the figures of every threshold; the lowest with few false alarms."""
    taken = None
    for index, threshold in enumerate(THRESHOLDS):
        ious = [iou for one in found for iou in one.ious[index]]
        miou = float(np.mean(ious)) if ious else 0.0
        alarms = sum(one.alarms[index] for one in found) / max(1, sum(one.absent for one in found))
        print(f"{threshold:6.2f}  mIoU {miou:.3f} of {len(ious)}  false alarms {alarms:.3f}")
        if alarms <= most_alarms and taken is None:
            taken = float(threshold)
    mean = np.mean([one.regions for one in found]) if found else 0
    print(f"{len(found)} photos, {mean:.0f} regions a photo; take {taken}")
    return taken


if __name__ == "__main__":
    main()
