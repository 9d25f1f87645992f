"""How far long work is: a bar where there is a terminal, else a line every few seconds."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from samedge.files.lines import printable_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, TaskID

SECONDS = 10.0
"""Between two lines where there is no terminal; shorter work says nothing there."""


class Bar:
    """How far the work is. Its methods are the listeners of long work.

    Attributes:
        done: steps.
        total: of them; 0 where nobody knows.
        words: what it is at.
    """

    def __init__(self, total: int | None = None) -> None:
        self.done, self.total, self.words = 0, total or 0, ""

    def __call__(self, steps: int = 1, *, note: str = "") -> None:
        """So many steps more are done; the note says what comes next."""
        self.words = printable_line(note) or self.words
        self.progress(self.done + steps, self.total)

    def progress(self, done: int, total: int) -> None:
        """A :data:`~samedge.types.Progress`."""
        self.done, self.total = done, total
        self._show()

    def stage(self, words: str) -> None:
        """A :data:`~samedge.types.Stage`."""
        self.words = printable_line(words)
        self._show()

    def _show(self) -> None:
        """Draw what has changed; a plain bar is read by whoever prints lines."""


class _RichBar(Bar):
    def __init__(self, bar: Progress, task: TaskID, total: int | None) -> None:
        super().__init__(total)
        self._bar, self._task = bar, task

    def _show(self) -> None:
        self._bar.update(self._task, completed=self.done, total=self.total or None, note=self.words)


@contextlib.contextmanager
def drawn(console: Console, description: str, *, total: int | None) -> Iterator[Bar]:
    """A bar on a terminal, gone when the work is done."""
    from rich import progress as bars

    columns: Sequence[ProgressColumn] = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[note]}", markup=False),
    )
    with bars.Progress(*columns, console=console, transient=True) as bar:
        yield _RichBar(bar, bar.add_task(description, total=total, note=""), total)


@contextlib.contextmanager
def lines(console: Console, description: str, *, total: int | None) -> Iterator[Bar]:
    """A line every ``SECONDS``, whether anything moves or not: logs show that it is alive."""
    bar, ended = Bar(total), threading.Event()
    start = time.monotonic()

    def print_lines() -> None:
        while not ended.wait(SECONDS):
            seconds = time.monotonic() - start
            console.print(f"{description}: {_words(bar)}{seconds:.0f} s", markup=False)

    thread = threading.Thread(target=print_lines, name="samedge-lines", daemon=True)
    thread.start()
    try:
        yield bar
    finally:
        ended.set()
        thread.join()


def _words(bar: Bar) -> str:
    steps = f"{bar.done} of {bar.total}, " if bar.total else f"{bar.done} steps, "
    return (steps if bar.done or bar.total else "") + (f"{bar.words}, " if bar.words else "")
