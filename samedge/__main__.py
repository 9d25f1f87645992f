"""``python -m samedge`` and ``samedge`` are the command line."""

from __future__ import annotations

import os
import sys

from samedge._version import __version__

_HELP = os.path.join(os.path.dirname(__file__), "cli", "help")
_USUAL_COLUMNS = 80  # what help pages are laid out for, and the widest that click makes them


def main() -> None:
    """Entry point: version and help at once, everything else by :func:`samedge.cli.main`."""
    page = _page(sys.argv[1:])
    if page is not None and sys.stdout is not None:
        try:  # without click, whose import takes longer than all the rest
            while page:  # a pipe or a disk that is nearly full takes a part, and refuses the rest
                page = page[os.write(1, page) :]
            return
        except OSError:
            pass  # the command line, below, comes to the same and says it
    import signal

    listens = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if listens:  # Ctrl-C while it is imported ends it as any other program: nothing is begun yet
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from samedge.cli import main as command_line

    if listens:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command_line()


def _page(words: list[str]) -> bytes | None:
    """What is printed for ``--version``, ``--help`` and ``COMMAND --help``, where that is known.

    Help comes from the pages that ``tools/help_pages.py`` writes; click makes it for narrower
    terminals and for other names of the program.
    """
    if words == ["--version"]:
        return f"samedge, version {__version__}\n".encode()
    if not 1 <= len(words) <= 2 or words[-1] not in {"-h", "--help"}:
        return None
    is_command = len(words) == 2
    if is_command and not (words[0].isalpha() and words[0].islower()):
        return None
    program = os.path.basename(sys.argv[0]).removesuffix(".exe")
    if program != "samedge" or _columns() < _USUAL_COLUMNS:
        return None
    page = words[0] if is_command else "_samedge"
    try:
        with open(os.path.join(_HELP, f"{page}.txt"), "rb") as stream:
            return stream.read()
    except OSError:
        return None


def _columns() -> int:
    """Width of the terminal, as click finds it."""
    try:
        return int(os.environ["COLUMNS"]) or _terminal_columns()
    except (KeyError, ValueError):
        return _terminal_columns()


def _terminal_columns() -> int:
    try:
        return os.get_terminal_size(1).columns or _USUAL_COLUMNS
    except OSError:  # a file or a pipe
        return _USUAL_COLUMNS


if __name__ == "__main__":
    main()
