"""What a comparison compares: every target and precision that this machine can run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from samedge import runtimes
from samedge.export import base
from samedge.report.decision import ORDER
from samedge.runtimes.base import Probe
from samedge.targets import TARGETS, Target
from samedge.targets import target as target_named
from samedge.types import WEIGHTS_ONLY, Precision


@dataclasses.dataclass(frozen=True)
class Wanted:
    """One subject to export.

    Attributes:
        target: the platform.
        precision: one that its format writes.
    """

    target: Target
    precision: Precision

    @property
    def name(self) -> str:
        """As people say it, such as ``intel int8``."""
        return f"{self.target.name} {self.precision.value}"

    @property
    def folder(self) -> str:
        """Name of its bundle's folder."""
        return f"{self.target.name}-{self.precision.value}"


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A target that cannot be measured here.

    Attributes:
        target: its name.
        why: what is missing.
    """

    target: str
    why: str


def wanted_subjects(
    targets: Sequence[str] = (), *, precisions: Sequence[str] = ()
) -> tuple[list[Wanted], list[LeftOut]]:
    """What runs on this machine, in the order in which it is worth measuring.

    Args:
        targets: names; empty takes every one.
        precisions: names; empty takes all that a target runs, except those that only store weights
            in fewer bits.

    Returns:
        What can be exported and run here, and the targets that cannot, with the reason.

    Raises:
        UnknownNameError: an unknown target or precision.
        ExportError: a target that was named cannot run a precision that was named.
    """
    wanted: list[Wanted] = []
    left_out: list[LeftOut] = []
    probes: dict[str, Probe] = {}
    rows = [target_named(name) for name in targets or TARGETS]
    for row in {row.name: row for row in rows}.values():  # names of one target count once
        probe = probes.setdefault(row.backend, runtimes.get(row.backend).probe())
        why = _missing(row, probe)
        if why:
            left_out.append(LeftOut(row.name, why))
            continue
        wanted += [Wanted(row, p) for p in _precisions(row, precisions)]
    return sorted(wanted, key=lambda one: _rank(one.precision)), left_out


def _missing(row: Target, probe: Probe) -> str:
    """Why a target cannot be measured here; empty when it can."""
    if row.is_elsewhere:
        return "it runs elsewhere, and its speed on this machine would say nothing"
    if not probe.available:
        return probe.detail
    known = {device.lower() for device in probe.devices}
    if known and row.device.lower() not in known and row.device.lower() not in ("cpu", "all"):
        return f"{row.backend} finds no device {row.device} here"
    return ""


def _precisions(row: Target, names: Sequence[str]) -> list[Precision]:
    writable = base.get(row.format).precisions
    if names:
        return [row.precision(name) for name in names]
    return [p for p in row.precisions if p in writable and p not in WEIGHTS_ONLY]


def _rank(precision: Precision) -> int:
    return ORDER.index(precision) if precision in ORDER else len(ORDER)
