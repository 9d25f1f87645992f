"""The report's tables as text, which the page and the Markdown share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from samedge.records import BenchRecord, Comparison, ExportRecord
from samedge.report.overview import Overview, ReportedSubject


def figure(value: float | None, digits: int = 2) -> str:
    """A number for people; a dash where nothing was measured."""
    return "–" if value is None else f"{value:.{digits}f}"


def latency(value: float | None) -> str:
    """Milliseconds with three significant digits."""
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def megabytes(value: int | None) -> str:
    """Bytes as MB (1,000,000 bytes)."""
    return "–" if value is None else f"{value / 1e6:.0f}" if value >= 1e8 else f"{value / 1e6:.1f}"


def summary_header(overview: Overview) -> list[str]:
    """Titles of the summary's columns."""
    titles = ["subject", "machine"] if len(overview.machines) > 1 else ["subject"]
    if overview.prompts:
        titles += [f"{prompt} mIoU" for prompt in overview.prompts] + ["boundary IoU"]
    if overview.benches:
        titles += ["end to end p50 ms", "p99 ms", "encode ms", "decode ms", "load ms"]
        titles += ["peak MB", "files MB"]
    return titles


def summary_row(overview: Overview, reported: ReportedSubject) -> list[str]:
    """One subject's cells, as ``summary_header`` names them."""
    cells = [reported.name]
    if len(overview.machines) > 1:
        cells.append(reported.machine or "–")
    if overview.prompts:
        cells += [_accuracy(reported, prompt) for prompt in overview.prompts]
        first = reported.accuracy.get(overview.prompts[0])
        cells.append(figure(first.boundary_iou if first else None, 3))
    if overview.benches:
        whole = reported.stages.get("end_to_end")
        cells += [latency(reported.p50("end_to_end")), latency(whole.p99_ms if whole else None)]
        cells += [latency(reported.p50(stage)) for stage in ("encode", "decode", "load")]
        cells.append(megabytes(whole.peak_rss_bytes if whole else None))
        cells.append(megabytes(whole.artifact_bytes if whole else None))
    return cells


def _accuracy(reported: ReportedSubject, prompt: str) -> str:
    row = reported.accuracy.get(prompt)
    if row is None or row.miou is None:
        return "–"
    return f"{row.miou:.3f}{_half(row.ci95)}"


def _half(interval: tuple[float, float] | None) -> str:
    """Half of an interval behind its figure; nothing where there is none."""
    return "" if interval is None else f" ±{(interval[1] - interval[0]) / 2:.3f}"


@dataclasses.dataclass(frozen=True)
class Table:
    """A titled table; the first column is the rows' heading."""

    title: str
    caption: str
    header: list[str]
    rows: list[list[str]]


def comparison_tables(overview: Overview) -> list[Table]:
    """How many times faster one subject is than another, one table a benchmark."""
    stages = ("load", "encode", "decode", "end_to_end")
    tables = []
    for source, record in overview.benches:
        labels = bench_names(overview, source, record=record)
        pairs: dict[tuple[str, str], dict[str, Comparison]] = {}
        for pair in record.comparisons:
            key = labels[tuple(pair.first)], labels[tuple(pair.second)]
            pairs.setdefault(key, {})[pair.stage] = pair
        rows = [
            _pair_row(names, found, stages)
            for names, found in pairs.items()
            if any(pair.speedup is not None for pair in found.values())
        ]
        if rows:
            machine = overview.machine_of(source)
            tables.append(
                Table(
                    f"Who is faster on {machine}",
                    "How many times faster the first is than the second, with the 95% interval of "
                    "interleaved pairs; ≈ where it holds 1, a dash where there are too few pairs.",
                    ["first, second", *(s.replace("_", " ") for s in stages), "also different"],
                    rows,
                )
            )
    return tables


def _pair_row(
    names: tuple[str, str], found: dict[str, Comparison], stages: Sequence[str]
) -> list[str]:
    """One pair's ratios, turned so that the faster one end to end stands first."""
    whole = found.get("end_to_end")
    turned = whole is not None and whole.speedup is not None and whole.speedup < 1
    cells = [_ratio(found.get(stage), turned=turned) for stage in stages]
    first, second = names[::-1] if turned else names
    differences = next(iter(found.values())).differences
    return [f"{first}, {second}", *cells, ", ".join(differences) or "–"]


def _ratio(pair: Comparison | None, *, turned: bool) -> str:
    if pair is None or pair.speedup is None or pair.ci95 is None:
        return "–"
    ratio, (low, high) = pair.speedup, pair.ci95
    if turned:
        ratio, low, high = 1 / ratio, 1 / high, 1 / low
    sign = "≈ " if pair.faster is None else ""
    return f"{sign}{ratio:.2f} ({low:.2f} to {high:.2f})"


def deadline_table(overview: Overview) -> Table | None:
    """Who meets its deadline, and why."""
    words = {True: "yes", False: "no", None: "cannot tell"}
    rows = [
        [
            overview.label(verdict, overview.machine_of(source)),
            f"{verdict.deadline_ms:g} ms",
            words[verdict.met],
            verdict.why,
        ]
        for source, record in overview.benches
        for verdict in record.deadline
    ]
    if not rows:
        return None
    caption = "At the 99th percentile of one image and one prompt."
    return Table("Deadlines", caption, ["subject", "limit", "met", "why"], rows)


def stream_table(overview: Overview) -> Table | None:
    """How old masks are on a recording at its own pace."""
    rows = [
        [
            overview.label(row, overview.machine_of(source)),
            row.source,
            latency(row.age_p50_ms),
            latency(row.age_p95_ms),
            figure(row.frames_per_s, 1),
            "–" if row.dropped_share is None else f"{row.dropped_share:.1%}",
        ]
        for source, record in overview.benches
        for row in record.stream
    ]
    if not rows:
        return None
    caption = "From the capture of a frame to its masks; frames a second include the encoder."
    header = ["subject", "recording", "age p50 ms", "age p95 ms", "frames/s", "dropped"]
    return Table("Age of masks", caption, header, rows)


def video_table(overview: Overview) -> Table | None:
    """How well objects are followed."""
    rows = [
        [
            overview.label(row),
            row.strategy,
            row.prompt,
            str(row.n),
            *(figure(value, 3) for value in (row.jf, row.j, row.f, row.j_recall, row.j_decay)),
        ]
        for _, record in overview.evaluations
        for row in record.video
    ]
    if not rows:
        return None
    caption = "By the protocol of DAVIS 2017, from a prompt in the first frame."
    header = ["subject", "follows by", "prompt", "n", "J&F", "J", "F", "J recall", "J decay"]
    return Table("Following objects", caption, header, rows)


def everything_table(overview: Overview) -> Table | None:
    """How much is found without prompts."""
    rows = [
        [
            overview.label(row),
            row.focus,
            str(row.n),
            *(figure(value, 3) for value in (row.ar_10, row.ar_100, row.ar_1000, row.best_iou)),
            *(figure(row.best_iou_by_size.get(size), 3) for size in ("small", "medium", "large")),
            figure(row.masks_an_image, 1),
            figure(row.clicks_an_image, 1),
        ]
        for _, record in overview.evaluations
        for row in record.everything
    ]
    if not rows:
        return None
    caption = (
        "Average recall of the best ranked masks, IoU 0.50 to 0.95, and the IoU of each object "
        "with the mask that fits it best."
    )
    header = ["subject", "focus", "n", "AR@10", "AR@100", "AR@1000", "best IoU"]
    header += ["small", "medium", "large", "masks an image", "clicks an image"]
    return Table("Everything", caption, header, rows)


def words_table(overview: Overview) -> Table | None:
    """How well words are found, beside what limits that."""
    rows = [
        [
            overview.label(row),
            row.focus,
            row.regions,
            row.words_by,
            str(row.pairs),
            figure(row.miou, 3) + _half(row.ci95),
            *(figure(value, 3) for value in (row.false_alarms, row.top1, row.chance)),
        ]
        for _, record in overview.evaluations
        for row in record.words
    ]
    if not rows:
        return None
    caption = (
        "The masks that a word finds against all that it names; false alarms are of words that the "
        "image does not show. Where the truth proposes or names, it says what limits the rest."
    )
    header = ["subject", "focus", "regions", "named by", "pairs", "mIoU", "false alarms", "top 1"]
    return Table("Words", caption, [*header, "most frequent word"], rows)


def pages_table(overview: Overview) -> Table | None:
    """What a bundle's page costs a browser, beside its latency."""
    rows = [
        [
            overview.label(row, overview.machine_of(source)),
            row.browser,
            row.engine,
            *map(megabytes, (row.site_bytes, row.transfer_bytes, row.peak_bytes, row.empty_bytes)),
            *map(megabytes, (row.footprint_bytes, row.empty_footprint_bytes, row.shared_bytes)),
            *map(latency, (row.canary_ms, row.encode_cpu_ms, row.click_cpu_ms)),
        ]
        for source, record in overview.benches
        for row in record.pages
    ]
    if not rows:
        return None
    header = ["subject", "browser", "engine", "site MB", "first visit MB", "resident MB"]
    header += ["empty page resident MB", "footprint MB", "empty page footprint MB", "shared MB"]
    header += ["check ms", "encode CPU ms", "click CPU ms"]
    caption = (
        "The first visit as a host would compress it; memory at its peak. Resident memory counts "
        "the browser's own program, which all tabs share; the footprint is what its task manager "
        "shows for a tab, without that and without memory shared between processes."
    )
    return Table("Pages in a browser", caption, header, rows)


def export_table(overview: Overview) -> Table | None:
    """What was exported, and how close the graphs are to the reference."""
    rows = []
    for _, record in overview.exports:
        parity = record.parity or {}
        artifacts = (
            f"{one.role} {one.precision} {megabytes(one.bytes)} MB" for one in record.artifacts
        )
        rows.append(
            [
                export_name(record),
                ", ".join(artifacts) or "–",
                *(figure(parity.get(key), 4) for key in _PARITY_KEYS),
                _VERDICTS.get(str(parity.get("passed")), "–"),
                figure(_largest_drop(record), 4),
            ]
        )
    if not rows:
        return None
    header = ["bundle", "artifacts", "mask IoU", "5th percentile", "lowest cosine", "passed"]
    header.append("largest mIoU drop")
    caption = (
        "Parity: the exported graphs' masks and embeddings against the torch reference. The drop "
        "is the largest of the kinds of prompt, against the same model in fp32."
    )
    return Table("Exports", caption, header, rows)


def _largest_drop(record: ExportRecord) -> float | None:
    rows = (record.accuracy or {}).get("rows") or ()
    return max((row["drop"] for row in rows if row.get("drop") is not None), default=None)


def export_name(record: ExportRecord) -> str:
    """What an exported bundle is called in a report."""
    return record.bundle.path or record.bundle.id or "bundle"


def plan_table(overview: Overview) -> Table | None:
    """Which modules run in which precision, and why; the most sensitive first."""
    rows = []
    for _, record in overview.exports:
        steps = sorted(record.plan, key=lambda step: -(step.get("drop") or 0.0))
        for step in steps:
            module = step.get("module") or step.get("name") or "all others"
            cells = [str(module), str(step.get("precision", "–")), str(step.get("reason") or "–")]
            rows.append([*cells, figure(step.get("drop"), 5), export_name(record)])
    if not rows:
        return None
    caption = "The drop in mask IoU when this module alone is quantized, where it was measured."
    return Table(
        "Precision by module", caption, ["module", "precision", "reason", "drop", "of"], rows
    )


def choices_table(overview: Overview) -> Table | None:
    """What ``--precision auto`` tried before it chose."""
    rows = [
        [
            str(choice.get("precision")),
            *(figure(choice.get(key), 3) for key in ("total_ratio", "size_ratio", "drop")),
            str(choice.get("verdict") or "–"),
            export_name(record),
        ]
        for _, record in overview.exports
        for choice in record.choices
    ]
    if not rows:
        return None
    header = ["precision", "latency", "size", "drop", "verdict", "of"]
    caption = "Latency and size as shares of fp32's; the drop is the mean over the kinds of prompt."
    return Table("What auto tried", caption, header, rows)


RECORD_TABLES = (
    *(stream_table, pages_table, video_table, everything_table, words_table),
    *(export_table, choices_table),
)
"""Of what has no place in the summary, in their order; each is left out without rows."""
_VERDICTS = {"True": "yes", "False": "no"}
_PARITY_KEYS = ("mask_iou_mean", "mask_iou_p05", "embedding_cosine_min")


def bench_names(
    overview: Overview, source: str, *, record: BenchRecord
) -> dict[tuple[str, ...], str]:
    """Names of one benchmark's subjects by their keys."""
    machine = overview.machine_of(source)
    return {row.key: overview.name(row, machine) for row in record.results}
