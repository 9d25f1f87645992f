"""What ``samedge bench --stream`` does: the age of masks on a recording at its own pace."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samedge.cli import output

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.benchmark.process import ChosenSubject
    from samedge.records import StreamRow


def bench_stream(
    out: output.Output,
    video: Path,
    *,
    subjects: Sequence[ChosenSubject],
    box: tuple[float, float, float, float] | None,
    ask_every: int,
    threads: int | None,
    output_path: Path | None,
) -> None:
    """Measure each subject in turn, alone on the machine, and print and write the record."""
    from samedge import records
    from samedge.live.measuring import measure_stream
    from samedge.machine.environment import environment
    from samedge.predict.subjects import open_predictor
    from samedge.tracking.settings import TrackerSettings

    started = time.perf_counter()
    rows = []
    with out.progress("Playing") as advance:
        for one in subjects:
            predictor, _ = open_predictor(
                one.bundle, backend=one.backend, device=one.device, threads=threads
            )
            with predictor:
                rows.append(
                    measure_stream(
                        predictor,
                        video,
                        name=one.bundle,
                        box=box,
                        settings=TrackerSettings(ask_every=ask_every),
                        on_frame=lambda followed: advance(note=f"age {followed.age_ms:.0f} ms"),
                    )
                )
    record = records.BenchRecord(
        environment=environment(threads=threads),
        results=[],
        stream=rows,
        command=output.command_line(),
        seconds=round(time.perf_counter() - started, 3),
    )
    if output_path is not None:
        records.write(record, output_path)
        out.note(f"wrote {output_path}")
    out.result(records.fields(record), _table(rows))


def _table(rows: Sequence[StreamRow]) -> Table:
    table = output.table(
        *("Bundle", "Backend", "n", "Age p50 ms", "Age p95 ms", "Frames/s"),
        *("Source/s", "Dropped", "Memory growth MB"),
    )
    for row in rows:
        growth = row.rss_growth_bytes
        table.add_row(
            *(row.bundle, row.backend, str(row.n)),
            *(_figure(row.age_p50_ms), _figure(row.age_p95_ms), _figure(row.frames_per_s)),
            _figure(row.captured_per_s),
            "-" if row.dropped_share is None else f"{row.dropped_share:.1%}",
            "-" if growth is None else f"{growth / 1e6:.1f}",
        )
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
