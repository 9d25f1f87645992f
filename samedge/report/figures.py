"""The report's figures, each drawn where the records have data for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from samedge.records import BenchRecord, ExportRecord, StageRow
from samedge.report.drawing import (
    AXIS,
    COLORS,
    INK,
    bars_height,
    canvas,
    colors,
    fitted,
    label_bars,
    log_axis,
    svg_text,
)
from samedge.report.overview import RUN_STAGES, Overview
from samedge.report.text import export_name

LEGEND = 54
"""Characters of a name that fit beside its marker."""

_SCREEN_LOG_RATIO = 12
_WIDEST_SPREAD = 3.0
_MOST_MARKERS = 16


def figures(overview: Overview) -> list[tuple[str, str, str]]:
    """Every figure that the records have data for.

    Returns:
        ``(title, caption, svg)`` of each.
    """
    makers: tuple[Callable[[Overview], tuple[str, str, Figure] | None], ...] = (
        _scatter,
        _stages,
        _distributions,
        _clicks,
        _prompt_rate,
        _sustained,
        _memory,
        _precisions,
        _sensitivity,
    )
    made = (make(overview) for make in makers)
    return [
        (title, caption, svg_text(drawn, f"f{index}", title=title))
        for index, (title, caption, drawn) in enumerate(m for m in made if m is not None)
    ]


def _scatter(overview: Overview) -> tuple[str, str, Figure] | None:
    prompt = next(iter(overview.prompts), "")
    points = [
        (reported, reported.p50("end_to_end"), reported.miou(prompt))
        for reported in overview.subjects
    ]
    shown = [(e, x, y) for e, x, y in points if x is not None and y is not None]
    if not shown:
        return None
    shade = colors(overview)
    with canvas(3.1 + 0.2 * len(shown)) as (drawn, axes):
        for reported, x, y in shown:
            interval = reported.accuracy[prompt].ci95
            error = [[max(0.0, y - interval[0])], [max(0.0, interval[1] - y)]] if interval else None
            axes.errorbar(
                x,
                y,
                yerr=error,
                fmt="o",
                markersize=8,
                capsize=3,
                color=shade[reported.label],
                label=fitted(reported.label, LEGEND),
            )
        xs = [x for _, x, _ in shown]
        front = pareto_front([(x, y) for _, x, y in shown])
        if len(front) > 1:
            axes.step(*zip(*front, strict=True), where="post", color=AXIS, linewidth=1, zorder=0)
        if max(xs) > _SCREEN_LOG_RATIO * min(xs):
            log_axis(axes, "x")
        else:
            axes.set_xlim(0, max(xs) * 1.12)
        axes.margins(y=0.2)
        drawn.legend(loc="outside upper left", fontsize=9)
        axes.set_xlabel("one image and one prompt, p50, ms")
        axes.set_ylabel(f"{prompt} mIoU")
    caption = (
        "Up and to the left is better. Bars are 95% bootstrap intervals over images; the line "
        "joins the subjects that no other beats in both (the Pareto front of the estimates)."
    )
    return "Accuracy against latency", caption, drawn


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats: none is faster without being less accurate.

    Args:
        points: latency and accuracy of each.

    Returns:
        By rising latency; of equal points one.
    """
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def _stages(overview: Overview) -> tuple[str, str, Figure] | None:
    shown = [e for e in overview.subjects if e.p50("encode") is not None]
    if not shown:
        return None
    with canvas(bars_height(len(shown)) + 0.16 * len(shown)) as (drawn, axes):
        left = np.zeros(len(shown))
        for stage, color in zip(RUN_STAGES, COLORS, strict=False):
            values = np.array([reported.p50(stage) or 0.0 for reported in shown])
            axes.barh(range(len(shown)), values, left=left, height=0.4, color=color, label=stage)
            left += values
        for index, total in enumerate(left):
            axes.annotate(
                f"{total:.1f}",
                (total, index),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        label_bars(axes, [reported.label for reported in shown])
        axes.margins(x=0.1)
        axes.set_xlabel("ms (medians of the stages)")
        drawn.legend(loc="outside upper left", ncols=4, fontsize=9, handlelength=1)
    caption = (
        "One image and one prompt, stage by stage. The sum of the medians is not the median of "
        "whole frames: what is slow in one stage is seldom slow in the others too."
    )
    return "Where the time goes", caption, drawn


def _distributions(overview: Overview) -> tuple[str, str, Figure] | None:
    shown = [
        (reported, reported.stages["end_to_end"])
        for reported in overview.subjects
        if "end_to_end" in reported.stages and reported.stages["end_to_end"].histogram_ms
    ]
    if not shown:
        return None
    with canvas(bars_height(len(shown)) + 0.45 * len(shown)) as (drawn, axes):
        for index, (reported, row) in enumerate(shown):
            _hump(axes, row, index, colors(overview)[reported.label])
        label_bars(axes, [f"{e.label}\n{_spread(row)}" for e, row in shown], rise=13)
        axes.set_xlim(right=min(_WIDEST_SPREAD, axes.get_xlim()[1]))
        axes.set_xlabel("end to end, as a multiple of the subject's own median")
    caption = (
        "Every sample counts, outliers too. Ticks mark the median and, where the count supports "
        "it, the 99th percentile. Each hump is scaled to its own height."
    )
    return "How latencies are spread", caption, drawn


def _hump(axes: Any, row: StageRow, index: int, color: str) -> None:
    """One subject's histogram, standing on its line."""
    median = row.p50_ms or 1.0
    tallest = max(count for _, _, count in row.histogram_ms)
    for low, high, count in row.histogram_ms:
        axes.bar(
            low / median,
            -0.42 * count / tallest,
            width=(high - low) / median,
            bottom=index + 0.3,
            align="edge",
            color=color,
        )
    for value in (row.p50_ms, row.p99_ms):
        if value is not None:
            place = value / median
            axes.plot([place, place], [index + 0.3, index + 0.42], color=INK, linewidth=1.5)


def _spread(row: StageRow) -> str:
    p99 = "" if row.p99_ms is None else f", p99 {row.p99_ms:.1f}"
    return f"p50 {row.p50_ms:.1f}{p99}, max {row.max_ms:.1f} ms"


def _clicks(overview: Overview) -> tuple[str, str, Figure] | None:
    curves = []
    seen: set[tuple[str, tuple[float, ...]]] = set()  # one accuracy may serve several machines
    for reported in overview.subjects:
        longest = max(
            (r.miou_by_click for r in reported.accuracy.values() if r.miou_by_click),
            key=len,
            default=None,
        )
        if longest and len(longest) > 1 and (reported.name, tuple(longest)) not in seen:
            seen.add((reported.name, tuple(longest)))
            curves.append((reported.label, range(1, len(longest) + 1), longest))
    if not curves:
        return None
    drawn = _curves(overview, curves, x="clicks", y="mIoU")
    return "What more clicks bring", "Each click corrects the larger error.", drawn


def _curves(
    overview: Overview,
    curves: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    *,
    x: str,
    y: str,
    log: bool = False,
) -> Figure:
    shade = colors(overview)
    with canvas(3.1 + 0.2 * len(curves)) as (drawn, axes):
        for label, xs, ys in curves:
            axes.plot(
                xs,
                ys,
                marker="o" if len(xs) <= _MOST_MARKERS else None,
                markersize=4,
                color=shade.get(label),
                label=fitted(label, LEGEND),
            )
        if log:
            log_axis(axes, "x", base=2)
            log_axis(axes, "y")
        ticks = sorted({value for _, xs, _ in curves for value in xs})
        if len(ticks) <= 10:
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        drawn.legend(loc="outside upper left", fontsize=9)
    return drawn


def _by_subject(
    overview: Overview, pick: Callable[[BenchRecord], Sequence[Any]]
) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for source, record in overview.benches:
        for row in pick(record):
            found.setdefault(overview.label(row, overview.machine_of(source)), []).append(row)
    return found


def _prompt_rate(overview: Overview) -> tuple[str, str, Figure] | None:
    found = _by_subject(overview, lambda record: record.prompt_rate)
    curves = [
        (label, [r.prompts_per_frame for r in rows], [r.frames_per_s for r in rows])
        for label, rows in found.items()
    ]
    if not curves:
        return None
    drawn = _curves(overview, curves, x="prompts a frame", y="frames a second", log=True)
    return "Prompts a frame", "One encoder pass a frame, all prompts in one call.", drawn


def _sustained(overview: Overview) -> tuple[str, str, Figure] | None:
    found = _by_subject(overview, lambda record: record.sustained)
    curves = [
        (label, [at / 60 for at, _ in rows[-1].series], [ms for _, ms in rows[-1].series])
        for label, rows in found.items()
        if len(rows[-1].series) > 1
    ]
    if not curves:
        return None
    drawn = _curves(overview, curves, x="minutes", y="end to end, ms")
    return "Under sustained load", "Median of every five seconds.", drawn


def _memory(overview: Overview) -> tuple[str, str, Figure] | None:
    rows = [
        (e.label, e.stages["end_to_end"]) for e in overview.subjects if "end_to_end" in e.stages
    ]
    shown = [(label, row) for label, row in rows if row.peak_rss_bytes or row.artifact_bytes]
    if not shown:
        return None
    with canvas(bars_height(len(shown)) + 0.3 * len(shown)) as (drawn, axes):
        for offset, field, name, color in (
            (0.0, "artifact_bytes", "files", COLORS[1]),
            (0.22, "peak_rss_bytes", "peak memory of the process", COLORS[0]),
        ):
            values = [(getattr(row, field) or 0) / 1e6 for _, row in shown]
            places = [index + offset for index in range(len(shown))]
            bars = axes.barh(places, values, height=0.2, color=color, label=name)
            axes.bar_label(bars, [f"{v:.0f}" if v else "–" for v in values], padding=3, fontsize=8)
        label_bars(axes, [label for label, _ in shown])
        axes.margins(x=0.1)
        axes.set_xlabel("MB")
        drawn.legend(loc="outside upper left", ncols=2, fontsize=9, handlelength=1)
    return "Size and memory", "Peak resident memory from start to end; files as exported.", drawn


def _plan_of(record: ExportRecord) -> list[dict[str, Any]]:
    return [step for step in record.plan if _module(step) and step.get("precision")]


def _module(step: dict[str, Any]) -> str:
    return str(step.get("module") or step.get("name") or "")


def _precisions(overview: Overview) -> tuple[str, str, Figure] | None:
    plans = [(export_name(record), _plan_of(record)) for _, record in overview.exports]
    plans = [(name, plan) for name, plan in plans if plan]
    if not plans:
        return None
    kinds = sorted({str(step["precision"]) for _, plan in plans for step in plan})
    with canvas(bars_height(len(plans)) + 0.16 * len(plans)) as (drawn, axes):
        left = np.zeros(len(plans))
        for kind, color in zip(kinds, COLORS * len(kinds), strict=False):
            counts = [sum(str(step["precision"]) == kind for step in plan) for _, plan in plans]
            axes.barh(range(len(plans)), counts, left=left, height=0.4, color=color, label=kind)
            left += counts
        label_bars(axes, [name for name, _ in plans])
        axes.set_xlabel("modules")
        drawn.legend(loc="outside upper left", ncols=4, fontsize=9, handlelength=1)
    return "Precision plan", "How many modules run in which precision.", drawn


_MOST_MODULES = 20


def _sensitivity(overview: Overview) -> tuple[str, str, Figure] | None:
    several = sum(bool(_plan_of(record)) for _, record in overview.exports) > 1
    steps = [
        (
            f"{export_name(record)}: {_module(step)}" if several else _module(step),
            float(step["drop"]),
            str(step.get("precision", "")),
        )
        for _, record in overview.exports
        for step in [*record.sensitivity, *record.plan]
        if _module(step) and isinstance(step.get("drop"), int | float)
    ]
    worst = sorted(dict.fromkeys(steps), key=lambda step: -step[1])[:_MOST_MODULES]
    if not worst:
        return None
    with canvas(bars_height(len(worst)) + 0.16 * len(worst)) as (drawn, axes):
        axes.barh(range(len(worst)), [drop for _, drop, _ in worst], height=0.4, color=COLORS[4])
        label_bars(axes, [f"{name} ({precision})" for name, _, precision in worst])
        axes.set_xlabel("drop in mask IoU when this module alone is quantized")
    caption = f"The {len(worst)} most sensitive modules."
    return "Sensitivity", caption, drawn
