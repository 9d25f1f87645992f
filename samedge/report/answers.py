"""What a report says first, from the records alone: which subject to ship, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median

from samedge.machine.disturbance import tells_of_a_busy_machine
from samedge.pixels import metrics
from samedge.records import BenchRecord, EvalRow, ScoredInstance
from samedge.report.decision import (
    Answer,
    Interval,
    Limits,
    Loss,
    Row,
    baseline_of,
    recommend,
)
from samedge.report.overview import Overview, ReportedSubject, same_files

_WHOLE = "end_to_end"


def answers(overview: Overview) -> list[Answer]:
    """One answer a machine that something was timed on, over all of its benchmarks."""
    found = []
    for machine in overview.machines:
        timed = [e for e in overview.subjects if e.machine == machine.name and _WHOLE in e.stages]
        if timed:
            name = machine.name if len(overview.machines) > 1 else ""
            records = [r for source, r in overview.benches if source in machine.sources]
            found.append(_answer(timed, records, overview, name))
    return found


def _answer(
    timed: Sequence[ReportedSubject],
    records: Sequence[BenchRecord],
    overview: Overview,
    machine: str,
) -> Answer:
    subjects = {reported.name: reported for reported in timed}
    keys = [_key(e) for e in timed]
    baseline = timed[baseline_of(keys)]
    scored = {name: list(_instances(overview, reported)) for name, reported in subjects.items()}

    def ratio(first: str, second: str) -> Interval | None:
        return _ratio(records, subjects[first], subjects[second])

    rows = [
        _row(
            reported,
            is_told_apart=keys.count(_key(reported)) == 1,
            speedup=None if reported is baseline else ratio(name, baseline.name),
            losses=[] if reported is baseline else list(_losses(reported, baseline, scored)),
        )
        for name, reported in subjects.items()
    ]
    rows.sort(key=lambda row: row.p50_ms or math.inf)
    busy = tells_of_a_busy_machine(text for record in records for text in record.warnings)
    answer = recommend(rows, baseline=baseline.name, ratio=ratio, limits=Limits(), busy=busy)
    return Answer(recommendation=answer, rows=rows, baseline=baseline.name, machine=machine)


def _key(reported: ReportedSubject) -> tuple[str, str]:
    return reported.subject.target or "", str(reported.subject.precision or "")


def _row(
    reported: ReportedSubject,
    *,
    speedup: Interval | None,
    losses: list[Loss],
    is_told_apart: bool,
) -> Row:
    """One line; a subject whose platform and precision others have too goes by its name."""
    whole = reported.stages[_WHOLE]
    return Row(
        name=reported.name,
        target=(reported.subject.target or "") if is_told_apart else "",
        precision=str(reported.subject.precision or ""),
        bundle=reported.subject.bundle,
        speedup=speedup,
        losses=losses,
        p50_ms=whole.p50_ms if whole.p50_ms is not None else median(whole.block_p50_ms),
        p99_ms=whole.p99_ms,
        peak_rss_bytes=whole.peak_rss_bytes,
        artifact_bytes=whole.artifact_bytes,
    )


def _ratio(
    records: Sequence[BenchRecord], first: ReportedSubject, second: ReportedSubject
) -> Interval | None:
    """How many times as fast one is as the other, from the blocks that ran side by side."""
    ours: list[float] = []
    theirs: list[float] = []
    for record in records:
        own, other = _blocks(record, first), _blocks(record, second)
        if own is not None and other is not None:
            count = min(len(own), len(other))
            ours, theirs = ours + own[:count], theirs + other[:count]
    return metrics.bootstrap_ratio(theirs, ours)


def _blocks(record: BenchRecord, reported: ReportedSubject) -> list[float] | None:
    """A subject's blocks of whole frames; ``None`` where the record has none of these files."""
    own = (
        row.block_p50_ms
        for row in record.results
        if row.stage == _WHOLE and same_files(row, reported.subject)
    )
    return next(own, None)


def _instances(overview: Overview, reported: ReportedSubject) -> Iterator[ScoredInstance]:
    """The scores behind a subject's rows; instances are filed under the names of their rows."""
    for _, record in overview.evaluations:
        keys = {row.key for row in record.results if same_files(row, reported.subject)}
        for one in record.instances or ():
            if (one.bundle, one.backend, one.device or "") in keys:
                yield one


def losses_between(
    overview: Overview, reported: ReportedSubject, *, baseline: ReportedSubject
) -> list[Loss]:
    """What a subject's masks lose against another's, under every protocol that both went through.

    Args:
        overview: whose records may hold the scores of every instance.
        reported: the subject.
        baseline: the other.
    """
    both = (reported, baseline)
    scored = {one.name: list(_instances(overview, one)) for one in both}
    return list(_losses(reported, baseline, scored))


def _losses(
    reported: ReportedSubject, baseline: ReportedSubject, scored: dict[str, list[ScoredInstance]]
) -> Iterator[Loss]:
    """Paired by instance where the records have them, else from the two means."""
    for prompt, row in reported.accuracy.items():
        other = baseline.accuracy.get(prompt)
        if other is None or row.miou is None or other.miou is None:
            continue
        own, wanted = (
            {(s.image, s.annotation_id): s.iou for s in scored[one.name] if s.prompt == prompt}
            for one in (reported, baseline)
        )
        pairs = [
            (image, wanted[image, n] - own[image, n]) for image, n in wanted if (image, n) in own
        ]
        yield _paired(prompt, pairs) if pairs else _unpaired(prompt, row, other)


def _paired(prompt: str, drops: Sequence[tuple[str, float]]) -> Loss:
    values = [drop for _, drop in drops]
    low, high = metrics.bootstrap_mean(values, [image for image, _ in drops]) or (None, None)
    mean = sum(values) / len(values)
    return Loss(measure=f"{prompt} mIoU", value=mean, low=low, high=high, n=len(values))


def _unpaired(prompt: str, own: EvalRow, other: EvalRow) -> Loss:
    """Two means and their own intervals: wider than the paired one, never narrower."""
    assert own.miou is not None
    assert other.miou is not None
    value = other.miou - own.miou
    if own.ci95 is None or other.ci95 is None:
        return Loss(measure=f"{prompt} mIoU", value=value, low=None, high=None, n=own.n)
    half = math.hypot(*((ci[1] - ci[0]) / 2 for ci in (own.ci95, other.ci95)))
    return Loss(measure=f"{prompt} mIoU", value=value, low=value - half, high=value + half, n=own.n)
