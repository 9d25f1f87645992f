"""``--debug``: tracebacks on stderr, and everything in a log that a report of a fault can take."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from samedge._version import __version__
from samedge.cli.failures import complain, created_now


@contextlib.contextmanager
def debug_log(command_line: str) -> Iterator[None]:
    """Write all records of samedge, and what ends the command, to the debug log.

    The log of the command before is replaced. Where it cannot be written, that is said, and the
    command goes on.

    Args:
        command_line: for its first line.
    """
    from samedge.inspection.bug_report import log_path

    path = log_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, "w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        complain(f"{path} cannot be written ({error.strerror}): there is no debug log.")
        yield
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logger = logging.getLogger("samedge.debug")
    logger.debug("%s with samedge %s, Python %s", command_line, __version__, sys.version)
    try:
        yield
        logger.debug("ended well at %s", created_now())
    except BaseException:
        import traceback

        logger.debug("ended by\n%s", traceback.format_exc())
        raise
    finally:
        root.removeHandler(handler)
        handler.close()
        complain(f"The debug log is {path}; `samedge doctor --bundle-report FILE` takes it along.")
