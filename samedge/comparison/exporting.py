"""What is compared, and its bundles: exported here, kept from earlier, or made elsewhere."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from samedge import records
from samedge._version import __version__
from samedge.bundle.bundle import Bundle, bundle_path
from samedge.comparison.store import Failure, Store
from samedge.comparison.subjects import Wanted
from samedge.errors import SamedgeError
from samedge.files.short_names import short_names
from samedge.machine.environment import package_versions
from samedge.report.decision import Limits, Loss
from samedge.targets import target as target_named
from samedge.types import Steps

logger = logging.getLogger(__name__)

ROUNDS = 3
PROMPTS = "box,center"
EXPORT_SHARE = 0.6
"""Share of a time budget after which no further export is begun."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be compared.

    Attributes:
        model: a name of ``samedge models``, or a checkpoint's file.
        output: the comparison's folder.
        targets, precisions: names; empty takes what runs here.
        photos: to measure agreement and latency on.
        dataset: COCO file and folder of its images; ``None`` measures agreement on the photos.
        prompts: protocols of the accuracy, with a dataset.
        bundles: made elsewhere, measured beside the others.
        calibration: given to the exports; ``None`` takes their default.
        minutes: time budget; ``None`` has none.
        limits: what has to be kept.
        rounds: of the benchmark.
    """

    model: str
    output: Path
    targets: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    photos: tuple[Path, ...]
    dataset: tuple[Path, Path] | None = None
    prompts: str = PROMPTS
    bundles: tuple[Path, ...] = ()
    calibration: Path | None = None
    minutes: float | None = None
    limits: Limits = dataclasses.field(default_factory=Limits)
    rounds: int = ROUNDS


@dataclasses.dataclass
class ComparedSubject:
    """One subject on its way: its bundle, or why there is none.

    Of those that need too much memory, another one is made that gives it back after each run.
    """

    name: str
    target: str
    precision: str
    path: Path
    note: str = ""
    losses: list[Loss] = dataclasses.field(default_factory=list)
    released: bool = False

    @property
    def key(self) -> str:
        """Part of its records' file names."""
        return self.name.replace(" ", "-").replace("/", "_")


class Clock:
    """A time budget; without one there is always time."""

    def __init__(self, minutes: float | None) -> None:
        self._start = time.monotonic()
        self._budget = None if minutes is None else minutes * 60

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    def spent(self, share: float = 1.0) -> bool:
        """Whether a share of the budget is used up."""
        return self._budget is not None and self.seconds > share * self._budget


def exported(
    one: Wanted, request: Request, *, store: Store, clock: Clock, steps: Steps
) -> ComparedSubject:
    """Export one subject, unless an earlier sitting did."""
    path = store.bundles / one.folder
    subject = ComparedSubject(one.name, one.target.name, one.precision.value, path)
    if not _is_bundle(path):
        failed = store.failure(one.folder)
        if failed is not None and not _worth_another_try(failed, one, request):
            subject.note = f"{failed.why} (tried before; --target {one.target.name} tries again)"
        elif clock.spent(EXPORT_SHARE):
            subject.note = "not exported: the time budget was spent"
        else:
            steps.say(f"exporting {one.name}")
            subject.note = _export(one, request, store, path)
    steps.step(f"exported {one.name}")
    return subject


def _is_bundle(path: Path) -> bool:
    if not path.exists():
        return False
    Bundle.open(path, verify=True)
    return True


def _worth_another_try(failed: Failure, one: Wanted, request: Request) -> bool:
    """Whether a subject that failed in an earlier sitting may not fail now, or is asked for."""
    if failed.versions != _versions():
        logger.warning("%s: tried again, since samedge or its libraries changed.", one.name)
        return True
    named = [target_named(name).name for name in request.targets]
    return one.target.name in named


def _versions() -> dict[str, str]:
    known = {name: version for name, version in package_versions().items() if version}
    return {"samedge": __version__, **known}


def _export(one: Wanted, request: Request, store: Store, path: Path) -> str:
    """Why a subject could not be exported; empty when it could."""
    from samedge.export import export

    try:
        result = export(
            request.model,
            one.target,
            output=path,
            precision=one.precision,
            calibration=request.calibration,
        )
    except SamedgeError as error:
        why = f"not exported: {error}"
        store.keep_failure(one.folder, Failure(why=why, versions=_versions()))
        return why
    store.forget_failure(one.folder)
    records.write(result.record(), store.path("export", one.folder))
    return ""


def foreign(paths: Sequence[Path], steps: Steps) -> Iterator[ComparedSubject]:
    """Bundles that were made elsewhere, under names that tell them apart.

    Args:
        paths: of the bundles, or names of embedded models; one that comes twice is taken once.
        steps: hears of each.

    Raises:
        BundleError: one is missing or altered.
    """
    for path, short in short_names([bundle_path(str(path)) for path in paths]).items():
        manifest = Bundle.open(path).manifest
        steps.step()
        name = f"{short} ({manifest.target} {manifest.precision})"
        yield ComparedSubject(name, manifest.target, str(manifest.precision), path)
