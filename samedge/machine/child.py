"""Python processes of our own: this interpreter, these modules, and no code from the user's folder.

``python -m`` looks into the current folder first, where a user may have a file called like one of
ours or like a library; ``PYTHONSAFEPATH`` and ``-P`` stop it from Python 3.11 on only. So the child
gets the search path of this process as an argument, before it imports anything.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from samedge.errors import InferenceError

_Stream = int | IO[str] | None
_LAST_LINES = 5

# `sys` is built in and cannot be planted; what is imported after the second statement can no
# longer come from the current folder.
_START = (
    "import sys; sys.path[:] = sys.argv.pop(1).splitlines(); "
    "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def start_python(
    module: str,
    arguments: Sequence[str] = (),
    *,
    variables: Mapping[str, str] | None = None,
    stdin: _Stream = subprocess.DEVNULL,
    stdout: _Stream = None,
    stderr: _Stream = None,
) -> subprocess.Popen[str]:
    """Run a module as ``python -m`` would, with this interpreter and this process's search path.

    Args:
        module: dotted name of a module with a ``__main__`` part.
        arguments: its command line.
        variables: of its environment, beside this process's.
        stdin: as ``subprocess.Popen`` takes it, and so the others; text in UTF-8.
        stdout: the same.
        stderr: the same.

    Raises:
        InferenceError: this program is frozen, and its executable would start itself again.
    """
    return subprocess.Popen(
        python_command(module, arguments),
        env=python_environment(variables),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def python_command(module: str, arguments: Sequence[str] = ()) -> list[str]:
    """The command of :func:`start_python`, for a caller whose pipes carry bytes.

    Args:
        module: as there.
        arguments: as there.

    Raises:
        InferenceError: as there.
    """
    if getattr(sys, "frozen", False):
        raise InferenceError(
            f"{module} needs a process of its own, and this frozen program has no Python to start: "
            "run it with samedge installed in a Python environment."
        )
    return [sys.executable, "-c", _START, "\n".join(_search_path()), module, *arguments]


def python_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of :func:`start_python`.

    Args:
        variables: as there.
    """
    return {**os.environ, "PYTHONSAFEPATH": "1", **(variables or {})}


def ending(code: int) -> str:
    """How a process ended, in words: ``signal SIGKILL`` or ``exit code 3``.

    Args:
        code: what ``Popen.wait`` gave.
    """
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:  # one of those for real time, which have no names
        return f"signal {-code}"


def last_words(chatter: str) -> str:
    """The last few lines of what a process wrote to its standard error, on one."""
    return " | ".join(chatter.strip().splitlines()[-_LAST_LINES:]) or "none"


def _search_path() -> list[str]:
    """``PYTHONPATH``, and where this process finds modules.

    Without ``""``, which is wherever the user happens to be. The folder that samedge itself was
    found in is last where nothing else names it.
    """
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    own = Path(__file__).absolute().parents[2]
    return list(dict.fromkeys([*filter(None, [*given, *sys.path]), str(own)]))
