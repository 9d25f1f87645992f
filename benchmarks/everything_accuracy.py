"""What everything mode finds: `samedge eval --prompts everything`, in pieces, in a random order.

    python benchmarks/everything_accuracy.py ../shared/data/eval/coco --minutes 7 -o everything.json

Every call goes on where the last one stopped and ends by itself, with exit code 75 where photos are
left; what is found of each photo is kept in a file. `--limit` takes the first photos of an order
that a seed gives, so that fewer are a fair sample of all. In the end it prints the figures
(docs/accuracy-protocol.md) and writes the record that `samedge report` reads.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from pieces import measured

from samedge import records
from samedge.evaluation.everything import (
    EverythingSubject,
    ImageFinds,
    everything_row,
    found_in_image,
)
from samedge.evaluation.ground_truth import GroundTruth, TruthImage, load_ground_truth
from samedge.evaluation.reading import Readings
from samedge.machine.environment import environment
from samedge.pixels import metrics
from samedge.predict.subjects import open_predictor
from samedge.types import Array

SHOWN = (
    *("ar_10", "ar_1000", "ar_100_by_size", "best_iou", "best_iou_ci95", "best_iou_by_size"),
    *("masks_an_image", "clicks_an_image", "seconds"),
)


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--bundle", default=None, help="A folder or an embedded model; default: nano.")
@click.option("--minutes", default=7.0, show_default=True, help="A call ends after so many.")
@click.option("--limit", type=int, default=None, help="Only so many photos of the order.")
@click.option("--seed", default=0, show_default=True, help="Of the order.")
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--finds",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("runs/everything_accuracy.jsonl"),
    show_default=True,
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True)
def main(
    data: Path,
    *,
    bundle: str | None,
    minutes: float,
    limit: int | None,
    seed: int,
    threads: int,
    finds: Path,
    output: Path,
) -> None:
    """Measure the photos of the folder DATA: `instances.json` and `images/`."""
    truth = shuffled(load_ground_truth(data / "instances.json", data / "images"), seed, limit)
    predictor, opened = open_predictor(bundle, threads=threads)
    with predictor:
        subject = EverythingSubject(opened.subject, predictor)
        photos = [(image, functools.partial(found_of, subject, image)) for image in truth.images]
        found, dataset = measured(
            photos,
            Readings(truth),
            finds,
            kind=ImageFinds,
            bundle=predictor.bundle.id,
            minutes=minutes,
        )
        row = everything_row(subject, found)
    write(row, dataset, output)
    print(figures(row, found))


def shuffled(truth: GroundTruth, seed: int, limit: int | None) -> GroundTruth:
    """The photos in a random order, or the first of them."""
    order = np.random.default_rng(seed).permutation(len(truth.images))[:limit]
    return dataclasses.replace(truth, images=[truth.images[int(i)] for i in order])


def found_of(subject: EverythingSubject, image: TruthImage, pixels: Array) -> ImageFinds:
    """What everything mode finds in one photo."""
    return found_in_image(subject, image, pixels=pixels)


def figures(row: records.EverythingRow, found: Sequence[ImageFinds]) -> str:
    """The row in words, with an interval of AR@100 over photos."""
    images = [one.recall() for one in found]
    taken = [share for image in images for share in image.hits[100].mean(axis=0).tolist()]
    owners = [one.image for one in found for _ in one.areas]
    interval = metrics.bootstrap_mean(taken, owners)
    rest = {name: getattr(row, name) for name in SHOWN}
    return f"{row.images} photos, {row.n} objects: AR@100 {row.ar_100}, {interval} {rest}"


def write(row: records.EverythingRow, dataset: records.DatasetRecord, output: Path) -> None:
    """Write the record."""
    record = records.EvalRecord(
        dataset=dataset,
        results=[],
        everything=[row],
        environment=environment(),
        seconds=row.seconds,
        command=" ".join(sys.argv),
    )
    records.write(record, output)


if __name__ == "__main__":
    main()
