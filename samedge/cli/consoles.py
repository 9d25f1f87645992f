"""Consoles that print what others wrote as text, and never as orders to the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from samedge.files.lines import printable, printable_line


class WordsConsole(Console):
    """rich's console; control characters in texts, such as a stranger's licence, are shown.

    A text that is printed is one line: line breaks in it are those of a file's name.
    """

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich's."""
        super().print(*map(_on_one_line, objects), **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As rich's. What rich itself says to the terminal, colours among it, is no text."""
        for segment in super().render(renderable, options):
            is_text = not segment.control and not segment.text.isprintable()
            yield Segment(printable(segment.text), segment.style) if is_text else segment


class WordsTable(Table):
    """rich's table; a text in a cell is one line."""

    def add_row(self, *cells: RenderableType | None, **how: Any) -> None:
        """As rich's."""
        super().add_row(*map(_on_one_line, cells), **how)


def _on_one_line(shown: Any) -> Any:
    if isinstance(shown, Table):
        shown.title, shown.caption = _on_one_line(shown.title), _on_one_line(shown.caption)
    return printable_line(shown) if isinstance(shown, str) else shown


def console(file: TextIO, *, width: int | None = None, is_quiet: bool = False) -> Console:
    """A console in the one style of this command line.

    Args:
        file: where it prints.
        width: of a line, in characters; ``None`` takes the terminal's.
        is_quiet: print nothing.
    """
    return WordsConsole(file=file, width=width, quiet=is_quiet, highlight=False, soft_wrap=True)
