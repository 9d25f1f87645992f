"""Files of one document for all images, written as they come and committed in one step."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TextIO

from samedge.errors import WriteError
from samedge.files.json_text import json_text
from samedge.files.writing import replacing


class GrowingFile:
    """A text file that takes its place when it is committed, and never before.

    Args:
        path: where it will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = contextlib.ExitStack()
        self._stream: TextIO | None = None
        self._failure: WriteError | None = None

    @property
    def is_open(self) -> bool:
        """Whether something was written and not committed yet."""
        return self._stream is not None

    def write(self, text: str) -> None:
        """Append text; what has no UTF-8 is escaped.

        Raises:
            WriteError: the file cannot be written.
        """
        if self._failure is not None:
            raise self._failure
        if self._stream is None:
            temporary = self._stack.enter_context(replacing(self.path))
            self._stream = self._stack.enter_context(
                temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")
            )
        try:
            self._stream.write(text)
        except OSError as error:
            self._abandon(error)

    def _abandon(self, error: OSError) -> None:
        """Remove what was written: half of a document is none, and more must not follow it."""
        self._stream = None
        try:
            self._stack.__exit__(type(error), error, error.__traceback__)
        except WriteError as named:  # about the file's own name
            self._failure = named
            raise
        raise error

    def commit(self) -> list[Path]:
        """Put the file in its place.

        Raises:
            WriteError: it cannot be written.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._stream is None:
            return []
        self._stream = None
        self._stack.close()
        return [self.path]


class GrowingList:
    """The entries of one JSON array inside of a growing file.

    Args:
        file: what it is a part of.
        before: text in front of the array, its bracket included.
    """

    def __init__(self, file: GrowingFile, before: str) -> None:
        self._file, self._before = file, before
        self.count = 0

    def extend(self, entries: list[object]) -> None:
        """Append entries, all or none of them."""
        texts = [json_text(entry) for entry in entries]
        start = self._before if not self._file.is_open else ""
        for text in texts:
            start += ("," if self.count else "") + "\n" + text
            self.count += 1
        self._file.write(start)
