"""How far a run is, on standard error."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

    from samedge.distill.validation import Validation


_SECONDS_A_LINE = 10.0


class Progress(Protocol):
    """What the trainer tells whoever watches."""

    def run(self, total: int, *, done: int) -> contextlib.AbstractContextManager[None]:
        """Show a run of ``total`` steps, of which some are done, while the context lasts."""
        ...

    def step(
        self, done: int, values: Mapping[str, float], *, validation: Validation | None
    ) -> None:
        """Show the figures after ``done`` steps of the run."""
        ...

    def say(self, text: str) -> None:
        """Show what a preparation is doing; called often."""
        ...


class NoProgress:
    """Shows nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    @contextlib.contextmanager
    def run(self, total: int, *, done: int) -> Iterator[None]:  # noqa: ARG002
        """Do nothing."""
        yield

    def step(
        self, done: int, values: Mapping[str, float], *, validation: Validation | None
    ) -> None:
        """Do nothing."""


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
            bars.TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)
        self._total, self._said = 1, -1
        self._last_line = time.monotonic()

    @contextlib.contextmanager
    def run(self, total: int, *, done: int) -> Iterator[None]:
        """Show the bar while the context lasts."""
        self._bar.update(self._task, total=total, completed=done)
        self._total = total
        with self._bar:
            yield

    def step(
        self, done: int, values: Mapping[str, float], *, validation: Validation | None
    ) -> None:
        """Move the bar; without a terminal, say a line every hundredth of the run."""
        text = describe(values, validation)
        self._bar.update(self._task, completed=done, description=text)
        share = done * 100 // self._total
        if not self.console.is_terminal and share > self._said:
            self._said = share
            self.console.print(f"step {done}/{self._total} | {text}", markup=False)

    def say(self, text: str) -> None:
        """Show it beside the bar; without a terminal, as a line at most every ten seconds."""
        self._bar.update(self._task, description=text)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._last_line > _SECONDS_A_LINE:
            self._last_line = now
            self.console.print(text, markup=False)
