"""From what was measured to one recommendation, and to the sentence that states it.

The rules are those of ``samedge bench``: one subject is called faster than another only when the
interval of their ratio excludes 1, and a loss is named only with its interval. What cannot be told
apart is called equal, and the smaller file is taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import msgspec

from samedge.types import Precision

Interval = tuple[float, float, float]
"""An estimate with the ends of its 95% interval: ``(value, low, high)``."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a subject has to keep to be recommended; ``None`` asks for nothing.

    Attributes:
        max_drop: mean IoU that the masks may lose against the baseline.
        deadline_ms: limit of the 99th percentile of a whole frame.
        memory_bytes: most resident memory of the process.
    """

    max_drop: float | None = None
    deadline_ms: float | None = None
    memory_bytes: int | None = None


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What a subject's masks lose against the baseline's, on the same prompts.

    Attributes:
        measure: what was compared, such as ``box mIoU`` or ``IoU with boxes``.
        value, low, high: mean loss and its 95% interval over images; the interval is ``None`` where
            fewer than two images were measured.
        n: instances or prompts.
        agreement: whether the loss is what the masks differ by, and not what they lose against
            ground truth; it is never below 0.
    """

    measure: str
    value: float
    low: float | None
    high: float | None
    n: int
    agreement: bool = False

    @property
    def is_nothing(self) -> bool:
        """Whether no loss is shown: the interval holds 0, or lies below it."""
        return self.value <= 0 if self.low is None else self.low <= 0

    @property
    def is_indistinct(self) -> bool:
        """Whether the interval holds 0: neither a loss nor a gain is shown."""
        return self.low is not None and self.high is not None and self.low <= 0 <= self.high

    def within(self, most: float) -> bool:
        """Whether the loss is inside of a budget: its whole interval, or an estimate like 0's."""
        if self.high is None or self.high <= most:
            return self.value <= most
        return self.is_nothing and self.value <= most


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One subject, as far as it was measured.

    Attributes:
        name: unique in the comparison, such as ``intel int8``.
        target: platform; the bundle's own for one that came from elsewhere.
        precision: what it computes in.
        bundle: path of the bundle.
        speedup: how many times as fast as the baseline end to end; ``None`` where too few pairs.
        losses: against the baseline, by prompt.
        p50_ms, p99_ms: of a whole frame; the latter ``None`` below the samples that it needs.
        met_deadline: ``None`` where there is no deadline or the samples cannot tell.
        peak_rss_bytes, artifact_bytes: memory of its process; size of its files.
        note: why it was not measured; empty for one that was.
        released: whether memory between the layers is given back after each run.
    """

    name: str
    target: str
    precision: str
    bundle: str
    speedup: Interval | None = None
    losses: list[Loss] = []
    p50_ms: float | None = None
    p99_ms: float | None = None
    met_deadline: bool | None = None
    peak_rss_bytes: int | None = None
    artifact_bytes: int | None = None
    note: str = ""
    released: bool = False

    @property
    def measured(self) -> bool:
        """Whether it can be recommended at all."""
        return not self.note and self.p50_ms is not None


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """What to ship.

    Attributes:
        chosen: name of a row; ``None`` when none fits.
        nearest: when none fits, the row that misses by least.
        equals: rows that cannot be told apart from the chosen one in speed.
        sentence: the whole in one sentence.
    """

    chosen: str | None
    sentence: str
    nearest: str | None = None
    equals: list[str] = []


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says first: the recommendation, and the table that it rests on.

    Attributes:
        recommendation: what to ship.
        rows: the subjects, the measured ones by speed.
        baseline: name of the row that the others are held against.
        machine: where it was measured; empty where the report knows one machine only.
    """

    recommendation: Recommendation
    rows: list[Row]
    baseline: str | None
    machine: str = ""


SpeedRatio = Callable[[str, str], Interval | None]
"""``ratio(a, b)``: how many times as fast a is as b, from the blocks that ran side by side."""


@dataclasses.dataclass(frozen=True)
class _Miss:
    """A limit that a row does not keep: how far off as a share, and in words."""

    excess: float
    words: str


def recommend(
    rows: Sequence[Row], *, baseline: str, ratio: SpeedRatio, limits: Limits, busy: bool = False
) -> Recommendation:
    """Choose the fastest subject that keeps every limit.

    Args:
        rows: what was measured; those with a note are left out.
        baseline: name of the row that losses and speed-ups are against.
        ratio: of any two rows.
        limits: what has to be kept.
        busy: whether other processes disturbed the timing, which the sentence then says.
    """
    measured = [row for row in rows if row.measured]
    if not measured:
        return Recommendation(chosen=None, sentence="Nothing was measured, so nothing can be told.")
    misses = {row.name: _misses(row, limits) for row in measured}
    fitting = [row for row in measured if not misses[row.name]]
    if not fitting:
        return _none_fits(measured, misses)
    fastest = min(fitting, key=lambda row: row.p50_ms or 0.0)
    equals = [row for row in fitting if row is fastest or _equal(ratio(fastest.name, row.name))]
    chosen = min(equals, key=lambda row: (_largest_loss(row), row.artifact_bytes or 0))
    others = [row.name for row in equals if row is not chosen]
    sentence = _sentence(chosen, _named(rows, baseline), others, fitting=fitting, measured=measured)
    if busy:
        sentence += " The machine was busy: measure again on an idle one before you rely on it."
    return Recommendation(chosen=chosen.name, sentence=sentence, equals=others)


def _named(rows: Sequence[Row], name: str) -> Row | None:
    return next((row for row in rows if row.name == name), None)


def _equal(ratio: Interval | None) -> bool:
    """Whether two subjects cannot be told apart in speed."""
    return ratio is None or ratio[1] <= 1 <= ratio[2]


def _largest_loss(row: Row) -> float:
    """The largest loss that is shown; what cannot be told from 0 counts as 0."""
    return max((loss.value for loss in row.losses if not loss.is_nothing), default=0.0)


def _misses(row: Row, limits: Limits) -> list[_Miss]:
    found = []
    if limits.max_drop is not None:
        for loss in row.losses:
            if not loss.within(limits.max_drop):
                over = (loss.value - limits.max_drop) / max(limits.max_drop, 1e-6)
                verb = "agrees to" if loss.agreement else "loses"
                words = f"{verb} {loss_words(loss)}, and a loss of {limits.max_drop:g} is allowed"
                found.append(_Miss(max(over, 0.0), words))
    if limits.deadline_ms is not None and row.met_deadline is not True:
        late = row.p99_ms or row.p50_ms or 0.0
        what = "p99" if row.p99_ms is not None else "p50, too few frames for a p99"
        words = f"takes {late:.1f} ms ({what}) where {limits.deadline_ms:g} ms are allowed"
        found.append(_Miss(max(late / limits.deadline_ms - 1, 0.0), words))
    if limits.memory_bytes is not None and (row.peak_rss_bytes or 0) > limits.memory_bytes:
        used = row.peak_rss_bytes or 0
        words = f"takes {used / 1e6:.0f} MB where {limits.memory_bytes / 1e6:.0f} are allowed"
        found.append(_Miss(used / limits.memory_bytes - 1, words))
    return found


def _none_fits(rows: Sequence[Row], misses: dict[str, list[_Miss]]) -> Recommendation:
    nearest = min(rows, key=lambda row: max(miss.excess for miss in misses[row.name]))
    why = " and ".join(miss.words for miss in misses[nearest.name])
    sentence = f"None of the {len(rows)} fits: the nearest is {_shown(nearest)}, which {why}."
    return Recommendation(chosen=None, nearest=nearest.name, sentence=sentence)


def _sentence(
    chosen: Row,
    baseline: Row | None,
    equals: list[str],
    *,
    fitting: Sequence[Row],
    measured: Sequence[Row],
) -> str:
    if baseline is None or chosen.name == baseline.name:
        start = f"Ship {_shown(chosen)}: {_nothing_faster(chosen, fitting, measured)}"
    else:
        fits = any(row.name == baseline.name for row in fitting)
        speed = _speed_words(chosen, baseline, baseline_fits=fits)
        loss = f", and its masks {_losses_words(chosen.losses)}" if chosen.losses else ""
        start = f"Ship {_shown(chosen)}: {speed}{loss}"
    ties = f"; as fast, as far as this run can tell: {', '.join(equals)}" if equals else ""
    return f"{start}{ties}."


def _shown(row: Row) -> str:
    if not row.target:
        return row.name
    return f"`{row.target}` {row.precision}" + (" with its memory released" * row.released)


def _nothing_faster(chosen: Row, fitting: Sequence[Row], measured: Sequence[Row]) -> str:
    others = len([row for row in fitting if row.name != chosen.name])
    if not others:
        count = len(measured)
        which = "that was measured" if count == 1 else f"of the {count} that keeps the limits"
        return f"it is the only one {which} ({chosen.p50_ms:.1f} ms a frame)"
    if others == 1:
        return "the other one that keeps the limits is no faster on this machine"
    return f"none of the {others} others that keep the limits is faster on this machine"


def _speed_words(chosen: Row, baseline: Row, *, baseline_fits: bool) -> str:
    against = f"{_shown(baseline)} on this machine"
    if chosen.speedup is None:
        return f"{chosen.p50_ms:.1f} ms a frame against {baseline.p50_ms:.1f} with {against}"
    value, low, high = chosen.speedup
    if low <= 1 <= high:
        return f"no slower and no faster than {against} ({value:.2f}x, {low:.2f} to {high:.2f})"
    if high < 1:
        excuse = "" if baseline_fits else ", which does not keep the limits"
        return f"{value:.2f}x ({low:.2f} to {high:.2f}) as fast as {against}{excuse}"
    return f"{value:.1f}x ({low:.1f} to {high:.1f}) faster than {against}"


def _losses_words(losses: Sequence[Loss]) -> str:
    verb = "agree with the baseline's to" if losses[0].agreement else "lose"
    return f"{verb} {' and '.join(map(loss_words, losses))}"


def loss_words(loss: Loss) -> str:
    """The loss with what may be said of it; an agreement as such."""
    if loss.agreement:
        ends = "one image" if loss.low is None else f"{1 - loss.high:.3f} to {1 - loss.low:.3f}"  # type: ignore[operator]
        return f"{1 - loss.value:.3f} {loss.measure} ({ends})"
    if loss.low is None or loss.high is None:
        return f"{loss.value:.4f} {loss.measure} (one image, no interval)"
    if loss.is_indistinct:
        return f"{loss.value:.4f} {loss.measure} (not distinguishable from 0)"
    return f"{loss.value:.4f} {loss.measure} ({loss.low:.4f} to {loss.high:.4f})"


def baseline_of(names: Sequence[tuple[str, str]]) -> int:
    """Index of the subject that the others are held against: plain fp32, ``cpu`` where it is.

    Args:
        names: ``(target, precision)`` of each.
    """
    ranks = [(precision != "fp32", target != "cpu") for target, precision in names]
    return min(range(len(ranks)), key=lambda index: ranks[index])


ORDER = (Precision.FP32, Precision.INT8, Precision.BF16, Precision.FP16)
"""In which order precisions are tried when time is short: the baseline, then what gains most."""
