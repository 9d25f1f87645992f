"""What disturbs a measurement: other processes, heat, frequency, battery. It never corrects."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from samedge.machine import power
from samedge.machine.system import ROOT

BUSY_SHARE = 0.10
"""Share of the machine's processor time in other hands above which it counts as busy."""

BUSY_BEFORE, BUSY_DURING = "The machine was busy before", "Other processes used"
"""How warnings of a busy machine begin."""


def tells_of_a_busy_machine(warnings: Iterable[str]) -> bool:
    """Whether one of a record's warnings says that other processes disturbed the timing."""
    return any(text.startswith((BUSY_BEFORE, BUSY_DURING)) for text in warnings)


STEAL_SHARE = 0.02
FREQUENCY_DROP = 0.05
_SETTLE_SECONDS = 0.5


class ProcessorTimes(NamedTuple):
    """Seconds of all processors since the machine was switched on."""

    busy: float
    stolen: float
    total: float


def processor_times(*, root: Path = ROOT) -> ProcessorTimes | None:
    """Read the processors' time from Linux's /proc/stat, elsewhere from psutil if it is here."""
    try:
        line = (root / "proc/stat").read_text(encoding="ascii").splitlines()[0]
    except (OSError, IndexError):
        return _times_from_psutil() if root == ROOT else None
    ticks = [int(value) / os.sysconf("SC_CLK_TCK") for value in line.split()[1:9]]
    user, nice, system, idle, iowait, irq, softirq, steal = ticks
    busy = user + nice + system + irq + softirq
    return ProcessorTimes(busy, steal, busy + idle + iowait + steal)


def _times_from_psutil() -> ProcessorTimes | None:
    try:
        import psutil
    except ImportError:
        return None
    times = psutil.cpu_times()
    busy = times.user + times.system + getattr(times, "nice", 0.0)
    return ProcessorTimes(busy, 0.0, busy + times.idle)


class Watch:
    """Looks at the machine before, during and after a measurement and says what was wrong."""

    def __init__(self, *, root: Path = ROOT) -> None:
        self._root = root
        self._before = self._rest(_SETTLE_SECONDS)
        self._start = processor_times(root=root)
        self._own_start = _own_seconds()
        self._throttles = power.throttle_count(root=root)

    def _rest(self, seconds: float) -> float | None:
        """Share of the processors in use while this process sleeps."""
        first = processor_times(root=self._root)
        time.sleep(seconds)
        last = processor_times(root=self._root)
        if first is None or last is None or last.total <= first.total:
            return None
        return (last.busy - first.busy) / (last.total - first.total)

    def warnings(
        self, frequencies_mhz: Sequence[float], *, throttled: Iterable[str] = ()
    ) -> list[str]:
        """Everything that speaks against the figures, once all child processes have ended.

        Args:
            frequencies_mhz: read while measuring, in order; empty where the system tells none.
            throttled: what was seen below its clocks while measuring, and why.
        """
        state = power.power(root=self._root)
        found = [*self._busy(), *self._heat(), *_frequency(frequencies_mhz)]
        seen = ", ".join(sorted(set(throttled)))
        if seen:
            found.append(f"Held below full speed during the run: {seen}.")
        if state.governor == "powersave" and state.preference is None:
            found.append("The frequency governor is `powersave`: set `performance` to compare.")
        if state.on_battery:
            found.append("The machine runs on battery.")
        return found

    def _busy(self) -> list[str]:
        found = []
        if self._before is not None and self._before > BUSY_SHARE:
            found.append(
                f"{BUSY_BEFORE} the run began: {self._before:.0%} of its processor time was in use."
            )
        end = processor_times(root=self._root)
        if self._start is None or end is None or end.total <= self._start.total:
            return found
        total = end.total - self._start.total
        own = _own_seconds() - self._own_start
        others = (end.busy - self._start.busy - own) / total
        stolen = (end.stolen - self._start.stolen) / total
        if others > BUSY_SHARE:
            found.append(
                f"{BUSY_DURING} {others:.0%} of the machine's processor time during the "
                "run: the latencies are too high by an unknown amount."
            )
        if stolen > STEAL_SHARE:
            found.append(f"The hypervisor gave {stolen:.0%} of the processor time to others.")
        return found

    def _heat(self) -> list[str]:
        now = power.throttle_count(root=self._root)
        if now is None or self._throttles is None or now <= self._throttles:
            return []
        return [f"The processor slowed down for heat {now - self._throttles} times."]


def _own_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _frequency(values: Sequence[float]) -> list[str]:
    if len(values) < 8:
        return []
    quarter = len(values) // 4
    first, last = float(np.mean(values[:quarter])), float(np.mean(values[-quarter:]))
    if last > (1 - FREQUENCY_DROP) * first:
        return []
    return [
        f"The processors' frequency fell from {first:.0f} to {last:.0f} MHz during the run: let "
        "the machine cool, or measure with --sustained."
    ]
