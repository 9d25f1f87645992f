"""What ``samedge eval --prompts text`` does: how well bundles find the things that words name."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from samedge.cli import output
from samedge.cli.eval_photos import pictures_beside

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.cli.eval_photos import EvalRequest
    from samedge.evaluation.ground_truth import GroundTruth
    from samedge.records import DatasetRecord, WordRow


def eval_words(out: output.Output, request: EvalRequest) -> None:
    """Measure how well words are found, and print and write the record."""
    from samedge import records
    from samedge.errors import DatasetError
    from samedge.evaluation.ground_truth import load_ground_truth
    from samedge.evaluation.words import KINDS
    from samedge.machine.environment import environment

    truth = load_ground_truth(
        request.dataset, request.images, limit=request.limit, sample_range=request.sample_range
    )
    rows, dataset = _measured(out, truth, request)
    record = records.EvalRecord(
        dataset=dataset,
        results=[],
        words=rows,
        environment=environment(),
        command=output.command_line(),
        seconds=round(sum(row.seconds or 0 for row in rows[:: len(KINDS)]), 3),
    )
    if request.output_path is not None:
        records.write(record, request.output_path)
        out.note(f"wrote {request.output_path}")
    beside, told = pictures_beside(truth)
    lines = [*_footer(record.seconds or 0, dataset, rows), *told]
    out.result({**records.fields(record), **beside}, _table(rows), *lines)
    out.failed([(name, DatasetError(why)) for name, why in dataset.failed.items()])


def _measured(
    out: output.Output, truth: GroundTruth, request: EvalRequest
) -> tuple[list[WordRow], DatasetRecord]:
    """Every bundle on every backend, one after the other, on the same images."""
    from samedge.evaluation.words import evaluate_words
    from samedge.evaluation.words_subject import PredictorWords
    from samedge.predict.subjects import open_predictor

    rows: list[WordRow] = []
    for bundle in tuple(dict.fromkeys(request.bundles)) or (None,):
        for backend in tuple(dict.fromkeys(request.backends)) or (None,):
            predictor, opened = open_predictor(
                bundle, backend=backend, device=request.device, focus=request.focus
            )
            with contextlib.ExitStack() as stack:
                stack.enter_context(predictor)
                bar = stack.enter_context(out.progress("Finding", total=len(truth.images)))
                found, dataset = evaluate_words(
                    PredictorWords(predictor),
                    truth,
                    identity=opened.subject,
                    focus=predictor.focus,
                    progress=bar.progress,
                    stage=bar.stage,
                )
            rows += found
    return rows, dataset


def _table(rows: Sequence[WordRow]) -> Table:
    table = output.table(
        *("Bundle", "Backend", "Focus", "Regions", "Named by", "Pairs", "mIoU", "95% interval"),
        *("False alarms", "Masks", "Top 1"),
    )
    for row in rows:
        interval = "-" if row.ci95 is None else f"{row.ci95[0]:.3f} to {row.ci95[1]:.3f}"
        table.add_row(
            *(row.bundle, row.backend, row.focus, row.regions, row.words_by, str(row.pairs)),
            *(_figure(row.miou), interval, _figure(row.false_alarms), str(row.instances)),
            _figure(row.top1),
        )
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _footer(seconds: float, dataset: DatasetRecord, rows: Sequence[WordRow]) -> list[str]:
    lines = [f"{dataset.instances} instances on {dataset.images} images; {seconds:.1f} s"]
    if rows and rows[0].chance is not None:
        lines.append(f"the most frequent word is {rows[0].chance:.3f} of the masks")
    return lines
