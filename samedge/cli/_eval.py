"""``samedge eval``: accuracy of bundles against COCO-format ground truth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output
from samedge.cli.image_options import range_option

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.evaluation.evaluate import EvaluatedSubject, Evaluation
    from samedge.pixels.sample_range import SampleRange
    from samedge.records import EvalRecord, EvalRow

EPILOG = """\b
Examples:
  samedge eval --dataset instances.json --images photos/
  samedge eval --dataset instances.json --images photos/ --bundle out/intel --bundle baseline:box
  samedge eval --video DAVIS/ --bundle out/intel --bundle baseline:still --prompts box
  samedge eval --dataset instances.json --images photos/ --bundle out/cpu --backend onnxruntime \\
      --backend torch --prompts box,center,clicks:3 -o accuracy.json
"""


@click.command("eval", epilog=EPILOG)
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    metavar="JSON",
    help="Ground truth in COCO's instances format.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of its images.",
)
@click.option(
    "--video",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Videos in DAVIS's layout instead: how well objects are followed.",
)
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    metavar="DIR",
    help="A bundle, baseline:box or baseline:grabcut, or with --video baseline:still or "
    "baseline:flow; again for more. [default: embedded model]",
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="B",
    help="Library that runs the bundles; again for more. [default: each bundle's own]",
)
@click.option("--device", metavar="D", help="Device of that library, such as cpu, GPU or NPU.")
@click.option(
    "--prompts",
    metavar="LIST",
    help="Any of box, center and clicks:N, or with --video of mask, box and click, separated by "
    "commas. [default: box,center; mask,box,click]",
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Only the first N images or videos."
)
@range_option
@click.option("--instances", is_flag=True, help="Put every instance's scores into the record.")
@click.option(
    "-o",
    "--output",
    "output_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="JSON",
    help="File for the record, which `samedge report` reads.",
)
@output.standard_options
def eval_(
    out: output.Output,
    *,
    dataset: Path | None,
    images: Path | None,
    video: Path | None,
    bundles: tuple[str, ...],
    backends: tuple[str, ...],
    device: str | None,
    prompts: str | None,
    sample_range: SampleRange,
    limit: int | None,
    instances: bool,
    output_path: Path | None,
) -> None:
    """Measure how well masks fit the ground truth, by the protocol of docs/accuracy-protocol.md.

    One prompt an instance, class-agnostic, masks at the images' original size; several bundles and
    backends are compared on the very same prompts. An image that cannot be read is listed at the
    end, and does not count.
    """
    from samedge import records
    from samedge.errors import DatasetError
    from samedge.evaluation.evaluate import evaluate
    from samedge.evaluation.ground_truth import load_ground_truth
    from samedge.evaluation.protocols import parse_protocols

    if video is not None:
        from samedge.cli.eval_video import eval_video

        eval_video(
            out,
            video,
            bundles=bundles,
            backends=backends,
            device=device,
            prompts=prompts,
            limit=limit,
            output_path=output_path,
        )
        return
    if dataset is None or images is None:
        raise click.UsageError("Give --dataset and --images, or --video.")
    protocols = parse_protocols(prompts or "box,center")
    truth = load_ground_truth(dataset, images, limit=limit, sample_range=sample_range)
    with contextlib.ExitStack() as stack:
        subjects = list(_subjects(stack, bundles, backends, device=device))
        bar = stack.enter_context(out.progress("Evaluating", total=len(truth.images)))
        evaluation = evaluate(
            subjects, truth, protocols=protocols, progress=bar.progress, stage=bar.stage
        )
    record = _record(evaluation, instances=instances)
    if output_path is not None:
        records.write(record, output_path)
        out.note(f"wrote {output_path}")
    out.result(records.fields(record), _table(record.results), _footer(record))
    out.failed([(name, DatasetError(why)) for name, why in record.dataset.failed.items()])


def _subjects(
    stack: contextlib.ExitStack,
    bundles: Sequence[str],
    backends: Sequence[str],
    *,
    device: str | None,
) -> Iterator[EvaluatedSubject]:
    """Every bundle on every backend; a baseline once."""
    from samedge.evaluation.baselines import PREFIX
    from samedge.evaluation.subjects import open_subject

    for bundle in dict.fromkeys(bundles) or (None,):
        is_baseline = bundle is not None and bundle.startswith(PREFIX)
        for backend in (None,) if is_baseline else (tuple(dict.fromkeys(backends)) or (None,)):
            subject = open_subject(bundle, backend=backend, device=device)
            if isinstance(subject.segmenter, contextlib.AbstractContextManager):
                stack.enter_context(subject.segmenter)
            yield subject


def _record(evaluation: Evaluation, *, instances: bool) -> EvalRecord:
    import msgspec

    from samedge.machine.environment import environment

    return msgspec.structs.replace(
        evaluation.record(instances=instances),
        environment=environment(),
        command=output.command_line(),
    )


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


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _footer(record: EvalRecord) -> str:
    dataset = record.dataset
    skipped = ", ".join(f"{count} {reason}" for reason, count in dataset.skipped.items())
    return (
        f"{dataset.instances} instances on {dataset.images} images of {dataset.path}"
        f"{f', left out: {skipped}' if skipped else ''}; {record.seconds:.1f} s"
    )


COMMAND = eval_
