"""The report's drawing board: matplotlib figures as SVG that takes its ink from the page.

Text, axes and grid are drawn in placeholder colours that the page's style sheet replaces, so that
one drawing serves light and dark. Data colours are those of Okabe and Ito, which hold in both.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from samedge.report.overview import Overview

INK, AXIS, GRID = "#010101", "#020202", "#030303"
COLORS = ("#0a84c6", "#e08a00", "#00996b", "#c75f9b", "#d2491b", "#7a6ff0", "#5b8c9e", "#9a8a00")
WIDTH_IN = 4.5
ROW_IN = 0.42
_LONGEST = 62

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "samedge",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": AXIS,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": AXIS,
    "ytick.color": AXIS,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "legend.frameon": False,
}


@contextmanager
def canvas(height_in: float) -> Iterator[tuple[Figure, Any]]:
    """An empty figure of the page's width with one pair of axes, in the page's style."""
    with mpl.rc_context(_STYLE):
        drawn = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        yield drawn, drawn.add_subplot()


def svg_text(drawn: Figure, name: str, *, title: str) -> str:
    """The figure as an inline SVG element with ids of its own and the page's ink."""
    stream = io.StringIO()
    with mpl.rc_context(_STYLE):
        drawn.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for placeholder, variable in ((INK, "ink"), (AXIS, "axis"), (GRID, "grid")):
        text = text.replace(placeholder, f"var(--{variable})")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    head = re.search(r'viewBox="[^"]+"', text)
    assert head is not None
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {head.group()} role="img" aria-label="{title}">'
    )
    return re.sub(r"<svg[^>]*>", opening, text, count=1).replace(
        ' xmlns:xlink="http://www.w3.org/1999/xlink"', ""
    )


def colors(overview: Overview) -> dict[str, str]:
    """One colour a subject, the same in every figure."""
    return {e.label: COLORS[i % len(COLORS)] for i, e in enumerate(overview.subjects)}


def log_axis(axes: Any, axis: str, *, base: float = 10) -> None:
    """A logarithmic axis with plain numbers."""
    getattr(axes, f"set_{axis}scale")("log", base=base)
    ticks = getattr(axes, f"{axis}axis")
    if base == 10:
        ticks.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ticks.set_minor_formatter(NullFormatter())


def bars_height(count: int) -> float:
    """Height of a figure with so many horizontal bars, with room for axis and legend."""
    return 1.15 + ROW_IN * max(count, 1)


def fitted(label: str, length: int = _LONGEST) -> str:
    """A name that fits the figure's width; the tables have it whole."""
    return label if len(label) <= length else f"{label[: length - 1].rstrip()}…"


def label_bars(axes: Any, labels: Sequence[str], *, rise: float = 12) -> None:
    """Write the names above their bars: on a phone there is no room beside them."""
    axes.set_yticks([])
    axes.grid(axis="y", visible=False)
    for index, label in enumerate(labels):
        written = axes.annotate(
            "\n".join(map(fitted, label.split("\n"))),
            (0, index),
            xytext=(2, rise),
            textcoords="offset points",
            xycoords=("axes fraction", "data"),
            va="bottom",
            ha="left",
            fontsize=9,
        )
        written.set_in_layout(False)  # a long name must not push the axes together
    axes.set_ylim(len(labels) - 0.5, -0.75)
    if axes.get_xscale() == "linear":
        axes.locator_params(axis="x", nbins=6)
    axes.spines["left"].set_visible(False)
