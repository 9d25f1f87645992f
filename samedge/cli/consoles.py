"""Consoles that print what others wrote as text, and never as orders to the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from samedge.cli.failures import printable


class WordsConsole(Console):
    """rich's console; control characters in texts, such as a stranger's licence, are shown."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As rich's. What rich itself says to the terminal, colours among it, is no text."""
        for segment in super().render(renderable, options):
            is_text = not segment.control and not segment.text.isprintable()
            yield Segment(printable(segment.text), segment.style) if is_text else segment


def console(file: TextIO, *, width: int | None = None, is_quiet: bool = False) -> Console:
    """A console in the one style of this command line.

    Args:
        file: where it prints.
        width: of a line, in characters; ``None`` takes the terminal's.
        is_quiet: print nothing.
    """
    return WordsConsole(file=file, width=width, quiet=is_quiet, highlight=False, soft_wrap=True)
