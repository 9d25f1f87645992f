"""samedge inside of frozen programs: where PyInstaller finds its hook.

The wheel names :func:`hook_folders` as an entry point, so that ``pyinstaller app.py`` takes along
the embedded models, the plug-ins, which are listed by their file names, and the backends that are
installed. A program that needs torch imports it itself.
"""

from __future__ import annotations

from pathlib import Path


def hook_folders() -> list[str]:
    """Folders with hooks, as PyInstaller asks for them."""
    return [str(Path(__file__).parent)]
