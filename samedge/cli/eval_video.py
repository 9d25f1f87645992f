"""What ``samedge eval --video`` does: J, F and J&F of bundles and baselines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samedge.cli import output

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.evaluation.video import VideoSubject
    from samedge.records import DatasetRecord, VideoRow


def eval_video(
    out: output.Output,
    folder: Path,
    *,
    bundles: Sequence[str],
    backends: Sequence[str],
    device: str | None,
    prompts: str | None,
    ask_every: int,
    refine: int,
    limit: int | None,
    output_path: Path | None,
) -> None:
    """Measure how well objects are followed, and print and write the record."""
    from samedge import records
    from samedge.errors import DatasetError
    from samedge.evaluation import video as library
    from samedge.machine.environment import environment

    kinds = library.parse_prompts(prompts or ",".join(library.PROMPTS))
    videos = library.load_sequences(folder, limit=limit)
    with contextlib.ExitStack() as stack:
        subjects = list(
            _subjects(stack, bundles, backends, device=device, ask_every=ask_every, refine=refine)
        )
        total = len(subjects) * len(kinds) * len(videos)
        bar = stack.enter_context(out.progress("Following", total=total))
        rows, dataset = library.evaluate_video(
            subjects, videos, prompts=kinds, progress=bar.progress, stage=bar.stage
        )
    record = records.EvalRecord(
        dataset=dataset,
        results=[],
        video=rows,
        environment=environment(),
        command=output.command_line(),
        seconds=round(sum(row.seconds or 0 for row in rows), 3),
    )
    if output_path is not None:
        records.write(record, output_path)
        out.note(f"wrote {output_path}")
    out.result(records.fields(record), _table(rows), _footer(dataset, rows))
    out.failed([(name, DatasetError(why)) for name, why in dataset.failed.items()])


def _subjects(
    stack: contextlib.ExitStack,
    bundles: Sequence[str],
    backends: Sequence[str],
    *,
    device: str | None,
    ask_every: int,
    refine: int,
) -> Iterator[VideoSubject]:
    """Every bundle on every backend; a baseline once, its first mask by the first bundle."""
    from samedge.evaluation.followers import baseline_subject, tracker_subject
    from samedge.predict.subjects import open_predictor
    from samedge.records.subjects import BASELINE_PREFIX

    named = list(dict.fromkeys(bundles))
    models = [bundle for bundle in named if not bundle.startswith(BASELINE_PREFIX)]
    wished = tuple(dict.fromkeys(backends)) or (None,)
    chosen: list[str | None] = [*named] or [None]
    for bundle in chosen:
        if bundle is not None and bundle.startswith(BASELINE_PREFIX):
            first = models[0] if models else None
            predictor, _ = open_predictor(first, backend=wished[0], device=device, refine=refine)
            yield baseline_subject(bundle, stack.enter_context(predictor))
            continue
        for backend in wished:
            predictor, _ = open_predictor(bundle, backend=backend, device=device, refine=refine)
            stack.enter_context(predictor)
            yield tracker_subject(predictor, name=bundle, ask_every=ask_every)


def _table(rows: Sequence[VideoRow]) -> Table:
    table = output.table(
        *("Bundle", "Backend", "Follows by", "Prompt", "n", "J&F"),
        *("J", "J recall", "J decay", "F", "F recall", "F decay"),
    )
    for row in rows:
        figures = (row.jf, row.j, row.j_recall, row.j_decay, row.f, row.f_recall, row.f_decay)
        table.add_row(
            *(row.bundle, row.backend, row.strategy, row.prompt, str(row.n)),
            *(f"{value:.3f}" for value in figures),
        )
    return table


def _footer(dataset: DatasetRecord, rows: Sequence[VideoRow]) -> str:
    seconds = sum(row.seconds or 0 for row in rows)
    videos = rows[0].videos if rows else 0
    return (
        f"{dataset.instances} objects in {videos} videos of {dataset.images} frames, "
        f"{dataset.path}; {seconds:.1f} s"
    )
