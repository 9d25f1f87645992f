"""What ``samedge eval`` does with photos: accuracy by prompts, and of everything mode."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samedge.cli import output

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.evaluation.evaluate import EvaluatedSubject
    from samedge.evaluation.ground_truth import GroundTruth
    from samedge.pixels.sample_range import SampleRange
    from samedge.predict.focus import FocusMode
    from samedge.records import EvalRecord, EvalRow, EverythingRow


@dataclasses.dataclass(frozen=True)
class EvalRequest:
    """What is to be measured; fields are the options of ``samedge eval``."""

    dataset: Path
    images: Path
    bundles: tuple[str, ...]
    backends: tuple[str, ...]
    device: str | None
    prompts: str
    focus: FocusMode
    refine: int | None
    sample_range: SampleRange
    limit: int | None
    instances: bool
    output_path: Path | None


def eval_photos(out: output.Output, request: EvalRequest) -> None:
    """Measure how well masks fit, and print and write the record."""
    import msgspec

    from samedge import records
    from samedge.errors import DatasetError
    from samedge.evaluation.ground_truth import load_ground_truth
    from samedge.evaluation.named import opened_subjects
    from samedge.machine.environment import environment
    from samedge.report.verdicts import eval_verdict

    named = [name.strip() for name in request.prompts.split(",")]
    prompts = ",".join(name for name in named if name != _EVERYTHING)
    wants_prompts = bool(prompts.strip(", ")) or _EVERYTHING not in named
    if wants_prompts:  # refuse unknown names before any work
        from samedge.evaluation.protocols import parse_protocols

        parse_protocols(prompts, beside=(_EVERYTHING, "text"))
    truth = load_ground_truth(
        request.dataset, request.images, limit=request.limit, sample_range=request.sample_range
    )
    with contextlib.ExitStack() as stack:
        opened = opened_subjects(
            stack,
            tuple(dict.fromkeys(request.bundles)),
            backends=request.backends,
            device=request.device,
            focus=request.focus,
            refine=request.refine,
        )
        found = [_by_prompts(out, opened, truth, prompts)] if wants_prompts else []
        if _EVERYTHING in named:
            found.append(_everything(out, opened, truth))
    record = msgspec.structs.replace(
        found[0],
        everything=found[-1].everything,
        seconds=round(sum(one.seconds or 0.0 for one in found), 3),
        environment=environment(),
        command=output.command_line(),
    )
    verdict = eval_verdict(record)  # of the instances' scores, whether they are asked for or not
    if not request.instances:
        record = msgspec.structs.replace(record, instances=None)
    if request.output_path is not None:
        records.write(record, request.output_path)
        out.note(f"wrote {request.output_path}")
    tables = [_table(record.results)] if record.results else []
    tables += [_everything_table(record.everything)] if record.everything else []
    lines = [_footer(record), *([verdict] if verdict else [])]
    beside, told = pictures_beside(truth)
    out.result({**records.fields(record), **beside}, *tables, *lines, *told)
    out.failed([(name, DatasetError(why)) for name, why in record.dataset.failed.items()])


_EVERYTHING = "everything"


def pictures_beside(truth: GroundTruth) -> tuple[dict[str, object], list[str]]:
    """The pictures that the dataset's file does not name, for the document and for people."""
    skipped = truth.beside()
    if skipped is None:
        return {}, []
    if skipped.count > len(truth.named):  # a part of a dataset: nothing was forgotten
        skipped = dataclasses.replace(skipped, names=())
        return {"skipped_files": [skipped]}, [f"{skipped.count} {skipped.why}"]
    return {"skipped_files": [skipped]}, [str(skipped)]


def _by_prompts(
    out: output.Output,
    opened: Sequence[EvaluatedSubject],
    truth: GroundTruth,
    prompts: str,
) -> EvalRecord:
    from samedge.evaluation.evaluate import evaluate
    from samedge.evaluation.protocols import parse_protocols

    with out.progress("Evaluating", total=len(truth.images)) as bar:
        evaluation = evaluate(
            opened,
            truth,
            protocols=parse_protocols(prompts),
            progress=bar.progress,
            stage=bar.stage,
        )
    return evaluation.record(instances=True)


def _everything(
    out: output.Output, opened: Sequence[EvaluatedSubject], truth: GroundTruth
) -> EvalRecord:
    import time

    from samedge.evaluation.everything import EverythingSubject, evaluate_everything
    from samedge.predict.predictor import Predictor
    from samedge.records import EvalRecord

    subjects = []
    for subject in opened:
        if isinstance(subject.segmenter, Predictor):
            subjects.append(EverythingSubject(subject.subject, subject.segmenter))
        else:
            out.note(f"{subject.subject.bundle} needs boxes: left out of everything mode")
    start = time.perf_counter()
    with out.progress("Everything", total=len(truth.images)) as bar:
        rows, dataset = evaluate_everything(subjects, truth, progress=bar.progress, stage=bar.stage)
    seconds = time.perf_counter() - start
    return EvalRecord(dataset=dataset, results=[], everything=rows, seconds=seconds)


def _table(rows: Sequence[EvalRow]) -> Table:
    table = output.table(
        *("Bundle", "Backend", "Prompt", "n", "mIoU", "95% interval"),
        *("Small", "Medium", "Large", "Boundary", "Oracle"),
    )
    for row in rows:
        interval = "-" if row.ci95 is None else f"{row.ci95[0]:.3f} to {row.ci95[1]:.3f}"
        table.add_row(
            *(row.bundle, row.backend, row.prompt, str(row.n), _figure(row.miou), interval),
            *map(_figure, (row.miou_small, row.miou_medium, row.miou_large)),
            *map(_figure, (row.boundary_iou, row.miou_oracle)),
        )
    return table


def _everything_table(rows: Sequence[EverythingRow]) -> Table:
    table = output.table(
        *("Bundle", "Backend", "Focus", "n", "AR@10", "AR@100", "AR@1000", "Best IoU"),
        *("Small", "Medium", "Large", "Masks", "Clicks"),
    )
    for row in rows:
        sizes = (row.best_iou_by_size.get(size) for size in ("small", "medium", "large"))
        table.add_row(
            *(row.bundle, row.backend, row.focus, str(row.n)),
            *map(_figure, (row.ar_10, row.ar_100, row.ar_1000, row.best_iou, *sizes)),
            *map(_count, (row.masks_an_image, row.clicks_an_image)),
        )
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _footer(record: EvalRecord) -> str:
    dataset = record.dataset
    skipped = ", ".join(f"{count} {reason}" for reason, count in dataset.skipped.items())
    return (
        f"{dataset.instances} instances on {dataset.images} images of {dataset.path}"
        f"{f', left out: {skipped}' if skipped else ''}; {record.seconds:.1f} s"
    )
