"""Exports, measures and benches everything that runs here, and says which bundle to ship."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from samedge import records
from samedge.benchmark.bench import bench
from samedge.benchmark.plan import Effort, Plan
from samedge.benchmark.process import Contestant
from samedge.bundle.bundle import Bundle
from samedge.comparison import losses, rounds
from samedge.comparison.losses import Agreement, Score
from samedge.comparison.store import Identity, Store
from samedge.comparison.subjects import LeftOut, Wanted, wanted_subjects
from samedge.errors import DatasetError, SamedgeError
from samedge.evaluation.evaluate import evaluate
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.evaluation.protocols import parse_protocols
from samedge.evaluation.subjects import open_candidate
from samedge.export.pipeline import export
from samedge.machine.disturbance import tells_of_a_busy_machine
from samedge.predict.predictor import Predictor
from samedge.records import BenchRecord, EvalRecord
from samedge.report.decision import (
    Interval,
    Limits,
    Loss,
    Recommendation,
    Row,
    baseline_of,
    recommend,
)
from samedge.types import Progress

logger = logging.getLogger(__name__)

ROUNDS = 3
JOINED = "joined"
"""Name of the record of all rounds together."""

PROMPTS = "box,center"
EXPORT_SHARE = 0.6
"""Share of a time budget after which no further export is begun."""

_ROUND = Effort(seconds=4.0, count=64, launches=1)
_DEADLINE_ROUND = Effort(seconds=4.0, count=256, launches=1)


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


class CompareRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``samedge compare``.

    Attributes:
        model: what was compared.
        baseline: name of the row that the others are held against.
        recommendation: what to ship.
        rows: every subject, the measured ones by speed.
        left_out: targets that cannot be measured here, with the reason.
        limits: what had to be kept.
        warnings: what disturbed the measurement.
        measured_on: what the masks were compared on.
        seconds: of this sitting.
    """

    model: str
    baseline: str | None
    recommendation: Recommendation
    rows: list[Row]
    left_out: dict[str, str]
    limits: Limits
    warnings: list[str]
    measured_on: str
    seconds: float


@dataclasses.dataclass
class _Subject:
    """One subject on its way: its bundle, or why there is none."""

    name: str
    target: str
    precision: str
    path: Path
    note: str = ""
    losses: list[Loss] = dataclasses.field(default_factory=list)

    @property
    def key(self) -> str:
        """Part of its records' file names."""
        return self.name.replace(" ", "-").replace("/", "_")


class _Clock:
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


def compare(request: Request, *, progress: Progress | None = None) -> CompareRecord:
    """Export, measure and bench, and choose.

    What an earlier sitting in the same folder finished is kept: bundles, scores and rounds.

    Args:
        request: what to compare.
        progress: hears ``(done, total)`` after every step.

    Raises:
        UnknownNameError: an unknown model, target, precision or protocol.
        DatasetError: no photo, a dataset that cannot be read, or a folder of something else.
        SamedgeError: the measurement itself failed; a subject that cannot be exported does not end
            the comparison.
    """
    clock = _Clock(request.minutes)
    wanted, left_out = wanted_subjects(request.targets, precisions=request.precisions)
    store = Store(request.output, _identity(request))
    steps = _Steps(2 * (len(wanted) + len(request.bundles)) + request.rounds, progress)
    subjects = [_exported(one, request, store, clock, steps) for one in wanted]
    subjects += [_foreign(path, steps) for path in request.bundles]
    present = [subject for subject in subjects if not subject.note]
    if not present:
        return _record(request, subjects, left_out, None, clock=clock)
    baseline = present[baseline_of([(s.target, s.precision) for s in present])]
    _measure_losses(request, store, present, baseline, steps)
    benched = list(_benched(request, store, present, clock, steps))
    whole = rounds.joined(benched, deadline_ms=request.limits.deadline_ms)
    records.write(whole, store.path("bench", JOINED))
    return _record(request, subjects, left_out, whole, clock=clock, baseline=baseline)


class _Steps:
    """Counts steps for whoever watches."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def step(self, count: int = 1) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)


def _identity(request: Request) -> Identity:
    if request.dataset is None and not request.photos:
        raise DatasetError("There is no photo to compare on: give a folder of photos.")
    files = request.photos if request.dataset is None else request.dataset[:1]
    try:
        sizes = [f"{path.name} {path.stat().st_size}" for path in files]
    except OSError as error:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}.") from error
    return Identity(model=request.model, photos=sizes, prompts=request.prompts)


def _exported(
    one: Wanted, request: Request, store: Store, clock: _Clock, steps: _Steps
) -> _Subject:
    """Export one subject, unless an earlier sitting did."""
    path = store.bundles / one.folder
    subject = _Subject(one.name, one.target.name, one.precision.value, path)
    subject.note = store.failure(one.folder) or ""
    if not subject.note and not _is_bundle(path):
        if clock.spent(EXPORT_SHARE):
            subject.note = "not exported: the time budget was spent"
        else:
            subject.note = _export(one, request, store, path)
    steps.step()
    return subject


def _is_bundle(path: Path) -> bool:
    if not path.exists():
        return False
    Bundle.open(path, verify=True)
    return True


def _export(one: Wanted, request: Request, store: Store, path: Path) -> str:
    """Why a subject could not be exported; empty when it could."""
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
        store.keep_failure(one.folder, why)
        return why
    records.write(result.record(), store.path("export", one.folder))
    return ""


def _foreign(path: Path, steps: _Steps) -> _Subject:
    manifest = Bundle.open(path).manifest
    steps.step()
    name = f"{path.name} ({manifest.target} {manifest.precision})"
    return _Subject(name, manifest.target, str(manifest.precision), path)


def _measure_losses(
    request: Request, store: Store, subjects: Sequence[_Subject], baseline: _Subject, steps: _Steps
) -> None:
    """Fill in what every subject's masks lose against the baseline's."""
    if request.dataset is not None:
        scores = {s.name: _dataset_scores(request, store, s) for s in subjects}
        for subject in subjects:
            if subject is not baseline:
                own = scores[subject.name]
                subject.losses = losses.loss_against(own, scores[baseline.name])
            steps.step()
        return
    with contextlib.ExitStack() as stack:
        agreement = _Drawn(stack, baseline, request.photos)
        for subject in subjects:
            if subject is not baseline:
                subject.losses = losses.agreement_losses(_agreement(store, subject, agreement))
            steps.step()


def _dataset_scores(request: Request, store: Store, subject: _Subject) -> list[Score]:
    assert request.dataset is not None
    record = store.record("eval", subject.key, EvalRecord)
    if record is None or record.instances is None:
        truth = load_ground_truth(request.dataset[0], request.dataset[1])
        candidate = open_candidate(str(subject.path))
        with contextlib.ExitStack() as stack:
            if isinstance(candidate.segmenter, contextlib.AbstractContextManager):
                stack.enter_context(candidate.segmenter)
            found = evaluate([candidate], truth, protocols=parse_protocols(request.prompts))
        record = found.record(instances=True)
        records.write(record, store.path("eval", subject.key))
    return losses.scores_from_instances(record.instances or [])


class _Drawn:
    """The baseline's masks, drawn when the first subject needs them."""

    def __init__(
        self, stack: contextlib.ExitStack, baseline: _Subject, photos: Sequence[Path]
    ) -> None:
        self._stack, self._baseline, self._photos = stack, baseline, photos
        self._drawn: Agreement | None = None

    def __call__(self) -> Agreement:
        if self._drawn is None:
            predictor = self._stack.enter_context(Predictor.from_bundle(self._baseline.path))
            self._drawn = Agreement(predictor, self._photos)
        return self._drawn


def _agreement(store: Store, subject: _Subject, drawn: _Drawn) -> list[Score]:
    known = store.scores(subject.key)
    if known is None:
        with Predictor.from_bundle(subject.path) as predictor:
            known = drawn().scores(predictor)
        store.keep_scores(subject.key, known)
    return known


def _benched(
    request: Request, store: Store, subjects: Sequence[_Subject], clock: _Clock, steps: _Steps
) -> Iterator[BenchRecord]:
    """Rounds over all subjects; at least one, further ones while there is time."""
    names = {str(subject.path) for subject in subjects}
    limits = request.limits
    plan = Plan(
        images=request.photos[:4],
        effort=_ROUND if limits.deadline_ms is None else _DEADLINE_ROUND,
        deadline_ms=limits.deadline_ms,
        keep_samples=True,
    )
    for index in range(request.rounds):
        record = store.record("bench", str(index), BenchRecord)
        if record is None or {row.bundle for row in record.results} != names:
            if index and clock.spent():
                logger.warning("The time budget is spent after %d rounds.", index)
                return
            record = bench([Contestant(bundle=name) for name in sorted(names)], plan)
            records.write(record, store.path("bench", str(index)))
        steps.step()
        yield record


def _record(
    request: Request,
    subjects: Sequence[_Subject],
    left_out: Sequence[LeftOut],
    bench_record: BenchRecord | None,
    *,
    clock: _Clock,
    baseline: _Subject | None = None,
) -> CompareRecord:
    rows = [_row(subject, bench_record, baseline) for subject in subjects]
    paths = {subject.name: str(subject.path) for subject in subjects}
    name = None if baseline is None else baseline.name
    warnings = [] if bench_record is None else bench_record.warnings

    def ratio(first: str, second: str) -> Interval | None:
        if bench_record is None:
            return None
        return rounds.ratio(bench_record, paths[first], against=paths[second])

    answer = recommend(
        rows,
        baseline=name or "",
        ratio=ratio,
        limits=request.limits,
        busy=tells_of_a_busy_machine(warnings),
    )
    return CompareRecord(
        model=request.model,
        baseline=name,
        recommendation=answer,
        rows=sorted(rows, key=lambda row: row.p50_ms or float("inf")),
        left_out={one.target: one.why for one in left_out},
        limits=request.limits,
        warnings=warnings,
        measured_on=_measured_on(request, name),
        seconds=round(clock.seconds, 1),
    )


def _measured_on(request: Request, baseline: str | None) -> str:
    if request.dataset is None:
        return f"{len(request.photos)} photos, against the masks of {baseline}"
    return f"{request.dataset[0].parent.name}/{request.dataset[0].name}"


def _row(subject: _Subject, record: BenchRecord | None, baseline: _Subject | None) -> Row:
    path = str(subject.path)
    row = Row(
        name=subject.name,
        target=subject.target,
        precision=subject.precision,
        bundle=path,
        losses=subject.losses,
        note=subject.note,
    )
    results = [] if record is None else record.results
    found = next((r for r in results if (r.bundle, r.stage) == (path, rounds.WHOLE)), None)
    if record is None or baseline is None or found is None:
        return row
    verdicts = [verdict.met for verdict in record.deadline if verdict.bundle == path]
    speedup = rounds.ratio(record, path, against=str(baseline.path))
    return msgspec.structs.replace(
        row,
        speedup=None if subject is baseline else speedup,
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        met_deadline=verdicts[0] if verdicts else None,
        peak_rss_bytes=found.peak_rss_bytes,
        artifact_bytes=found.artifact_bytes,
    )
