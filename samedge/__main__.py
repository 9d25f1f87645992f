"""``python -m samedge`` and ``samedge`` are the command line."""

from __future__ import annotations

import sys

from samedge._version import __version__


def main() -> None:
    """Entry point: the version at once, everything else by :func:`samedge.cli.main`."""
    if sys.argv[1:] == ["--version"]:
        print(f"samedge, version {__version__}")  # noqa: T201 - without click, a third of the time
        return
    from samedge.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
