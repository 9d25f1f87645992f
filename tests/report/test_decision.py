"""One recommendation: the fastest subject that keeps the limits, and equals are called equal."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from samedge.report.decision import (
    Answer,
    Interval,
    Limits,
    Loss,
    Recommendation,
    Row,
    SpeedRatio,
    baseline_of,
    recommend,
)
from samedge.report.ranked import ranked_table


def row(name: str, p50_ms: float, **changes: object) -> Row:
    target, _, precision = name.partition(" ")
    fields = {"artifact_bytes": 10_000_000, "peak_rss_bytes": 200_000_000, **changes}
    return Row(name=name, target=target, precision=precision, bundle=name, p50_ms=p50_ms, **fields)  # type: ignore[arg-type]


def loss(value: float, low: float | None, high: float | None, **changes: object) -> Loss:
    return Loss(measure="box mIoU", value=value, low=low, high=high, n=100, **changes)  # type: ignore[arg-type]


def ratios(known: Mapping[tuple[str, str], Interval]) -> SpeedRatio:
    def ratio(first: str, second: str) -> Interval | None:
        if (first, second) in known:
            return known[first, second]
        if (second, first) in known:
            value, low, high = known[second, first]
            return 1 / value, 1 / high, 1 / low
        return None

    return ratio


FASTER = {("intel int8", "cpu fp32"): (2.1, 1.9, 2.3)}


def choose(*rows: Row, limits: Limits | None = None, known: object = None) -> Recommendation:
    return recommend(
        rows,
        baseline="cpu fp32",
        ratio=ratios(FASTER if known is None else known),  # type: ignore[arg-type]
        limits=limits or Limits(),
    )


def test_the_sentence_names_speed_and_loss_with_their_intervals() -> None:
    fast = row("intel int8", 20, speedup=(2.1, 1.9, 2.3), losses=[loss(0.0003, -0.002, 0.003)])
    answer = choose(row("cpu fp32", 42), fast)
    assert answer.chosen == "intel int8"
    assert answer.sentence == (
        "Ship `intel` int8: 2.1x (1.9 to 2.3) faster than `cpu` fp32 on this machine, and its "
        "masks lose 0.0003 box mIoU (not distinguishable from 0)."
    )


def test_others_are_counted_in_words_that_fit() -> None:
    slow = [row(f"intel int{bits}", 50, speedup=(0.8, 0.7, 0.9)) for bits in (8, 4)]
    slower = {(other.name, "cpu fp32"): (0.8, 0.7, 0.9) for other in slow}
    one = choose(row("cpu fp32", 42), slow[0], known=slower)
    assert "the other one that keeps the limits is no faster" in one.sentence
    assert "none of the 2 others" in choose(row("cpu fp32", 42), *slow, known=slower).sentence


def test_a_loss_that_is_shown_is_given_with_its_interval() -> None:
    fast = row("intel int8", 20, speedup=(2.1, 1.9, 2.3), losses=[loss(0.004, 0.002, 0.006)])
    assert "lose 0.0040 box mIoU (0.0020 to 0.0060)" in choose(row("cpu fp32", 42), fast).sentence


def test_a_gain_that_is_shown_is_not_called_indistinguishable() -> None:
    better = row("intel int8", 20, speedup=(2.1, 1.9, 2.3), losses=[loss(-0.03, -0.04, -0.02)])
    sentence = choose(row("cpu fp32", 42), better).sentence
    assert "lose -0.0300 box mIoU (-0.0400 to -0.0200)" in sentence
    table = ranked_table(Answer(recommendation=choose(better), rows=[better], baseline="cpu fp32"))
    assert table.rows[0][3] == "lose -0.0300 box mIoU"


def test_who_is_slower_than_a_baseline_that_does_not_fit_is_not_called_faster() -> None:
    large = row("cpu fp32", 10, peak_rss_bytes=900_000_000)
    small = row("intel int8", 20, speedup=(0.5, 0.45, 0.55))
    sentence = choose(large, small, limits=Limits(memory_bytes=300_000_000)).sentence
    assert sentence == (
        "Ship `intel` int8: 0.50x (0.45 to 0.55) as fast as `cpu` fp32 on this machine, which does "
        "not keep the limits."
    )


def test_only_who_keeps_the_limits_is_counted() -> None:
    large = [row(f"intel int{bits}", 5, peak_rss_bytes=900_000_000) for bits in (8, 4)]
    limits = Limits(memory_bytes=300_000_000)
    answer = choose(row("cpu fp32", 42), *large, limits=limits, known={})
    assert "it is the only one of the 3 that keeps the limits (42.0 ms a frame)" in answer.sentence
    slow = row("intel fp32", 50, speedup=(0.8, 0.7, 0.9))
    known = {("intel fp32", "cpu fp32"): (0.8, 0.7, 0.9)}
    two = choose(row("cpu fp32", 42), slow, *large, limits=limits, known=known)
    assert "the other one that keeps the limits is no faster" in two.sentence


def test_agreement_is_not_called_accuracy() -> None:
    agreed = Loss(measure="IoU with boxes", value=0.007, low=0.004, high=0.010, n=9, agreement=True)
    fast = row("intel int8", 20, speedup=(2.1, 1.9, 2.3), losses=[agreed])
    sentence = choose(row("cpu fp32", 42), fast).sentence
    assert "masks agree with the baseline's to 0.993 IoU with boxes (0.990 to 0.996)" in sentence


def test_what_cannot_be_told_apart_is_equal_and_the_smaller_file_is_taken() -> None:
    even = {("intel fp32", "intel bf16"): (1.01, 0.97, 1.05)}
    answer = choose(
        row("intel fp32", 30.0, artifact_bytes=12_000_000),
        row("intel bf16", 30.2, artifact_bytes=6_000_000),
        known=even,
    )
    assert answer.chosen == "intel bf16"
    assert answer.equals == ["intel fp32"]
    assert "as fast, as far as this run can tell: intel fp32" in answer.sentence


def test_among_equals_a_shown_loss_counts_before_the_size() -> None:
    even = {("intel fp32", "intel int8"): (1.01, 0.97, 1.05)}
    answer = choose(
        row("intel fp32", 30.0),
        row("intel int8", 30.2, artifact_bytes=1, losses=[loss(0.01, 0.005, 0.015)]),
        known=even,
    )
    assert answer.chosen == "intel fp32"


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(max_drop=0.005), "loses 0.0200 box mIoU"),
        (Limits(deadline_ms=10), "takes 20.0 ms (p50, too few frames for a p99)"),
        (Limits(memory_bytes=100_000_000), "takes 200 MB where 100 are allowed"),
    ],
)
def test_a_limit_that_is_not_kept_leaves_a_subject_out(limits: Limits, why: str) -> None:
    fast = row("intel int8", 20, losses=[loss(0.02, 0.015, 0.025)])
    answer = choose(fast, limits=limits)
    assert answer.chosen is None
    assert answer.nearest == "intel int8"
    assert answer.sentence.startswith("None of the 1 fits: the nearest is `intel` int8, which")
    assert why in answer.sentence


def test_the_nearest_is_the_one_that_misses_by_least() -> None:
    answer = choose(row("a fp32", 20), row("b fp32", 12), limits=Limits(deadline_ms=10))
    assert answer.nearest == "b fp32"


def test_a_deadline_that_is_met_keeps_a_subject() -> None:
    fast = row("cpu fp32", 8, met_deadline=True, p99_ms=9.5)
    assert choose(fast, limits=Limits(deadline_ms=10)).chosen == "cpu fp32"


def test_an_undecided_deadline_is_not_met() -> None:
    assert choose(row("cpu fp32", 8), limits=Limits(deadline_ms=10)).chosen is None


def test_a_subject_with_a_note_is_never_chosen() -> None:
    answer = choose(row("cpu fp32", 42), row("intel int8", 1, note="not exported: it drifts"))
    assert answer.chosen == "cpu fp32"


def test_nothing_measured_is_said() -> None:
    assert choose().chosen is None


@pytest.mark.parametrize(
    ("loss_row", "inside"),
    [
        (loss(0.001, -0.002, 0.004), True),  # whole interval
        (loss(0.001, -0.02, 0.02), True),  # like nothing
        (loss(0.006, 0.004, 0.008), False),
        (loss(0.004, 0.001, 0.008), False),  # shown, and may be past the budget
        (loss(0.004, None, None), True),
        (loss(0.006, None, None), False),
    ],
)
def test_a_budget_asks_for_the_whole_interval(loss_row: Loss, inside: bool) -> None:
    assert loss_row.within(0.005) is inside


def test_the_baseline_is_plain_fp32() -> None:
    assert baseline_of([("intel", "int8"), ("intel", "fp32"), ("cpu", "fp32")]) == 2
    assert baseline_of([("intel", "int8"), ("apple", "fp16")]) == 0


def test_a_busy_machine_is_part_of_the_sentence() -> None:
    rows = [row("cpu fp32", 42)]
    quiet = recommend(rows, baseline="cpu fp32", ratio=ratios({}), limits=Limits())
    busy = recommend(rows, baseline="cpu fp32", ratio=ratios({}), limits=Limits(), busy=True)
    assert busy.sentence.startswith(quiet.sentence)
    assert "The machine was busy" in busy.sentence
