"""The sensitivities as a picture: what every part of a model loses in INT8, and what it gains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from samedge.errors import BackendUnavailableError, OptionError
from samedge.files.writing import replacing
from samedge.machine.libraries import keep_fonts_in_cache

if TYPE_CHECKING:
    from samedge.calibration.search import Search

_ROW_IN = 0.24
_INT8, _FLOAT = "#0a84c6", "#e08a00"


_ENDINGS = (".svg", ".png", ".pdf")


def check_plot(path: Path | None) -> None:
    """Refuse a plot that could not be drawn before the search, which takes hours.

    Args:
        path: of the file; ``None`` is none.

    Raises:
        BackendUnavailableError: matplotlib is not installed.
        OptionError: another ending.
    """
    if path is None:
        return
    if path.suffix.lower() not in _ENDINGS:
        raise OptionError(f"{path} is no plot's file: end it in {', '.join(_ENDINGS)}.")
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise BackendUnavailableError(
            "A plot needs matplotlib: pip install 'samedge[report]'"
        ) from error
    del mpl


def save_plot(search: Search, path: Path) -> None:
    """Draw the drop of every part, the worst on top, and beside it its latency.

    Args:
        search: from :func:`samedge.calibration.search.find_plan`.
        path: an ``.svg``, ``.png`` or ``.pdf`` file.

    Raises:
        BackendUnavailableError: matplotlib is not installed.
        OptionError: another ending.
        WriteError: it cannot be written.
    """
    keep_fonts_in_cache()
    check_plot(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    height = 1.4 + _ROW_IN * len(search.drops)
    drawn = Figure(figsize=(9, height), layout="constrained")
    left, right = drawn.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    names = [found.group for found in search.drops]
    kept = [search.plan.is_quantized(name) for name in names]
    shades = [_INT8 if quantized else _FLOAT for quantized in kept]
    left.barh(names, [found.drop for found in search.drops], color=shades)
    left.axvline(search.accuracy.max_drop, color="black", linewidth=0.8, linestyle="--")
    left.set_xlabel("mean IoU lost by this part alone (dashed: the budget of all)")
    _latencies(right, search)
    left.invert_yaxis()
    drawn.legend(handles=_legend(), loc="outside upper right", ncols=2, frameon=False)
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
    with (
        mpl.rc_context({"svg.fonttype": "none"}),  # names stay text
        replacing(path) as temporary,
    ):
        drawn.savefig(temporary, metadata=metadata)


def _latencies(axes: Any, search: Search) -> None:
    for row, found in enumerate(search.drops):
        if found.latency_ratio is not None:
            axes.plot(found.latency_ratio, row, "o", color=_FLOAT if found.is_slower else _INT8)
    axes.axvline(1.0, color="black", linewidth=0.8, linestyle="--")
    axes.set_xlabel("latency of its graph / float")


def _legend() -> list[Any]:
    from matplotlib.patches import Patch

    return [Patch(color=_INT8, label="INT8 in the plan"), Patch(color=_FLOAT, label="float")]
