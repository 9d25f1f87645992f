"""The page of the documentation that ``limits.py page`` makes of its records."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from limits_record import Curve, Record, StageRow

from samedge.report.drawing import COLORS, canvas, log_axis, svg_text

_INK = {"ink": "#808890", "axis": "#808890", "grid": "#80889055"}
"""Of a picture that stands alone, on a light page or a dark one."""

_OVER = {
    "pixels": ("megapixels of the picture", "Size of the picture", "a megapixel"),
    "prompts": ("prompts in one call", "Prompts", "a prompt"),
    "objects": ("objects, masks of 1920 x 1080", "Objects", "an object"),
    "threads": ("threads", "Threads", "exponent"),
}
_HEAD = """\
<!-- Made by `python benchmarks/limits.py page`: change the script or the records, not the page. -->

# How far from the limit

Each stage against what the processor reaches in a matrix product and in a copy of memory, measured
in turns in one run, and how costs grow. The *floor* is a bound: the longer of the stage's
operations at the product's rate and of its bytes (weights, inputs and outputs, each once) at the
copy's. A stage far above its floor is where the next gain lies; near it only a better algorithm
helps. A share above one happens: a convolution by Winograd's method takes fewer operations than are
counted, and what fits in a cache moves faster than memory. A wide interval, or two threads slower
than one, says that other programs took the processor meanwhile.
"""


def write_page(records: Sequence[Record], output: Path) -> None:
    """Write the page, and its pictures into ``images`` beside it."""
    images = output.parent / "images"
    images.mkdir(exist_ok=True)
    for index, record in enumerate(records):
        for over in _curves_over(record):
            path = images / _picture(index, over)
            path.write_text(_drawn(record, over))
    output.write_text(page_text(records))


def page_text(records: Sequence[Record]) -> str:
    """The page in Markdown."""
    return "\n".join([_HEAD, *(_section(record, index) for index, record in enumerate(records))])


def _section(record: Record, index: int) -> str:
    machine = record.environment
    isa = ", ".join(flag for flag in machine.isa or [] if flag.startswith(("avx", "amx", "neon")))
    packages = machine.packages
    versions = ", ".join(f"{n} {packages[n]}" for n in ("onnxruntime", "openvino") if n in packages)
    lines = [
        f"## {machine.cpu}, {machine.cores} cores",
        "",
        f"{record.created[:10]}, {isa}; {machine.os}, Python {machine.python}, {versions}, samedge "
        f"{record.samedge_version}. One {record.frame} picture and one click; medians with their "
        "95% intervals.",
        "",
        f"    {record.command}",
        "",
        f"| | n | reaches |\n|---|---|---|\n{_peaks(record)}",
        "",
        "| subject | stage | ms | floor, ms | times floor | of the product | of the copy |",
        "|---|---|---|---|---|---|---|",
        *map(_stage_line, record.stages),
        "",
        _lever(record.stages),
    ]
    for over in _curves_over(record):
        lines += ["", *_curve_lines(record, over, index)]
    return "\n".join(lines) + "\n"


def _peaks(record: Record) -> str:
    return "\n".join(
        f"| copy of memory | {p.n} | {p.per_second / 1e9:.1f} GB/s read and written |"
        if p.name == "copy"
        else f"| product of {record.side} x {record.side}, {_computed(p.name, record)} | {p.n} | "
        f"{p.per_second / 1e9:.0f} G{'OP' if p.name == 'int8' else 'FLOP'}/s |"
        for p in record.peaks
    )


def _computed(precision: str, record: Record) -> str:
    """A precision, and what the processor computes it in where it has no arithmetic of its own."""
    flags = " ".join(record.environment.isa or [])
    own = {"bf16": ("bf16", "amx"), "int8": ("vnni", "amx", "dot", "i8mm")}.get(precision)
    has_own = own is None or any(word in flags for word in own)
    return precision if has_own else f"{precision} (wider inside: no instructions for it)"


def _stage_line(row: StageRow) -> str:
    product = "" if row.share_of_product is None else f"{row.share_of_product:.0%}"
    return (
        f"| {row.subject} | {row.stage} | {row.p50_ms:.2f} ({row.low_ms:.2f} to {row.high_ms:.2f}) "
        f"| {row.floor_ms:.2f} | {row.p50_ms / row.floor_ms:.1f} | {product} "
        f"| {row.share_of_copy:.0%} |"
    )


def _lever(rows: Sequence[StageRow]) -> str:
    """Which stage of each subject is the most milliseconds above its floor."""
    parts = []
    for subject in dict.fromkeys(row.subject for row in rows):
        own = [row for row in rows if row.subject == subject]
        far = max(own, key=lambda row: row.p50_ms - row.floor_ms)
        parts.append(f"{subject}: {far.stage}, {far.p50_ms - far.floor_ms:.1f} ms above its floor")
    return f"The next lever. {'; '.join(parts)}."


def _curves_over(record: Record) -> Iterator[str]:
    yield from (over for over in _OVER if any(c.over == over for c in record.curves))


def _curve_lines(record: Record, over: str, index: int) -> Iterator[str]:
    label, title, unit = _OVER[over]
    own = [curve for curve in record.curves if curve.over == over]
    what = "exponent (-1: twice the threads, half the time)" if over == "threads" else f"ms {unit}"
    yield from (f"### {title}", "", f"![{title}: ms over {label}](images/{_picture(index, over)})")
    yield from (
        "",
        f"| subject | stage | from, to, ms | {what} | 95% interval |",
        "|---|---|---|---|---|",
    )
    for c in own:
        ends = ", ".join(f"{ms:.2f} at {x:.3g}" for x, ms in (c.points[0], c.points[-1]))
        yield f"| {c.subject} | {c.stage} | {ends} | {c.slope:.3f} | {c.low:.3f} to {c.high:.3f} |"


def _picture(index: int, over: str) -> str:
    return f"limits-{index}-{over}.svg"


def _drawn(record: Record, over: str) -> str:
    """Every curve over one thing, both axes logarithmic."""
    label, title, _ = _OVER[over]
    own = [curve for curve in record.curves if curve.over == over]
    with canvas(2.6 + 0.2 * len(own)) as (drawn, axes):
        for place, curve in enumerate(own):
            xs, ys = zip(*curve.points, strict=True)
            axes.plot(xs, ys, marker="o", markersize=4, label=_legend(curve), **_style(place, own))
        log_axis(axes, "x")
        log_axis(axes, "y")
        axes.set_xlabel(label)
        axes.set_ylabel("ms")
        drawn.legend(loc="outside upper left", fontsize=8)
    text = svg_text(drawn, f"limits-{over}", title=f"{title}: ms over {label}")
    for name, color in _INK.items():
        text = text.replace(f"var(--{name})", color)
    return text.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1) + os.linesep


def _style(place: int, curves: Sequence[Curve]) -> dict[str, str]:
    """A colour a stage, and a line a subject."""
    stages = list(dict.fromkeys(curve.stage for curve in curves))
    subjects = list(dict.fromkeys(curve.subject for curve in curves))
    curve = curves[place]
    return {
        "color": COLORS[stages.index(curve.stage) % len(COLORS)],
        "linestyle": ("-", "--", ":", "-.")[subjects.index(curve.subject) % 4],
    }


def _legend(curve: Curve) -> str:
    _, _, unit = _OVER[curve.over]
    slope = (
        f"exponent {curve.slope:.2f}" if curve.over == "threads" else f"{curve.slope:.2f} ms {unit}"
    )
    return f"{curve.subject}, {curve.stage}: {slope}"
