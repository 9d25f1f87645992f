"""Fit the table of the embedded model of words again, to the regions that are proposed today.

    python tools/refit_words.py ../shared/data --minutes 7          # again until it measures all
    python tools/refit_words.py ../shared/data --minutes 0 --write
    python tools/embed.py --manifest samedge/data/nano-cpu

`tools/train_words.py` makes the whole model. This keeps its trunk and channels, and fits the linear
layer alone, by the same loss: on the named objects of `train/coco` and `train/coco_other`, and on
the regions that are proposed for words on photos whose objects are all marked. Other
weights or rules propose other regions, and a table that has not seen their like takes too many of
them for a word. What it prints (names of objects, mIoU and false alarms by threshold) is of tables
that have not seen the photo; of those thresholds that keep false alarms down the one with the best
mIoU is taken, and words that are named badly go off, as in `tools/train_words.py`. The regions are
as the clicks drew them, where words draw those again that they may name: `tools/words_threshold.py`
has the threshold to take then. Every call goes
on where the last one stopped. Nothing of `eval` is read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import safetensors.torch
import train_words
import words_samples
from words_samples import NAMES, Photo, Samples

from samedge.models.words.head import EMBEDDED, WordHead, load_head, off_grid, on_grid, save_head
from samedge.models.zoo import WEIGHTS
from samedge.pixels.images import load_image
from samedge.pixels.rle import mask_from_rle
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import open_predictor
from samedge.predict.words.finding import proposed_regions
from samedge.predict.words.regions import RegionScorer
from samedge.predict.words.scored import embedded
from samedge.types import Array, Rle


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--bundle", default=None, help="A bundle with words; default: the embedded one.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/refit_words"))
@click.option("--minutes", default=7.0, show_default=True, help="Measuring ends after so many.")
@click.option("--hold", default=3e-2, show_default=True, help="How tightly to ImageNet's rows.")
@click.option("--write", is_flag=True, help="Put the table into the embedded model of words.")
def main(
    data: Path, *, bundle: str | None, cache: Path, minutes: float, hold: float, write: bool
) -> None:
    """Fit on the folder DATA, and say how well photos are done that a fit has not seen."""
    until = time.monotonic() + 60 * minutes
    photos = sorted(words_samples.read_photos(data / "train"), key=lambda photo: photo.order)
    predictor, _ = open_predictor(bundle, threads=1)
    with predictor:
        scorer = RegionScorer(predictor.graphs)
        folder = cache / predictor.bundle.id  # other weights or rules propose other regions
        samples, runs = gathered(predictor, scorer, photos, cache=folder, until=until)
    click.echo(f"{len(samples.labels)} samples, regions of {len(runs)} photos", err=True)
    old = load_head()
    kept = channels_of(old, data / "weights")
    rows = words_samples.imagenet_rows(data / "weights")[:, kept]
    spec, table = train_words.fitted(
        samples, rows, hold=hold, spec=old.spec, photos=photos, runs=runs
    )
    click.echo(f"threshold {spec.threshold:.2f}", err=True)
    if write:
        head = train_words.head_of(spec, data / "weights", kept=kept, table=table)
        save_head(head, WEIGHTS / f"{EMBEDDED}.safetensors")


def gathered(
    predictor: Predictor,
    scorer: RegionScorer,
    photos: Sequence[Photo],
    *,
    cache: Path,
    until: float,
) -> tuple[Samples, dict[str, list[Rle]]]:
    """What a table is fitted to, and the regions of each photo that was measured.

    Args:
        predictor: proposes regions.
        scorer: of the same bundle.
        photos: in the training's order.
        cache: folder of what was measured before.
        until: when to measure no more.
    """
    cache.mkdir(parents=True, exist_ok=True)
    parts = [_objects(scorer, photos, cache / "objects.npz")]
    runs: dict[str, list[Rle]] = {}
    for index, photo in enumerate(photos):
        file = cache / f"{photo.key.replace('/', '_')}.npz"
        if photo.is_complete and (file.is_file() or time.monotonic() < until):
            features, runs[photo.key] = _proposed(predictor, scorer, photo, file)
            parts.append(_labelled(photo, index, features, runs[photo.key]))
    fields = (np.concatenate([getattr(p, name) for p in parts]) for name in vars(parts[0]))
    return Samples(*fields), runs


def channels_of(head: WordHead, weights: Path) -> Array:
    """Which of the channels of ImageNet's last convolution a model has, by their weights."""
    file = safetensors.torch.load_file(weights / "mobilenet_v2_imagenet.safetensors")
    every = off_grid(*on_grid(file["features.18.0.weight"].float())).flatten(1).numpy()
    own = head.last.weight.detach().flatten(1).numpy()
    found = np.array([int(np.abs(every - row).sum(1).argmin()) for row in own])
    assert len(set(found.tolist())) == len(own), "the model is of other ImageNet weights"
    return found


def _objects(scorer: RegionScorer, photos: Sequence[Photo], file: Path) -> Samples:
    """Features of every named object."""
    if file.is_file():
        with np.load(file) as kept:
            features, labels, places = kept["features"], kept["labels"], kept["photos"]
    else:
        rows, names, where = [], [], []
        for index, photo in enumerate(photos):
            named = [(NAMES.index(n), mask_from_rle(dict(r))) for n, r in photo.objects if n]
            named = [(label, mask) for label, mask in named if mask.any()]
            if named:
                masks = [mask for _, mask in named]
                rows.append(scorer.embed(load_image(photo.path), masks)[:, :-1])
                names += [label for label, _ in named]
                where += [index] * len(named)
        features, labels, places = np.concatenate(rows), np.array(names), np.array(where)
        np.savez(file, features=features, labels=labels, photos=places)
    folds = np.array([photos[place].order % words_samples.FOLDS for place in places.tolist()])
    return Samples(features, labels, places, np.full(len(labels), -1), folds)


def _proposed(
    predictor: Predictor, scorer: RegionScorer, photo: Photo, file: Path
) -> tuple[Array, list[Rle]]:
    """Features and run lengths of what is proposed on a photo."""
    if not file.is_file():
        image = load_image(photo.path)
        found = proposed_regions(predictor, image)
        rles = json.dumps([one.rle for one in found])
        np.savez(file, emb=embedded(scorer, image, regions=found), rles=rles)
    with np.load(file) as kept:
        return kept["emb"][:, :-1], json.loads(str(kept["rles"]))


def _labelled(photo: Photo, index: int, features: Array, runs: Sequence[Rle]) -> Samples:
    masks = [(name, mask_from_rle(dict(run))) for name, run in photo.objects]
    labels = [label for label, _, _ in words_samples.labelled(masks, runs)]
    count = len(labels)
    return Samples(
        features,
        np.array(labels, np.int64),
        np.full(count, index),
        np.arange(count),
        np.full(count, photo.order % words_samples.FOLDS),
    )


if __name__ == "__main__":
    main()
