"""From sensitivities to a precision plan: the fastest mix that stays inside the budget.

Groups are quantized from the least sensitive upwards while the sum of the drops stays inside. Drops
do not simply add up: so the whole is measured, and the most sensitive group goes back to float
until it passes. Where groups were slower alone, the mix without them is measured too, and the
faster of the two is taken: alone, a group pays for conversions at its edges that it may share with
its neighbours in the whole. INT8 that is not faster than the float it replaces is not used at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from samedge.bundle import Bundle
from samedge.calibration.accuracy import MAX_DROP, Accuracy, Reference, compare, latency_ratios
from samedge.calibration.dataset import CalibrationSet
from samedge.calibration.plan import PlanRow, PrecisionPlan
from samedge.calibration.sensitivity import MAX_IMAGES, GroupDrop, Report, sensitivities
from samedge.calibration.trial import RoleFeeds, bench_for, quantized_predictor, quantizer_for
from samedge.errors import CalibrationError
from samedge.predictor import Predictor
from samedge.types import Precision


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """One choice of groups for INT8, measured as a whole.

    Attributes:
        groups: quantized together; none of them: everything in float.
        accuracy: against fp32.
        float_ratio: median latency of encoder and decoder over the same in float, without INT8;
            ``None``: the platform is not here.
        verdict: ``chosen``, or why it was not.
    """

    groups: list[str]
    accuracy: Accuracy
    float_ratio: float | None
    verdict: str = ""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """A plan and how it was found.

    Attributes:
        plan: the plan.
        drops: every group's sensitivity, the worst first.
        accuracy: of the whole plan against fp32.
        mixes: every mix that was measured as a whole.
    """

    plan: PrecisionPlan
    drops: list[GroupDrop]
    accuracy: Accuracy
    mixes: list[Mix]


def find_plan(
    bundle: Bundle,
    data: CalibrationSet,
    *,
    max_drop: float = MAX_DROP,
    max_images: int = MAX_IMAGES,
    report: Report = lambda _: None,
) -> Search:
    """Measure every group and choose the plan.

    Figures are kept in the user's cache as they come in, so that an interrupted search goes on
    where it stopped.

    Args:
        bundle: an fp32 bundle.
        data: images to calibrate and to measure on.
        max_drop: the budget, as of :func:`samedge.calibration.accuracy.compare`.
        max_images: images that each group is measured on.
        report: hears of every step.

    Raises:
        CalibrationError: the bundle cannot be quantized, or not one group fits the budget.
    """
    quantizer_for(bundle)
    bench = bench_for(bundle)
    feeds = RoleFeeds(bundle, data)
    drops = sensitivities(bundle, data, feeds, max_images=max_images, report=report)
    with bench.open(bundle) as predictor, bench.open(bundle, int8=True) as plain:
        trial = _Trial(Reference(predictor, data), plain, feeds, max_drop, report)
        mixes = _mixes(trial, drops)
        inside = [mix for mix in mixes if mix.accuracy.passed]
        if not inside:
            raise CalibrationError(
                f"Not one group of {bundle.path} can be quantized within --max-drop "
                f"{max_drop:g}: the least sensitive, {drops[-1].group}, loses "
                f"{drops[-1].drop:.4f}. Raise the budget, or keep a float precision."
            )
        best = min(inside, key=lambda mix: mix.float_ratio or 0.0)
        if best.float_ratio is not None and best.float_ratio >= 1.0:
            best = trial.run([], floats=True)
            mixes.append(best)
    plan = plan_from_drops(drops, best.groups, rest=bench.rest)
    return Search(plan=plan, drops=drops, accuracy=best.accuracy, mixes=_judged(mixes, best))


class _Trial:
    """Measures mixes against the two float bundles."""

    def __init__(
        self,
        reference: Reference,
        plain: Predictor,
        feeds: RoleFeeds,
        max_drop: float,
        report: Report,
    ) -> None:
        self.reference, self.plain, self.feeds = reference, plain, feeds
        self.max_drop, self.report = max_drop, report
        self.bundle = reference.predictor.bundle
        self.bench = bench_for(self.bundle)

    def run(self, chosen: Sequence[GroupDrop], *, floats: bool = False) -> Mix:
        """Measure some groups together; ``floats``: the float bundle itself."""
        self.report(f"all of {len(chosen)} groups together")
        if floats:
            return Mix(groups=[], accuracy=self._compared(self.plain), float_ratio=1.0)
        bundle = self.bundle
        plan = plan_from_drops(chosen, [f.group for f in chosen], rest=self.bench.rest)
        with quantized_predictor(bundle, plan, self.feeds, quantizer_for(bundle)) as candidate:
            accuracy, ratio = self._compared(candidate), None
            if self.bench.timed:
                picture = next(self.reference.data.pictures())
                ratio = latency_ratios(self.plain, candidate, picture)[2]
        return Mix(groups=[f.group for f in chosen], accuracy=accuracy, float_ratio=ratio)

    def _compared(self, candidate: Predictor) -> Accuracy:
        timed = self.bench.timed
        return compare(self.reference, candidate, max_drop=self.max_drop, timed=timed)


def _mixes(trial: _Trial, drops: Sequence[GroupDrop]) -> list[Mix]:
    """What fits the budget, down to what passes as a whole; and the same without slow groups."""
    mixes = []
    chosen = _within_budget(drops, trial.max_drop)
    while chosen:
        mixes.append(trial.run(chosen))
        if mixes[-1].accuracy.passed:
            break
        chosen = chosen[:-1]
    faster = [found for found in chosen if not found.is_slower]
    if faster and len(faster) < len(chosen):
        mixes.append(trial.run(faster))
    return mixes


def plan_from_drops(
    drops: Sequence[GroupDrop], quantized: Sequence[str], *, rest: Precision
) -> PrecisionPlan:
    """A plan that quantizes the given groups and says of every group what it was measured to lose.

    Args:
        drops: all groups.
        quantized: names of those for INT8.
        rest: precision of the others, and of what is not in any group.
    """
    rows = [
        PlanRow(
            module=found.group,
            precision=Precision.INT8.value if found.group in quantized else rest.value,
            reason=_reason(found, is_quantized=found.group in quantized),
            drop=found.drop,
        )
        for found in drops
    ]
    return PrecisionPlan(default=rest.value, rest=rest.value, modules=rows)


def _reason(found: GroupDrop, *, is_quantized: bool) -> str:
    if is_quantized:
        return "fits the budget"
    if found.is_slower:
        return f"slower in INT8: {found.latency_ratio:.2f} of the latency"
    return "would exceed the budget"


def _judged(mixes: Sequence[Mix], best: Mix) -> list[Mix]:
    return [
        msgspec.structs.replace(mix, verdict="chosen" if mix is best else _objection(mix))
        for mix in mixes
    ]


def _objection(mix: Mix) -> str:
    if not mix.accuracy.passed:
        return "loses more than the budget"
    if mix.float_ratio is not None and mix.float_ratio >= 1.0:
        return f"not faster than float: {mix.float_ratio:.2f} of its latency"
    return "slower than the chosen one"


def _within_budget(drops: Sequence[GroupDrop], max_drop: float) -> list[GroupDrop]:
    """The least sensitive groups whose drops together fit, in rising order of their drop."""
    total, chosen = 0.0, []
    for found in sorted(drops, key=lambda found: found.drop):
        total += max(found.drop, 0.0)
        if total > max_drop:
            break
        chosen.append(found)
    return chosen
