"""The process of a browser that holds a page: its memory and its processor time, from Linux.

Two figures of memory, since neither alone is fair. Resident memory counts the browser's program,
which is mapped once for all of its tabs. The footprint is what Chrome's own task manager shows for
a tab: anonymous memory, and what of it is swapped.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_EVERY_S = 0.02
_TICK_MS = 10.0


@dataclasses.dataclass(frozen=True)
class Footprint:
    """What a process holds beside mapped files.

    Attributes:
        own_bytes: anonymous memory, resident or swapped: Chrome's "memory footprint".
        shared_bytes: shared memory, in which pictures go from one process to another.
    """

    own_bytes: int = 0
    shared_bytes: int = 0

    def largest(self, other: Footprint) -> Footprint:
        """The larger of each figure."""
        return Footprint(
            max(self.own_bytes, other.own_bytes), max(self.shared_bytes, other.shared_bytes)
        )


class Renderer:
    """The process that holds the page: the largest of the browser's renderers."""

    def __init__(self, browser: Any) -> None:
        self.process = max(renderers(browser), key=_resident_kb, default=None)

    def peak_bytes(self) -> int | None:
        """Largest resident memory so far, mapped files included."""
        return None if self.process is None else status_kb(self.process).get("VmHWM", 0) * 1024

    def footprint(self) -> Footprint | None:
        """What it holds now."""
        return None if self.process is None else footprint_of(self.process)

    def cpu_ms(self) -> float | None:
        """Processor time so far."""
        if self.process is None:
            return None
        try:
            fields = (self.process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) * _TICK_MS


class FootprintWatch:
    """Polls processes from its start to its end; a context manager.

    Linux keeps the peak of resident memory, but none of the footprint.

    Args:
        processes: folders below ``/proc``.
    """

    def __init__(self, processes: Iterable[Path]) -> None:
        self._peaks = dict.fromkeys(processes, Footprint())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="samedge-footprint", daemon=True)

    def __enter__(self) -> FootprintWatch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def peak(self, process: Path | None) -> Footprint | None:
        """The largest that was seen of one of the processes; ``None`` where it was none of them."""
        found = None if process is None else self._peaks.get(process)
        return found if found and found.own_bytes else None

    def _poll(self) -> None:
        while True:
            for process, peak in self._peaks.items():
                self._peaks[process] = peak.largest(footprint_of(process))
            if self._ended.wait(_EVERY_S):
                return


def renderers(browser: Any) -> list[Path]:
    """Folders below ``/proc`` of the processes that hold a browser's pages."""
    session = browser.new_browser_cdp_session()
    found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return [Path(f"/proc/{int(one['id'])}") for one in found if one["type"] == "renderer"]


def footprint_of(process: Path) -> Footprint:
    """What a process holds now; nothing where it has ended."""
    known = status_kb(process)
    own_kb = known.get("RssAnon", 0) + known.get("VmSwap", 0)
    return Footprint(own_kb * 1024, known.get("RssShmem", 0) * 1024)


def status_kb(process: Path) -> dict[str, int]:
    """The lines of a process's status that are lengths, in kB."""
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(length) for name, length, _ in fields}


def _resident_kb(process: Path) -> int:
    return status_kb(process).get("VmRSS", 0)
