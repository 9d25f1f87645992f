"""Exports, measures and benches everything that runs here, and says which bundle to ship."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from samedge import records
from samedge.benchmark.bench import bench
from samedge.benchmark.plan import Effort, Plan
from samedge.benchmark.process import ChosenSubject
from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import file_hash
from samedge.comparison import losses, rounds
from samedge.comparison.exporting import Clock, ComparedSubject, Request, exported, foreign
from samedge.comparison.losses import Agreement, Score
from samedge.comparison.released import released
from samedge.comparison.store import LOCK, Agreed, Identity, Store
from samedge.comparison.subjects import LeftOut, Wanted, wanted_subjects
from samedge.errors import DatasetError
from samedge.evaluation.evaluate import evaluate
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.evaluation.protocols import parse_protocols
from samedge.evaluation.subjects import open_subject
from samedge.files.locking import locked
from samedge.machine.disturbance import tells_of_a_busy_machine
from samedge.predict.predictor import Predictor
from samedge.proof.photos import load_calibration
from samedge.records import BenchRecord, EvalRecord
from samedge.report.decision import (
    Interval,
    Limits,
    Recommendation,
    Row,
    baseline_of,
    recommend,
)
from samedge.types import Progress, Stage, Steps

logger = logging.getLogger(__name__)

JOINED = "joined"
"""Name of the record of all rounds together."""

BENCHED_PHOTOS = 4
"""The first of the photos, on which speed is measured."""

_KIND = "bench"
"""Of the rounds' records."""
_ROUND = Effort(seconds=4.0, count=64, launches=1)


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


def compare(
    request: Request, *, progress: Progress | None = None, stage: Stage | None = None
) -> CompareRecord:
    """Export, measure and bench, and choose.

    What an earlier sitting in the same folder finished is kept: bundles, scores and rounds.

    Args:
        request: what to compare.
        progress: hears of every step: an export, a subject's losses, a round.
        stage: is told which.

    Raises:
        UnknownNameError: an unknown model, target, precision or protocol.
        DatasetError: no photo, a dataset that cannot be read, or a folder of something else.
        CalibrationError: a calibration set that cannot calibrate.
        OptionError: another process compares in the folder.
        SamedgeError: the measurement itself failed; a subject that cannot be exported does not end
            the comparison.
    """
    clock = Clock(request.minutes)
    wanted, left_out = wanted_subjects(request.targets, precisions=request.precisions)
    store = Store(request.output, _identity(request))
    has_limit = request.limits.memory_bytes is not None
    steps = Steps(
        2 * (len(wanted) + len(request.bundles)) + request.rounds + has_limit,
        progress=progress,
        stage=stage,
    )
    with locked(request.output, LOCK):
        return _compared(request, wanted, left_out, store=store, clock=clock, steps=steps)


def _compared(
    request: Request,
    wanted: Sequence[Wanted],
    left_out: Sequence[LeftOut],
    *,
    store: Store,
    clock: Clock,
    steps: Steps,
) -> CompareRecord:
    subjects = [exported(one, request, store=store, clock=clock, steps=steps) for one in wanted]
    subjects += foreign(request.bundles, steps)
    present = [subject for subject in subjects if not subject.note]
    if not present:
        return _record(request, subjects, left_out, None, clock=clock)
    baseline = present[baseline_of([(s.target, s.precision) for s in present])]
    _measure_losses(request, store, present, baseline, steps)
    more = _released(request, store, present, clock, steps)
    subjects += more
    kind = f"{_KIND}-released" if more else _KIND
    benched = list(_benched(request, store, [*present, *more], clock, steps, kind=kind))
    whole = rounds.joined(benched, deadline_ms=request.limits.deadline_ms)
    records.write(whole, store.path(_KIND, JOINED))
    return _record(request, subjects, left_out, whole, clock=clock, baseline=baseline)


def _identity(request: Request) -> Identity:
    if request.dataset is None and not request.photos:
        raise DatasetError("There is no photo to compare on: give a folder of photos.")
    files = request.photos if request.dataset is None else request.dataset[:1]
    try:
        return Identity(
            model=request.model,
            photos=[f"{path.name} {path.stat().st_size}" for path in files],
            prompts=request.prompts,
            calibration="" if request.calibration is None else str(request.calibration),
            weights_sha256=file_hash(Path(request.model)) if Path(request.model).is_file() else "",
            contents_sha256=_contents(request),
        )
    except OSError as error:
        raise DatasetError(
            f"{error.filename} cannot be read ({error.strerror}): check the path."
        ) from error


def _contents(request: Request) -> str:
    """One hash over all pictures and annotations: their names do not tell them apart."""
    files = list(request.photos)
    if request.dataset is not None:
        truth = load_ground_truth(request.dataset[0], request.dataset[1])
        for image in truth.images:
            image.check_file()
        files += [request.dataset[0], *(image.path for image in truth.images)]
    hashes = [file_hash(path) for path in files]
    if request.calibration is not None:
        hashes.append(load_calibration(request.calibration).fingerprint)
    return hashlib.sha256("\n".join(hashes).encode("ascii")).hexdigest()


def _measure_losses(
    request: Request,
    store: Store,
    subjects: Sequence[ComparedSubject],
    baseline: ComparedSubject,
    steps: Steps,
) -> None:
    """Fill in what every subject's masks lose against the baseline's."""
    if request.dataset is not None:
        scores = {}
        for subject in subjects:
            steps.say(f"accuracy of {subject.name}")
            scores[subject.name] = _dataset_scores(request, store, subject)
            steps.step()
        for subject in subjects:
            if subject is not baseline:
                own = scores[subject.name]
                subject.losses = losses.loss_against(own, scores[baseline.name])
        return
    with contextlib.ExitStack() as stack:
        agreement = _Drawn(stack, baseline, request.photos)
        for subject in subjects:
            steps.say(f"losses of {subject.name}")
            if subject is not baseline:
                subject.losses = losses.agreement_losses(_agreement(store, subject, agreement))
            steps.step()


def _dataset_scores(request: Request, store: Store, subject: ComparedSubject) -> list[Score]:
    assert request.dataset is not None
    record = store.record("eval", subject.key, of=EvalRecord)
    made = Bundle.open(subject.path, verify=False).id
    is_other = record is not None and any(row.bundle_id != made for row in record.results)
    if record is None or record.instances is None or is_other:
        truth = load_ground_truth(request.dataset[0], request.dataset[1])
        opened = open_subject(str(subject.path))
        with contextlib.ExitStack() as stack:
            if isinstance(opened.segmenter, contextlib.AbstractContextManager):
                stack.enter_context(opened.segmenter)
            found = evaluate([opened], truth, protocols=parse_protocols(request.prompts))
        record = found.record(instances=True)
        records.write(record, store.path("eval", subject.key))
    return losses.scores_from_instances(record.instances or [])


class _Drawn:
    """The baseline's masks, drawn when the first subject needs them."""

    def __init__(
        self, stack: contextlib.ExitStack, baseline: ComparedSubject, photos: Sequence[Path]
    ) -> None:
        self._stack, self._baseline, self._photos = stack, baseline, photos
        self.bundle_id = Bundle.open(baseline.path, verify=False).id
        self._drawn: Agreement | None = None

    def __call__(self) -> Agreement:
        if self._drawn is None:
            predictor = self._stack.enter_context(Predictor.from_bundle(self._baseline.path))
            self._drawn = Agreement(predictor, self._photos)
        return self._drawn


def _agreement(store: Store, subject: ComparedSubject, drawn: _Drawn) -> list[Score]:
    made = Bundle.open(subject.path, verify=False).id
    known = store.scores(subject.key, bundle_id=made, baseline_id=drawn.bundle_id)
    if known is None:
        with Predictor.from_bundle(subject.path) as predictor:
            known = drawn().scores(predictor)
        agreed = Agreed(bundle_id=made, baseline_id=drawn.bundle_id, scores=known)
        store.keep_scores(subject.key, agreed)
    return known


def _released(
    request: Request, store: Store, subjects: Sequence[ComparedSubject], clock: Clock, steps: Steps
) -> list[ComparedSubject]:
    """What does not keep the limit of memory in a first round, to be tried with memory released."""
    limit = request.limits.memory_bytes
    if limit is None:
        return []
    first = next(_benched(request, store, subjects, clock, steps, kind=_KIND))
    return released(subjects, first, limit_bytes=limit, folder=store.bundles)


def _benched(
    request: Request,
    store: Store,
    subjects: Sequence[ComparedSubject],
    clock: Clock,
    steps: Steps,
    *,
    kind: str,
) -> Iterator[BenchRecord]:
    """Rounds over all subjects; at least one, further ones while there is time."""
    # A round counts for the very files that it ran: a bundle that changed is measured again.
    names = {str(s.path): Bundle.open(s.path, verify=False).id for s in subjects}
    limits = request.limits
    plan = Plan(
        images=request.photos[:BENCHED_PHOTOS],
        effort=_ROUND,
        deadline_ms=limits.deadline_ms,
        # The verdict is about all rounds together.
        deadline_count=math.ceil(Plan.deadline_count / request.rounds),
        keep_samples=True,
    )
    for index in range(request.rounds):
        record = store.record(kind, str(index), of=BenchRecord)
        if record is None or {row.bundle: row.bundle_id for row in record.results} != names:
            if index and clock.spent():
                logger.warning("The time budget is spent after %d rounds.", index)
                return
            steps.say(f"round {index + 1} of {request.rounds}")
            record = bench([ChosenSubject(bundle=name) for name in sorted(names)], plan)
            records.write(record, store.path(kind, str(index)))
        steps.step()
        yield record


def _record(
    request: Request,
    subjects: Sequence[ComparedSubject],
    left_out: Sequence[LeftOut],
    bench_record: BenchRecord | None,
    *,
    clock: Clock,
    baseline: ComparedSubject | None = None,
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
        count = len(losses.compared_photos(request.photos))
        return f"{count} photos, against the masks of {baseline}"
    return f"{request.dataset[0].parent.name}/{request.dataset[0].name}"


def _row(
    subject: ComparedSubject, record: BenchRecord | None, baseline: ComparedSubject | None
) -> Row:
    path = str(subject.path)
    row = Row(
        name=subject.name,
        target=subject.target,
        precision=subject.precision,
        bundle=path,
        losses=subject.losses,
        note=subject.note,
        released=subject.released,
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
