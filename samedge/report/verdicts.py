"""A record in one sentence by the rules of ``samedge compare``: what bench and eval end in."""

from __future__ import annotations

from collections.abc import Sequence

from samedge.records import BenchRecord, EvalRecord
from samedge.report.answers import answers, losses_between
from samedge.report.decision import baseline_of, loss_words
from samedge.report.overview import Overview, ReportedSubject, compare_records

_TOLD = 3


def bench_verdict(record: BenchRecord) -> str:
    """Which subject to ship by speed alone; empty where no whole frame was timed."""
    found = answers(compare_records([("bench", record)]))
    return found[0].recommendation.sentence if found else ""


def eval_verdict(record: EvalRecord) -> str:
    """How accurate the subjects are, or what their masks lose against the plain one's.

    Args:
        record: with the scores of every instance, which differences are taken between.
    """
    overview = compare_records([("eval", record)])
    own = [one for one in overview.subjects if not one.subject.is_baseline]
    subjects = own or list(overview.subjects)
    if not subjects:
        return ""
    keys = [(one.subject.target or "", str(one.subject.precision or "")) for one in subjects]
    baseline = subjects[baseline_of(keys)]
    prompt = next(iter(baseline.accuracy))
    others = [one for one in overview.subjects if one is not baseline and prompt in one.accuracy]
    if not others:
        return _alone(baseline, prompt)
    return _against(baseline, others, overview=overview, prompt=prompt)


def _alone(subject: ReportedSubject, prompt: str) -> str:
    row = subject.accuracy[prompt]
    if row.miou is None:
        return ""
    ends = "" if row.ci95 is None else f" ({row.ci95[0]:.3f} to {row.ci95[1]:.3f})"
    return f"{subject.name} reaches {row.miou:.3f} {prompt} mIoU{ends} on {row.n} instances."


def _against(
    baseline: ReportedSubject,
    others: Sequence[ReportedSubject],
    *,
    overview: Overview,
    prompt: str,
) -> str:
    parts = []
    for other in others[:_TOLD]:
        losses = losses_between(overview, other, baseline=baseline)
        found = [loss for loss in losses if loss.measure == f"{prompt} mIoU"]
        parts += [f"{other.name} loses {loss_words(loss)}" for loss in found]
    more = len(others) - _TOLD
    rest = f"; {more} more are in the table" if more > 0 else ""
    return f"Against {baseline.name}, {'; '.join(parts)}{rest}." if parts else ""
