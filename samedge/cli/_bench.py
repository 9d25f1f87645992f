"""``samedge bench``: latency of every stage, of bundles on backends side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output
from samedge.cli.follow_options import ASK_EVERY
from samedge.cli.measure_types import COUNTS, DURATION
from samedge.cli.prompt_types import BOX
from samedge.cli.refusing import refuse_given, refuse_output

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.records import BenchRecord, StageRow

EPILOG = """\b
Examples:
  samedge bench
  samedge bench --bundle samedge-nano --bundle out/intel --effort strict -o latency.json
  samedge bench --bundle out/cpu --backend onnxruntime --backend torch --threads 2
  samedge bench --bundle out/cpu --deadline 33ms
  samedge bench --stream drive.mp4 --bundle out/intel --box 410,180,520,260
  samedge bench --bundle out/cpu --prompt-rate 1,4,16 --sustained 10
  samedge bench --bundle out/web -o page.json
"""


@click.command("bench", epilog=EPILOG)
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    metavar="DIR",
    help="A bundle, or an embedded model's name such as samedge-nano; again for more. "
    "[default: embedded model]",
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="B",
    help="Library that runs the bundles; again for more. [default: each bundle's own]",
)
@click.option(
    "--device", "devices", multiple=True, metavar="D", help="Device of it; again for more."
)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Processor threads.")
@click.option(
    "--images",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of pictures to measure on. [default: samedge's own photos]",
)
@click.option(
    "--effort",
    default="default",
    show_default=True,
    metavar="E",
    help="quick (3 s and 64 samples), default (10 s and 200) or strict (60 s and 662).",
)
@click.option(
    "--min-time", type=click.FloatRange(0, min_open=True), metavar="S", help="Seconds instead."
)
@click.option("--min-count", type=click.IntRange(1), metavar="N", help="Samples instead.")
@click.option(
    "--prompt-rate", type=COUNTS, metavar="LIST", help="Also frames/s at 1,4,16 prompts a frame."
)
@click.option(
    "--sustained",
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    help="Also the last 30 s of so many minutes against the first.",
)
@click.option(
    "--deadline",
    type=DURATION,
    metavar="MS",
    help="Say whether p99 end to end meets it (33, 33ms or 30fps), from 662 samples or as many as "
    "make it certain.",
)
@click.option(
    "--stream",
    type=click.Path(path_type=Path),
    metavar="VIDEO",
    help="Instead: the age of masks while an object is followed in a recording at its own pace.",
)
@click.option(
    "--box",
    type=BOX,
    metavar="X0,Y0,X1,Y1",
    help="That object in the recording's first frame. [default: the middle half]",
)
@ASK_EVERY
@output.record_option("-o", "--output", "output_path")
@output.standard_options
def bench(
    out: output.Output,
    *,
    bundles: tuple[str, ...],
    backends: tuple[str, ...],
    devices: tuple[str, ...],
    threads: int | None,
    images: Path | None,
    effort: str,
    min_time: float | None,
    min_count: int | None,
    prompt_rate: tuple[int, ...] | None,
    sustained: float | None,
    deadline: float | None,
    stream: Path | None,
    box: tuple[float, float, float, float] | None,
    ask_every: int,
    output_path: Path | None,
) -> None:
    """Time every stage, in fresh processes that take turns on the same images and prompts.

    A percentile is printed where the count supports it: p90 from 64 samples, p95 from 130, p99 from
    662. No sample is dropped. docs/benchmarking.md has the method. A bundle of target web is
    measured in a browser: its page is opened, and `decode` is from a click to the painted mask.
    """
    from samedge.benchmark import named
    from samedge.cli.bench_page import page_record, refuse_for_pages
    from samedge.cli.bench_stream import bench_stream
    from samedge.web.benching import PagePlan, chosen_pages

    _refuse_lost(stream, output_path)
    if stream is not None:
        bench_stream(
            out,
            stream,
            subjects=named.chosen_subjects(bundles, backends=backends, devices=devices),
            box=box,
            ask_every=ask_every,
            threads=threads,
            output_path=output_path,
        )
        return
    pages = chosen_pages(bundles, backends=backends)
    if pages:
        given = [("--device", devices), ("--min-time", min_time), ("--prompt-rate", prompt_rate)]
        refuse_for_pages([*given, ("--sustained", sustained), ("--deadline", deadline)])
        plan = PagePlan(images=images, effort=effort, min_count=min_count, threads=threads)
        record = page_record(out, pages, plan=plan)
    else:
        with out.progress("Measuring") as bar:
            record = named.bench(
                bundles,
                backends=backends,
                devices=devices,
                threads=threads,
                images=images,
                effort=effort,
                min_time_s=min_time,
                min_count=min_count,
                prompts_per_frame=prompt_rate or (),
                sustained_minutes=sustained or 0.0,
                deadline_ms=deadline,
                progress=bar.progress,
                stage=bar.stage,
            )
    _tell(out, record, output_path)


def _refuse_lost(stream: Path | None, output_path: Path | None) -> None:
    """Say which options mean nothing with a recording, or without one, and where no record goes."""
    refuse_output(output_path)
    if stream is None:
        refuse_given("A benchmark without --stream", "box", "ask_every")
        return
    times = ("effort", "min_time", "min_count", "deadline")
    refuse_given("--stream", "images", "prompt_rate", "sustained", *times)


def _tell(out: output.Output, record: BenchRecord, output_path: Path | None) -> None:
    import msgspec

    from samedge import records
    from samedge.report.verdicts import bench_verdict

    record = msgspec.structs.replace(record, command=output.command_line())
    if output_path is not None:
        records.write(record, output_path)
        out.note(f"wrote {output_path}")
    for warning in record.warnings:
        out.note(f"warning: {warning}")
    verdict = bench_verdict(record)
    out.result(records.fields(record), _table(record.results), *_remarks(record), verdict)


def _table(rows: Sequence[StageRow]) -> Table:
    columns = ("Stage", "n", "p50 ms", "p90", "p95", "p99", "mean", "min", "CoV", "cold", "Bundle")
    table = output.table(*columns)
    for row in rows:
        where = f"{row.bundle} {row.precision or ''} on {row.backend} {row.device or ''}"
        table.add_row(
            *(row.stage, str(row.n)),
            *map(_ms, (row.p50_ms, row.p90_ms, row.p95_ms, row.p99_ms, row.mean_ms, row.min_ms)),
            "-" if row.cov is None else f"{row.cov:.1%}",
            _ms(row.cold_ms),
            " ".join(where.split()),
        )
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _remarks(record: BenchRecord) -> list[str]:
    """Memory, what may be said about who is faster, prompt rates, sustained load, deadlines."""
    from samedge.cli.bench_page import page_remarks
    from samedge.report.overview import claim

    lines = [*page_remarks(record.pages)]
    for row in record.results:
        if row.stage == "end_to_end" and row.peak_rss_bytes is not None:
            size = (
                "" if row.artifact_bytes is None else f", files {row.artifact_bytes / 1e6:.1f} MB"
            )
            peak = row.peak_rss_bytes / 1e6
            lines.append(f"{row.bundle} on {row.backend}: peak memory {peak:.0f} MB{size}")
    for where in record.residency:
        shares = ", ".join(f"{share:.0%} {engine}" for engine, share in where.shares.items())
        lines.append(f"{where.bundle} on {where.backend}: {where.role} {shares}")
    said = (claim(pair, label_of={}) for pair in record.comparisons)
    lines += [sentence for sentence in said if sentence]
    for rate in record.prompt_rate:
        lines.append(
            f"{rate.bundle} on {rate.backend}: {rate.prompts_per_frame} prompts a frame, "
            f"{rate.frames_per_s:.1f} frames/s"
        )
    for long in record.sustained:
        lines.append(
            f"{long.bundle} on {long.backend}: after {long.seconds / 60:g} min "
            f"{long.slowdown:.2f} times the first latency ({long.last_p50_ms:.1f} ms)"
        )
    words = {True: "yes", False: "no", None: "cannot tell"}
    for verdict in record.deadline:
        lines.append(
            f"{verdict.bundle} on {verdict.backend} within {verdict.deadline_ms:g} ms: "
            f"{words[verdict.met]}: {verdict.why}"
        )
    return lines


COMMAND = bench
