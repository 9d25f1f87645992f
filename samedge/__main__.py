"""``python -m samedge`` and ``samedge`` are the command line."""

from __future__ import annotations

import sys

from samedge._version import __version__


def main() -> None:
    """Entry point: the version and a known help at once, all else by :func:`samedge.cli.main`."""
    words = sys.argv[1:]
    if words == ["--version"]:
        print(f"samedge, version {__version__}")  # noqa: T201 - without click, a third of the time
        return
    if words[-1:] in (["--help"], ["-h"]) and _is_helped(words):
        return
    from samedge.cli import main as command_line

    command_line()


def _is_helped(words: list[str]) -> bool:
    """Print the help of a command where it is remembered; whether it was."""
    from samedge.files import help_memory

    command = help_memory.asked(words)
    text = None if command is None else help_memory.recalled(command)
    if text is None or not text.isascii() or sys.stdout is None:
        return False
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:  # a closed pipe: the command line meets it, too, and has an exit code for it
        return False
    return True


if __name__ == "__main__":
    main()
