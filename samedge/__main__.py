"""``python -m samedge`` and ``samedge`` are the command line."""

from __future__ import annotations

import os
import sys

from samedge._version import __version__


def main() -> None:
    """Entry point: the version at once, everything else by :func:`samedge.cli.main`."""
    if sys.argv[1:] == ["--version"] and sys.stdout is not None:
        try:  # without click, a third of the time
            os.write(1, f"samedge, version {__version__}\n".encode())
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


if __name__ == "__main__":
    main()
