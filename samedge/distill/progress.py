"""How far a run is, on standard error."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from samedge.files.lines import printable_line

if TYPE_CHECKING:
    from rich.console import Console

    from samedge.distill.validation import Validation


_SECONDS_A_LINE = 10.0


def describe(values: Mapping[str, float], validation: Validation | None) -> str:
    """One line of figures: loss, train IoU, held-out mIoU, speed and the loader's share."""
    text = f"loss {values['loss']:.3f}"
    if "iou" in values:
        text += f" | train IoU {values['iou']:.3f}"
    if validation is not None:
        text += f" | mIoU box {validation.box_miou:.3f} point {validation.point_miou:.3f}"
    speed = values["images_per_second"]
    return f"{text} | {speed:.1f} images/s, {values['loader_share']:.0%} waiting for data"


class TerminalProgress:
    """A progress bar with the current figures; plain lines where there is no terminal.

    A context manager, with the two listeners of :func:`samedge.distill.train.distill`.

    Args:
        console: writes to standard error.
    """

    def __init__(self, console: Console) -> None:
        from rich import progress as bars

        self.console = console
        self._bar = bars.Progress(
            bars.BarColumn(bar_width=20),
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.description}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)
        self._words, self._said = "", 0
        self._last_line = time.monotonic()

    def __enter__(self) -> TerminalProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def progress(self, done: int, total: int) -> None:
        """Move the bar; without a terminal, say a line every hundredth of the run."""
        self._bar.update(self._task, completed=done, total=total)
        share = done * 100 // max(total, 1)
        if self._words and share > self._said:
            self._said = share
            self._line(f"step {done}/{total} | {self._words}")
        self._words = ""

    def stage(self, words: str) -> None:
        """Show it beside the bar; without a terminal, preparations as a line every ten seconds."""
        words = printable_line(words)  # they name files
        self._bar.update(self._task, description=words)
        if self._words and time.monotonic() - self._last_line > _SECONDS_A_LINE:
            self._line(self._words)  # no step came of it
        self._words = words

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        if not self.console.is_terminal:
            self.console.print(text, markup=False)
