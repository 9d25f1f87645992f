"""What counts as the same model, and when a loss is proven: the one place of the gates' limits.

``export``, ``calibrate``, ``verify`` and the canary of a bundle all decide by what stands here.
Parity is a matter of numbers, with limits for each precision. Accuracy is a paired test: what a
bundle loses is known up to an interval, and only an interval that lies past the budget refuses.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence

import numpy as np

from samedge.bundle.manifest import Manifest
from samedge.errors import UnknownNameError
from samedge.pixels.metrics import bootstrap_mean
from samedge.types import Precision, Role

MAX_DROP = 0.005
"""Default budget: mean IoU that a box prompt may lose; the other kinds may lose twice as much."""

SECONDS = 60.0
"""Default of the time that one bundle's accuracy may take to be decided."""

FEWEST_IMAGES = 8
"""Below so many images an interval over images says too little to decide by."""

TIE = 0.03
"""Candidates of a click whose predicted IoUs differ by less are as good as one another: which of
them is best is left to rounding, and says nothing about a bundle."""

LEVEL = 0.95
"""Coverage of the interval of a loss."""

EARLY_WIDER = 1.5
"""How many times as wide the interval has to be that refuses before the time is over.

The gate looks some ten times at three kinds of prompts: by chance the plain interval would lie past
the budget at one of them too often. Half as wide again covers 99.7% instead of 95%."""


class Verdict(str, enum.Enum):
    """What an interval says of a budget."""

    PASSED = "passed"
    REFUSED = "refused"
    UNDECIDED = "undecided"


class Undecided(str, enum.Enum):
    """What to do where the measured loss neither proves nor excludes a fault."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """What accuracy may cost.

    Attributes:
        max_drop: mean IoU that a box prompt may lose against fp32; the other kinds twice that.
        seconds: how long one bundle is measured until it is decided.
        undecided: what holds when the time is over before that.
    """

    max_drop: float = MAX_DROP
    seconds: float = SECONDS
    undecided: Undecided = Undecided.PASS

    def passes(self, found: Verdict) -> bool:
        """Whether a bundle with this verdict may be written."""
        if found is Verdict.UNDECIDED:
            return self.undecided is Undecided.PASS
        return found is Verdict.PASSED


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What files must keep to, in units of what the model itself means.

    Attributes:
        margin: logits nearer to 0 than this share of their spread are undecided: rounding may turn
            them, and they are left out of the masks' comparison.
        mask_iou_mean: lowest mean IoU over all masks where the reference is decided, each weighted
            by its stability.
        mask_iou_p05: lowest 5th percentile of it, and lowest mean of any one kind of prompt.
        embedding_cosine: lowest similarity of any photo's embedding, what all photos share taken
            away.
        logit_error: highest RMS error of the logits over their spread: of the worst kind of
            prompt, the median.
        quality_error: highest mean error of the predicted IoUs.
        canary_cosine: lowest similarity of the canary's answers. Rounding alone loses a tenth of
            what it allows; a page of zeros among the weights mostly loses more.
    """

    margin: float
    mask_iou_mean: float
    mask_iou_p05: float
    embedding_cosine: float
    logit_error: float
    quality_error: float
    canary_cosine: float


LIMITS: Mapping[Precision, Limits] = {
    # Rounding alone: what is left is pixels whose logit is zero to six digits.
    Precision.FP32: Limits(
        margin=0.002,
        mask_iou_mean=0.999,
        mask_iou_p05=0.99,
        embedding_cosine=0.9999,
        logit_error=0.005,
        quality_error=0.002,
        canary_cosine=0.9999,
    ),
    Precision.FP16: Limits(
        margin=0.02,
        mask_iou_mean=0.998,
        mask_iou_p05=0.98,
        embedding_cosine=0.999,
        logit_error=0.03,
        quality_error=0.01,
        canary_cosine=0.999,
    ),
    Precision.BF16: Limits(
        margin=0.15,
        mask_iou_mean=0.99,
        mask_iou_p05=0.95,
        embedding_cosine=0.98,
        logit_error=0.12,
        quality_error=0.03,
        canary_cosine=0.99,
    ),
}
_EIGHT_BITS = Limits(
    margin=0.2,
    mask_iou_mean=0.98,
    mask_iou_p05=0.9,
    embedding_cosine=0.97,
    logit_error=0.25,
    quality_error=0.05,
    canary_cosine=0.98,
)
_FEWER_BITS = Limits(
    margin=0.3,
    mask_iou_mean=0.95,
    mask_iou_p05=0.8,
    embedding_cosine=0.95,
    logit_error=0.4,
    quality_error=0.1,
    canary_cosine=0.9,
)
_FEW = (Precision.W6, Precision.W4, Precision.P4)


def limits(precision: Precision, *, max_drop: float | None = None) -> Limits:
    """Limits for a precision.

    Args:
        precision: what the files compute in.
        max_drop: lower the limit of the mean IoU, or raise it, to ``1 - max_drop``.
    """
    found = LIMITS.get(precision, _FEWER_BITS if precision in _FEW else _EIGHT_BITS)
    if max_drop is None:
        return found
    return dataclasses.replace(found, mask_iou_mean=1.0 - max_drop)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphLimits:
    """Limits of a bundle whose graphs may compute in different precisions.

    Attributes:
        encoder: for the embeddings.
        decoder: for the decoder alone, given the bundle's own embeddings.
        whole: for the masks from picture to logits: the wider of the two.
    """

    encoder: Limits
    decoder: Limits
    whole: Limits


def graph_limits(
    encoder: Precision, decoder: Precision, *, max_drop: float | None = None
) -> GraphLimits:
    """Limits of a bundle by what its graphs compute in.

    Args:
        encoder: precision of the encoder.
        decoder: precision of the decoder.
        max_drop: as of :func:`limits`, for the masks of the whole.
    """
    wider = max(encoder, decoder, key=lambda precision: limits(precision).logit_error)
    return GraphLimits(
        encoder=limits(encoder), decoder=limits(decoder), whole=limits(wider, max_drop=max_drop)
    )


def limits_of(manifest: Manifest, *, max_drop: float | None = None) -> GraphLimits:
    """Limits of a bundle by its manifest."""
    found = {record.role: Precision(record.precision) for record in manifest.graphs}
    usual = Precision(manifest.precision)
    return graph_limits(
        found.get(Role.ENCODER, usual), found.get(Role.DECODER, usual), max_drop=max_drop
    )


def canary_limits(manifest: Manifest) -> dict[str, float]:
    """Lowest similarity of the canary's answers by role: each graph by its own precision.

    The decoder is asked with the embeddings of the bundle's own encoder, so that what either loses
    is in its masks.
    """
    found = {
        graph.role: limits(Precision(graph.precision)).canary_cosine
        for graph in manifest.own_graphs
    }
    return {**found, str(Role.DECODER): limits_of(manifest).whole.canary_cosine}


def kept_limits(manifest: Manifest) -> GraphLimits:
    """Limits of a finished bundle: those that its export held it against, where it kept them."""
    found = limits_of(manifest)
    kept = manifest.parity.gate if manifest.parity else {}
    if set(kept) != {field.name for field in dataclasses.fields(Limits)}:
        return found  # an older export, whose figures meant something else
    return dataclasses.replace(found, whole=Limits(**kept))


def allowed_drop(prompt: str, max_drop: float) -> float:
    """What a kind of prompt may lose: clicks say less than boxes, and vary twice as much."""
    return max_drop if prompt == "box" else 2.0 * max_drop


def undecided(name: str) -> Undecided:
    """The rule of that name.

    Raises:
        UnknownNameError: neither ``pass`` nor ``fail``.
    """
    known = [rule.value for rule in Undecided]
    if name not in known:
        raise UnknownNameError("rule for what is undecided", name, known)
    return Undecided(name)


def loss_interval(losses: Sequence[float], images: Sequence[int]) -> tuple[float, float] | None:
    """Where the mean loss lies, by a bootstrap over whole images.

    Few images spread less than all would: the interval is widened as Student's t is wider than a
    normal distribution.

    Args:
        losses: IoU of fp32 less IoU of the bundle, one an instance.
        images: the image of each.

    Returns:
        ``(low, high)``, or ``None`` with too few images to tell.
    """
    count = len(set(images))
    found = bootstrap_mean(losses, images, level=LEVEL) if count >= FEWEST_IMAGES else None
    if found is None:
        return None
    mean = float(np.mean(losses))
    wider = _student(count - 1) / _NORMAL * (count / (count - 1)) ** 0.5
    return mean + (found[0] - mean) * wider, mean + (found[1] - mean) * wider


_NORMAL = 1.96  # of LEVEL


def _student(freedom: int) -> float:
    """Quantile of Student's t for LEVEL, to the second term of Cornish and Fisher."""
    return _NORMAL + (_NORMAL**3 + _NORMAL) / (4 * freedom)


def verdict(interval: tuple[float, float] | None, budget: float, *, early: bool = False) -> Verdict:
    """Hold an interval of a loss against a budget; what is not a number is never passed.

    Args:
        interval: of :func:`loss_interval`.
        budget: mean IoU that may be lost.
        early: more can still be measured; a refusal needs an interval that is
            :data:`EARLY_WIDER` times as wide.
    """
    if interval is None:
        return Verdict.UNDECIDED
    low, high = interval
    if high <= budget:
        return Verdict.PASSED
    if early:
        low -= (high - low) / 2 * (EARLY_WIDER - 1)
    return Verdict.UNDECIDED if low <= budget else Verdict.REFUSED


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """One refusal refuses; all must pass to pass, and nothing measured is undecided."""
    if Verdict.REFUSED in verdicts:
        return Verdict.REFUSED
    return Verdict.PASSED if set(verdicts) == {Verdict.PASSED} else Verdict.UNDECIDED
