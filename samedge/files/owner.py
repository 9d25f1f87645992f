"""Who made a temporary folder, written into its name, for file systems that have no locks.

A process is named by its number and its start, within this boot and this namespace of processes:
numbers come again, and another container or machine on the same disk counts by its own.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

_PROC = Path("/proc")


def name() -> str:
    """This process, as a part of a file's name; ``0-0-0`` where the system does not say."""
    pid = os.getpid()
    start = _start(pid)
    return f"{_here()}-{pid}-{start}" if start and _here() else "0-0-0"


def is_gone(owner: str) -> bool | None:
    """Whether the process of a name has ended; ``None`` where that is not known from here.

    Args:
        owner: begins with what :func:`name` gave.
    """
    here, _, rest = owner.partition("-")
    pid, _, start = rest.partition("-")
    start = start.partition("-")[0]
    if not (pid.isdecimal() and start.isdecimal() and int(pid)) or here != _here():
        return None
    return _start(int(pid)) != start


def _start(pid: int) -> str:
    """When a process started, in ticks since the boot; empty where there is no such process."""
    try:
        status = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[19]  # the name, in brackets, may hold anything


@functools.cache
def _here() -> str:
    """Hash of the boot and of the namespace that processes are counted in; empty: not known."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text()
        space = os.readlink(_PROC / "self/ns/pid")  # noqa: PTH115 - it leads to no file
    except OSError:
        return ""
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:12]
