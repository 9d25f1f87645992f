"""What everything mode finds: `samedge eval --prompts everything`, in pieces, in a random order.

    python benchmarks/everything_accuracy.py ../shared/data/eval/coco --minutes 7 -o everything.json

Every call goes on where the last one stopped and ends by itself, with exit code 75 where photos are
left; what is found of each photo is kept in a file. `--limit` takes the first photos of an order
that a seed gives, so that fewer are a fair sample of all. In the end it prints the figures
(docs/accuracy-protocol.md) and writes the record that `samedge report` reads.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
import numpy as np

from samedge import records
from samedge.evaluation.everything import (
    EverythingSubject,
    ImageFinds,
    everything_row,
    found_in_image,
)
from samedge.evaluation.ground_truth import GroundTruth, load_ground_truth
from samedge.evaluation.reading import Readings
from samedge.machine.environment import environment
from samedge.pixels import metrics
from samedge.predict.subjects import open_predictor

SHOWN = (
    *("ar_10", "ar_1000", "ar_100_by_size", "best_iou", "best_iou_ci95", "best_iou_by_size"),
    *("masks_an_image", "clicks_an_image", "seconds"),
)


class Kept(msgspec.Struct, frozen=True):
    """One photo of one bundle, as the file of finds has it."""

    bundle: str
    finds: ImageFinds


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
    until = time.monotonic() + 60 * minutes
    truth = shuffled(load_ground_truth(data / "instances.json", data / "images"), seed, limit)
    predictor, opened = open_predictor(bundle, threads=threads)
    with predictor:
        subject = EverythingSubject(opened.subject, predictor)
        own = predictor.bundle.id
        kept = {k.finds.image: k.finds for k in read(finds) if k.bundle == own}
        readings = Readings(truth)
        finds.parent.mkdir(parents=True, exist_ok=True)
        with finds.open("ab") as file:
            for image in truth.images:
                if time.monotonic() > until:
                    break
                pixels = readings.pixels(image)
                if pixels is not None and image.name not in kept:
                    kept[image.name] = one = found_in_image(subject, image, pixels=pixels)
                    file.write(msgspec.json.encode(Kept(own, one)) + b"\n")
                    file.flush()
        dataset = readings.record()
        found = [kept[image.name] for image in truth.images if image.name in kept]
        click.echo(f"{len(found)} of {dataset.images} photos", err=True)
        if len(found) < dataset.images:
            sys.exit(75)  # EX_TEMPFAIL: call again
        row = everything_row(subject, found)
    write(row, dataset, output)
    print(figures(row, found))


def shuffled(truth: GroundTruth, seed: int, limit: int | None) -> GroundTruth:
    """The photos in a random order, or the first of them."""
    order = np.random.default_rng(seed).permutation(len(truth.images))[:limit]
    return dataclasses.replace(truth, images=[truth.images[int(i)] for i in order])


def read(path: Path) -> list[Kept]:
    """What an earlier call kept."""
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return [msgspec.json.decode(line, type=Kept) for line in lines]


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
