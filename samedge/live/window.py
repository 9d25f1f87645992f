"""A window that shows the newest overlay, through Tk, which comes with Python."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from PIL import Image

from samedge.errors import BackendUnavailableError
from samedge.live.sinks.base import Drawn

_FIX = "sudo apt-get install python3-tk, or leave the window away with --no-window"


def has_display() -> bool:
    """Whether there is a screen to open a window on."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Window:
    """One window; to be used from the thread that made it."""

    def __init__(self, title: str) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise BackendUnavailableError(f"A window needs Tk ({error}): {_FIX}") from error
        try:
            self._root: Any = tkinter.Tk()
        except tkinter.TclError as error:
            raise BackendUnavailableError(f"No window can be opened ({error}): {_FIX}") from error
        self._root.title(title)
        self._make = ImageTk.PhotoImage
        self._picture: Any = None
        self._label: Any = tkinter.Label(self._root)
        self._label.pack()
        self._is_open = True
        self._root.protocol("WM_DELETE_WINDOW", self._closed)
        self._root.bind("<Escape>", lambda _: self._closed())

    def show(self, drawn: Drawn) -> bool:
        """Show a frame; ``False`` once the user has closed the window."""
        assert drawn.overlay is not None
        if self._is_open:
            self._picture = self._make(Image.fromarray(drawn.overlay))  # Tk keeps no reference
            self._label.configure(image=self._picture)
            self._root.update()
        return self._is_open

    def close(self) -> None:
        """Take the window away."""
        self._root.destroy()

    def _closed(self) -> None:
        self._is_open = False


@contextlib.contextmanager
def showing(title: str) -> Iterator[Window]:
    """A window for as long as the context lasts.

    Raises:
        BackendUnavailableError: there is no Tk, or no screen.
    """
    window = Window(title)
    try:
        yield window
    finally:
        window.close()
