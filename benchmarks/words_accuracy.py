"""How well the embedded model finds words: `samedge eval --prompts text`, in pieces.

    python benchmarks/words_accuracy.py ../shared/data/eval/coco --minutes 7 -o words.json

Every call goes on where the last one stopped and ends by itself, with exit code 75 where photos are
left; the scores of each photo are kept in a file. When all photos are measured it prints the rows
of the words protocol (docs/accuracy-protocol.md) and writes the record that `samedge report` reads.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from pieces import measured

from samedge import records
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.evaluation.reading import Readings
from samedge.evaluation.words import ImageScores, LabelledImage, labelled, score_image, word_rows
from samedge.evaluation.words_subject import PredictorWords
from samedge.machine.environment import environment
from samedge.predict.subjects import open_predictor
from samedge.types import Array

SHOWN = ("regions", "words_by", "images", "pairs", "miou", "ci95", "absent_pairs", "false_alarms")


class Kept(msgspec.Struct, frozen=True):
    """The scores of one photo, and how long they took."""

    scores: ImageScores
    seconds: float


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--bundle", default=None, help="A bundle with words; default: the embedded one.")
@click.option("--minutes", default=7.0, show_default=True, help="A call ends after so many.")
@click.option("--limit", type=int, default=None, help="Only the first photos.")
@click.option("--threads", default=1, show_default=True)
@click.option(
    "--scores",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("runs/words_accuracy.jsonl"),
    show_default=True,
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True)
def main(
    data: Path,
    *,
    bundle: str | None,
    minutes: float,
    limit: int | None,
    threads: int,
    scores: Path,
    output: Path,
) -> None:
    """Measure the photos of the folder DATA: `instances.json` and `images/`."""
    truth = load_ground_truth(data / "instances.json", data / "images", limit=limit)
    predictor, opened = open_predictor(bundle, threads=threads)
    with predictor:
        subject = PredictorWords(predictor)
        photos = [
            (entry.image, functools.partial(_measured, subject, entry)) for entry in labelled(truth)
        ]
        own, dataset = measured(
            photos,
            Readings(truth),
            scores,
            kind=Kept,
            bundle=predictor.bundle.id,
            minutes=minutes,
        )
        rows = word_rows(
            [k.scores for k in own],
            subject,
            identity=opened.subject,
            focus=predictor.focus,
            seconds=round(sum(k.seconds for k in own), 3),
        )
    _write(rows, dataset, output)


def _measured(subject: PredictorWords, entry: LabelledImage, pixels: Array) -> Kept:
    start = time.perf_counter()
    scores = score_image(subject, entry, pixels=pixels)
    return Kept(scores, time.perf_counter() - start)


def _write(rows: Sequence[records.WordRow], dataset: records.DatasetRecord, output: Path) -> None:
    record = records.EvalRecord(
        dataset=dataset,
        results=[],
        words=list(rows),
        environment=environment(),
        seconds=rows[0].seconds,
        command=" ".join(sys.argv),
    )
    records.write(record, output)
    for row in rows:
        print({field: getattr(row, field) for field in SHOWN}, f"top1 {row.top1} {row.top1_ci95}")


if __name__ == "__main__":
    main()
