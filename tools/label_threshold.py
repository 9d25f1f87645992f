"""The threshold of `everything --label`: what is named at which, on training photos.

    python tools/label_threshold.py ../shared/data --minutes 20      # again until it measures all
    python tools/label_threshold.py ../shared/data --minutes 0 --write 0
    python tools/embed.py --manifest samedge/data/nano-cpu

Words that are asked for (`--text`) and names that nobody asked for (`everything --label`) are cut
at thresholds of their own. This says how many regions of everything mode get a name at which, and
how many of these names are right, on photos of `train/coco` and `train/coco_other` whose objects
are all marked: by tables fitted to the other photos (the four folds of `tools/refit_words.py`,
whose cache this shares), and by the embedded table, which has seen them. A region shows an object
from an IoU of 0.5 on. Its name is *right* where it is the object's, *in part* where it lies in a
thing of that name or covers a part of one (IoU of 0.2), and wrong otherwise. Every call goes on
where the last one stopped; --write puts a threshold into the embedded model of words. Nothing of
`eval` is read.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import refit_words
import train_words
import words_samples
import words_threshold
from words_samples import NAMES, Photo

from samedge.models.words.head import load_head
from samedge.pixels.images import load_image
from samedge.pixels.rle import mask_from_rle
from samedge.predict.everything import EverythingConfig, segment_everything
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import open_predictor
from samedge.predict.words.regions import RegionScorer, log_sum_exp
from samedge.predict.words.scored import embedded
from samedge.types import Array

THRESHOLDS = (-2.5, -2.0, -1.5, -1.0, -0.5, *np.arange(0.0, 2.1, 0.25).tolist(), 2.5, 3.0)
INSIDE = 0.9
"""Share of a region in a thing from which on it is a part of it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
    """The regions of one photo.

    Attributes:
        embeddings: (N, D).
        shows: (N,) place of the object that each shows, or -1.
        near: (N, W) which words' things each is a part of, or covers a part of.
        objects: (M,) index of each object's word, -1 without one.
    """

    embeddings: Array
    shows: Array
    near: Array
    objects: Array


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--bundle", default=None, help="A bundle with words; default: the embedded one.")
@click.option("--photos", default=60, show_default=True)
@click.option("--minutes", default=7.0, show_default=True, help="Measuring ends after so many.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/refit_words"))
@click.option("--write", type=float, help="Put this threshold into the embedded model of words.")
def main(
    data: Path,
    *,
    bundle: str | None,
    photos: int,
    minutes: float,
    cache: Path,
    write: float | None,
) -> None:
    """Measure on the folder DATA, and print a table."""
    until = time.monotonic() + 60 * minutes
    every = sorted(words_samples.read_photos(data / "train"), key=lambda photo: photo.order)
    whole = [photo for photo in every if photo.is_complete][:photos]
    predictor, _ = open_predictor(bundle, threads=1)
    cache = cache / predictor.bundle.id
    kept = cache / "everything"
    kept.mkdir(parents=True, exist_ok=True)
    with predictor:
        scorer = RegionScorer(predictor.graphs)
        found: dict[str, Regions] = {}
        for photo in whole:
            file = kept / f"{photo.key.replace('/', '_')}.npz"
            if file.is_file() or time.monotonic() < until:
                found[photo.key] = regions_of(predictor, scorer, photo, file)
        samples, _ = refit_words.gathered(predictor, scorer, every, cache=cache, until=until)
        own, record = scorer.table.embeddings, scorer.record
        askable = np.array(scorer.table.askable)
    rows = words_samples.imagenet_rows(data / "weights")
    rows = rows[:, refit_words.channels_of(load_head(), data / "weights")]
    folds = range(words_samples.FOLDS)
    unseen = [train_words.fit(samples.where(samples.folds != n), rows, hold=3e-2) for n in folds]
    measured = [(photo, found[photo.key]) for photo in whole if photo.key in found]
    click.echo(f"the embedded table, {len(measured)} photos, threshold {record.threshold:.2f}")
    say(measured, [own], askable)
    click.echo("tables that have not seen the photo")
    say(measured, unseen, askable)
    if write is not None:
        words_threshold.embed(label_threshold=write)


def regions_of(predictor: Predictor, scorer: RegionScorer, photo: Photo, file: Path) -> Regions:
    """What everything mode finds on a photo, kept in a file."""
    if not file.is_file():
        image = load_image(photo.path)
        config = EverythingConfig.for_bundle(predictor.manifest)
        masks = segment_everything(predictor, image, config=config)
        objects = [(name, mask_from_rle(dict(run))) for name, run in photo.objects]
        shows = np.full(len(masks), -1)
        near = np.zeros((len(masks), len(NAMES)), np.bool_)
        for row, region in enumerate(one.mask for one in masks):
            for place, (name, mask) in enumerate(objects):
                common, area = np.count_nonzero(mask & region), np.count_nonzero(region)
                iou = common / max(np.count_nonzero(mask) + area - common, 1)
                if iou >= words_samples.COVERS:
                    shows[row] = place
                if name and (iou >= words_samples.MISSES or common >= INSIDE * area):
                    near[row, NAMES.index(name)] = True
        words = [NAMES.index(name) if name else -1 for name, _ in objects]
        embeddings = embedded(scorer, image, regions=masks)
        np.savez(file, embeddings=embeddings, shows=shows, near=near, objects=words)
    with np.load(file) as kept:
        return Regions(*(kept[field.name] for field in dataclasses.fields(Regions)))


def best_words(regions: Regions, table: Array, askable: Array) -> tuple[Array, Array]:
    """(N,) word of each region, and its log-odds."""
    logits = regions.embeddings @ table.T
    margins = np.stack(
        [logits[:, row] - log_sum_exp(np.delete(logits, row, axis=1)) for row in askable], axis=1
    )
    best = margins.argmax(axis=1)
    return askable[best], margins[np.arange(len(best)), best]


def say(measured: Sequence[tuple[Photo, Regions]], tables: Sequence[Array], askable: Array) -> None:
    """Print the figures of every threshold."""
    click.echo("threshold  regions named  right  or in part  wrong  objects named rightly")
    chosen = [best_words(r, tables[photo.order % len(tables)], askable) for photo, r in measured]
    total = sum(int(np.isin(r.objects, askable).sum()) for _, r in measured)
    regions = sum(len(r.shows) for _, r in measured)
    for cut in THRESHOLDS:
        named = right = in_part = hit = 0
        for (_, one), (words, margins) in zip(measured, chosen, strict=True):
            rows = np.flatnonzero(margins > cut)
            shown = np.where(one.shows[rows] >= 0, one.objects[one.shows[rows]], -1)
            is_right = shown == words[rows]
            named, right = named + len(rows), right + int(is_right.sum())
            in_part += int((one.near[rows, words[rows]] & ~is_right).sum())
            hit += len(set(one.shows[rows][is_right].tolist()))
        shares = [count / max(named, 1) for count in (right, in_part, named - right - in_part)]
        click.echo(
            f"{cut:9.2f}  {named:6d} ({named / max(regions, 1):.2f})  {shares[0]:.3f}  "
            f"{shares[1]:10.3f}  {shares[2]:.3f}  {hit / max(total, 1):.3f} of {total}"
        )


if __name__ == "__main__":
    main()
