"""From sensitivities to a precision plan: the fastest mix that stays inside the budget.

Drops do not simply add up, and small ones are noise: so all groups together are measured first.
Where they lose too much, groups are taken from the least sensitive upwards while the sum of their
drops stays inside; the whole is measured, and the most sensitive groups go back to float until it
passes, twice as many each time. A mix whose loss is not decided in time counts by its estimate. A
mix must also pass the parity that the export will ask, over
every kind of prompt: where the embeddings move too far, the groups of the encoder that move the
masks most go back; where the masks do, those of the decoder. Where groups were slower alone, the
mix without them is measured too, and so is the encoder's part, and the fastest is taken: alone, a
group pays for conversions at its edges that it may share with its neighbours in the whole. INT8
that is not faster than the float it replaces is not used at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec

from samedge.bundle.bundle import Bundle
from samedge.calibration.plan import PlanRow, PrecisionPlan
from samedge.calibration.sensitivity import MAX_IMAGES, GroupDrop, groups_of, sensitivities
from samedge.calibration.trial import (
    RoleFeeds,
    bench_for,
    opened_graphs,
    quantized_predictor,
    quantizer_for,
)
from samedge.errors import CalibrationError
from samedge.predict.graphs import Graphs
from samedge.predict.predictor import Predictor
from samedge.proof.accuracy import Accuracy, compare, latency_ratios
from samedge.proof.decision import (
    MAX_DROP,
    SECONDS,
    Budget,
    GraphLimits,
    allowed_drop,
    graph_limits,
)
from samedge.proof.parity import Parity, measure
from samedge.proof.photos import CalibrationSet
from samedge.proof.scenes import Reference
from samedge.types import IMAGE_EMBEDDINGS, IMAGE_ROLES, Precision, Progress, Role, Stage, Steps

_MOST_MIXES = 3  # where the first passes: all together, without slow parts, the encoder alone
_PHOTOS = 4
"""On which parity is asked."""


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """One choice of groups for INT8, measured as a whole.

    Attributes:
        groups: quantized together; none of them: everything in float.
        accuracy: against fp32.
        float_ratio: median latency of encoder and decoder over the same in float, without INT8;
            ``None``: the platform is not here.
        parity: empty where parity with fp32 holds, else what does not.
        verdict: ``chosen``, or why it was not.
    """

    groups: list[str]
    accuracy: Accuracy
    float_ratio: float | None
    parity: str = ""
    verdict: str = ""

    @property
    def fits(self) -> bool:
        """Whether accuracy stays inside the budget; what is undecided counts by its estimate."""
        found = self.accuracy
        return found.passed and all(
            row.drop <= allowed_drop(row.prompt, found.max_drop) for row in found.rows
        )

    @property
    def passed(self) -> bool:
        """Whether accuracy stays inside the budget, and parity holds."""
        return self.fits and not self.parity


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
    seconds: float = SECONDS,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> Search:
    """Measure every group and choose the plan.

    Figures are kept in the user's cache as they come in, so that an interrupted search goes on
    where it stopped.

    Args:
        bundle: an fp32 bundle.
        data: images to calibrate and to measure on.
        max_drop: the budget, as of :class:`samedge.proof.decision.Budget`.
        max_images: images that each group is measured on.
        seconds: how long the accuracy of one mix is measured at most.
        progress: hears of every step: a group alone, a mix of groups.
        stage: is told which.

    Raises:
        CalibrationError: the bundle or all of its parts cannot be quantized, or no mix fits the
            budget.
    """
    quantizer_for(bundle)
    bench = bench_for(bundle)
    groups = groups_of(bundle)
    if not groups:
        raise CalibrationError(
            f"{bundle.path} has no part that INT8 can quantize (products of constant weights, by "
            "name): export the model with samedge in fp32, or keep a float precision."
        )
    feeds = RoleFeeds(bundle, data)
    steps = Steps(len(groups) + _MOST_MIXES, progress=progress, stage=stage)
    drops = sensitivities(bundle, data, feeds=feeds, max_images=max_images, steps=steps)
    with (
        bench.open(bundle) as predictor,
        bench.open(bundle, int8=True) as plain,
        opened_graphs(bundle) as graphs,
    ):
        budget = Budget(max_drop=max_drop, seconds=seconds)
        trial = _Trial(Reference(predictor, data), plain, graphs, feeds, budget, steps)
        mixes = _mixes(trial, drops)
        inside = [mix for mix in mixes if mix.passed]
        if not inside:
            last = min(mixes, key=lambda mix: len(mix.groups))
            raise CalibrationError(
                f"No mix of {bundle.path} can be quantized within --max-drop {max_drop:g}: the "
                f"smallest that was tried, {', '.join(last.groups[:3])}, {_objection(last)}. Raise "
                "the budget, or keep a float precision."
            )
        best = min(inside, key=lambda mix: mix.float_ratio or 0.0)
        if best.float_ratio is not None and best.float_ratio >= 1.0:
            best = trial.run([], floats=True)
            mixes.append(best)
    plan = _explained(plan_from_drops(drops, best.groups, rest=bench.rest), drops, mixes)
    return Search(plan=plan, drops=drops, accuracy=best.accuracy, mixes=_judged(mixes, best))


class _Trial:
    """Measures mixes against the two float bundles."""

    def __init__(
        self,
        reference: Reference,
        plain: Predictor,
        graphs: Graphs,
        feeds: RoleFeeds,
        budget: Budget,
        steps: Steps,
    ) -> None:
        self.reference, self.plain, self.graphs, self.feeds = reference, plain, graphs, feeds
        self.budget, self.steps = budget, steps
        self.bundle = reference.predictor.bundle
        self.bench = bench_for(self.bundle)
        self._photos = list(itertools.islice(reference.data.photos(), _PHOTOS))

    def run(self, chosen: Sequence[GroupDrop], *, floats: bool = False) -> Mix:
        """Measure some groups together; ``floats``: the float bundle itself."""
        self.steps.step(f"all of {len(chosen)} groups together")
        if floats:
            return self._mix([], self.plain, float_ratio=1.0)
        bundle = self.bundle
        plan = plan_from_drops(chosen, [f.group for f in chosen], rest=self.bench.rest)
        with quantized_predictor(
            bundle, plan, feeds=self.feeds, quantizer=quantizer_for(bundle)
        ) as subject:
            ratio = None
            if self.bench.timed:
                ratio = latency_ratios(self.plain, subject, picture=self._photos[0])[2]
            return self._mix(chosen, subject, float_ratio=ratio)

    def _mix(
        self, chosen: Sequence[GroupDrop], subject: Predictor, *, float_ratio: float | None
    ) -> Mix:
        timed = self.bench.timed
        return Mix(
            groups=[found.group for found in chosen],
            accuracy=compare(self.reference, subject, budget=self.budget, timed=timed),
            float_ratio=float_ratio,
            parity=_problem(
                measure(self.graphs, subject, photos=self._photos, limits=self._limits(chosen))
            ),
        )

    def _limits(self, chosen: Sequence[GroupDrop]) -> GraphLimits:
        """What an export of these groups would have to keep to."""
        roles = {found.role for found in chosen}
        encoder, decoder = (
            Precision.INT8 if role in roles else self.bench.rest for role in IMAGE_ROLES
        )
        return graph_limits(encoder, decoder)


def _problem(measured: Parity) -> str:
    """What the gate of an export would say; empty where it passes."""
    for tensor, found, limit in measured.figures():
        if not found >= limit:
            return f"{tensor} {found:.3f}, limit {limit:.3f}"
    return ""


def _mixes(trial: _Trial, drops: Sequence[GroupDrop]) -> list[Mix]:
    """All groups, then what fits, down to what passes; and parts of that which may be faster."""
    mixes: list[Mix] = []
    chosen = sorted(drops, key=lambda found: found.drop)
    steps = dict.fromkeys(("accuracy", *IMAGE_ROLES), 1)
    while chosen:
        mixes.append(trial.run(chosen))
        if mixes[-1].passed:
            break
        chosen = _fewer(chosen, mixes[-1], max_drop=trial.budget.max_drop, steps=steps)
    tried = [chosen]
    for fewer in (
        [found for found in chosen if not found.is_slower],
        [found for found in chosen if found.role == Role.ENCODER],
    ):
        if fewer and fewer not in tried:
            mixes.append(trial.run(fewer))
            tried.append(fewer)
    return mixes


def _fewer(
    chosen: list[GroupDrop], failed: Mix, *, max_drop: float, steps: dict[str, int]
) -> list[GroupDrop]:
    """What to try after a mix that did not pass, in rising order of the drops.

    Args:
        chosen: the groups of the mix.
        failed: the mix.
        max_drop: the budget.
        steps: how many groups go back next, by what fails; doubled each time, so that a model
            that stands little is known after a few mixes.
    """
    if not failed.fits:
        fitting = _within_budget(chosen, max_drop)
        if len(fitting) < len(chosen):
            return fitting
        ranked, key = chosen[::-1], "accuracy"
    else:
        own = [found for found in chosen if found.role == Role.DECODER]
        is_decoder = own and not failed.parity.startswith(IMAGE_EMBEDDINGS)
        key = str(Role.DECODER if is_decoder else Role.ENCODER)
        own = [found for found in chosen if found.role == key] or chosen
        ranked = sorted(own, key=lambda found: found.mask_iou)
    worst, steps[key] = ranked[: steps[key]], 2 * steps[key]
    return [found for found in chosen if found not in worst]


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
            drop=found.drop,
        )
        for found in drops
    ]
    return PrecisionPlan(default=rest.value, rest=rest.value, modules=rows)


def _explained(
    plan: PrecisionPlan, drops: Sequence[GroupDrop], mixes: Sequence[Mix]
) -> PrecisionPlan:
    """The plan with a reason in every row."""
    by_group = {found.group: found for found in drops}
    return plan.with_rows(
        msgspec.structs.replace(row, reason=_reason(row, by_group[row.module], mixes))
        for row in plan.modules
    )


def _reason(row: PlanRow, found: GroupDrop, mixes: Sequence[Mix]) -> str:
    if row.precision == Precision.INT8.value:
        return "fits the budget"
    if found.is_slower:
        return f"slower in INT8: {found.latency_ratio:.2f} of the latency"
    having = [mix for mix in mixes if found.group in mix.groups]
    if any(mix.passed for mix in having):
        return "no mix with it is faster"
    if any(mix.fits for mix in having):
        return "fails parity"
    return "would exceed the budget"


def _judged(mixes: Sequence[Mix], best: Mix) -> list[Mix]:
    return [
        msgspec.structs.replace(mix, verdict="chosen" if mix is best else _objection(mix))
        for mix in mixes
    ]


def _objection(mix: Mix) -> str:
    if not mix.fits:
        return "loses more than the budget"
    if not mix.passed:
        return f"fails parity: {mix.parity}"
    if mix.float_ratio is not None and mix.float_ratio >= 1.0:
        return f"not faster than float: {mix.float_ratio:.2f} of its latency"
    return "slower than the chosen one"


def _within_budget(drops: Sequence[GroupDrop], max_drop: float) -> list[GroupDrop]:
    """The first groups, in rising order of their drop, whose drops together fit."""
    total, chosen = 0.0, []
    for found in drops:
        total += max(found.drop, 0.0)
        if total > max_drop:
            break
        chosen.append(found)
    return chosen
