"""What counts as the same model, and when a loss is proven."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest

from samedge.bundle.bundle import Bundle
from samedge.errors import UnknownNameError
from samedge.proof import decision
from samedge.proof.decision import (
    FEWEST_IMAGES,
    Budget,
    Limits,
    Undecided,
    Verdict,
    graph_limits,
    limits,
    loss_interval,
    overall,
)
from samedge.types import Precision


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((-0.01, 0.005), Verdict.PASSED),
        ((-0.01, 0.0051), Verdict.UNDECIDED),
        ((0.005, 0.02), Verdict.UNDECIDED),
        ((0.0051, 0.02), Verdict.REFUSED),
        ((float("nan"), float("nan")), Verdict.REFUSED),
        (None, Verdict.UNDECIDED),
    ],
)
def test_an_interval_decides_by_its_ends(
    interval: tuple[float, float] | None, expected: Verdict
) -> None:
    assert decision.verdict(interval, 0.005) is expected


def test_a_refusal_before_the_time_is_over_needs_more() -> None:
    """Eighteen images of one random subset once refused a bundle that loses nothing."""
    by_chance, proven, inside = (0.0052, 0.0166), (0.0082, 0.0166), (-0.01, 0.005)
    assert decision.verdict(by_chance, 0.005, early=True) is Verdict.UNDECIDED
    assert decision.verdict(by_chance, 0.005) is Verdict.REFUSED
    assert decision.verdict(proven, 0.005, early=True) is Verdict.REFUSED
    assert decision.verdict(inside, 0.005, early=True) is Verdict.PASSED
    nan = float("nan")
    assert decision.verdict((nan, nan), 0.005, early=True) is Verdict.REFUSED


def test_looking_again_and_again_does_not_refuse_what_is_sound() -> None:
    """The loss is half of the budget, more than any bundle that ships had."""
    random = np.random.default_rng(0)
    images = np.repeat(np.arange(47), 5)
    refused = {True: 0, False: 0}
    for _ in range(100):
        losses = 0.0025 + random.normal(0, 0.012, 47)[images] + random.normal(0, 0.03, len(images))
        seen = [images < count for count in (8, 12, 18, 29, 47)]
        looks = [loss_interval(losses[s].tolist(), images[s].tolist()) for s in seen]
        for early in refused:
            found = [decision.verdict(look, 0.005, early=early) for look in looks[:-1]]
            found.append(decision.verdict(looks[-1], 0.005))
            decided = [verdict for verdict in found if verdict is not Verdict.UNDECIDED]
            refused[early] += decided[:1] == [Verdict.REFUSED]
    print(refused)
    assert refused[True] <= 2  # 1 in 50
    assert refused[False] > refused[True]


def test_one_refusal_refuses_and_all_must_pass() -> None:
    passed, refused, open_ = Verdict.PASSED, Verdict.REFUSED, Verdict.UNDECIDED
    assert overall([passed, passed]) is passed
    assert overall([passed, open_]) is open_
    assert overall([open_, refused, passed]) is refused
    assert overall([]) is open_  # nothing was measured


def test_the_rule_for_what_is_undecided() -> None:
    assert decision.undecided("pass") is Undecided.PASS
    with pytest.raises(UnknownNameError, match="fail"):
        decision.undecided("maybe")
    assert Budget().passes(Verdict.UNDECIDED)
    assert not Budget(undecided=Undecided.FAIL).passes(Verdict.UNDECIDED)
    assert not Budget().passes(Verdict.REFUSED)


def test_too_few_images_tell_nothing() -> None:
    few = list(range(FEWEST_IMAGES - 1)) * 50
    assert loss_interval([0.3] * len(few), few) is None


@pytest.mark.parametrize("images", [FEWEST_IMAGES, 20, 60])
def test_the_interval_holds_the_true_loss_as_often_as_it_says(images: int) -> None:
    """Instances of one image go together, as they do on photos."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(images), 4)
    held = 0
    for _ in range(300):
        shared = random.normal(0, 0.02, images)[groups]
        losses = 0.01 + shared + random.normal(0, 0.02, len(groups))
        low, high = loss_interval(losses.tolist(), groups.tolist()) or (1.0, -1.0)
        held += low <= 0.01 <= high
    print(images, held / 300)
    assert 0.91 <= held / 300 <= 0.99


def test_equal_answers_lose_nothing() -> None:
    images = list(range(FEWEST_IMAGES))
    assert loss_interval([0.0] * len(images), images) == (0.0, 0.0)


def test_every_precision_has_limits_and_lower_ones_are_wider() -> None:
    order = ["fp32", "fp16", "bf16", "int8", "w4"]
    rows = [limits(Precision(name)) for name in order]
    for field in dataclasses.fields(Limits):
        values = [getattr(row, field.name) for row in rows]
        rises = field.name in ("margin", "logit_error", "quality_error")
        assert values == sorted(values, reverse=not rises), field.name
    for precision in Precision:
        assert limits(precision).mask_iou_mean < 1.0


def test_max_drop_moves_the_mean_alone() -> None:
    usual, wider = limits(Precision.FP32), limits(Precision.FP32, max_drop=0.02)
    assert wider.mask_iou_mean == pytest.approx(0.98)
    assert dataclasses.replace(wider, mask_iou_mean=usual.mask_iou_mean) == usual


def test_a_float_decoder_is_held_to_its_own_limits() -> None:
    """The encoder's rounding is no excuse for the decoder."""
    found = graph_limits(Precision.INT8, Precision.FP32)
    assert found.decoder == limits(Precision.FP32)
    assert found.encoder == found.whole == limits(Precision.INT8)
    assert graph_limits(Precision.BF16, Precision.INT8).whole == limits(Precision.INT8)


def test_the_canary_is_held_to_the_precision_of_each_graph(toy_bundle: Path) -> None:
    """Words in INT8 leave the masks of a float encoder and decoder as near as they were."""
    manifest = Bundle.open(toy_bundle).manifest
    encoder, decoder = manifest.graph("encoder"), manifest.graph("decoder")
    assert encoder is not None
    assert decoder is not None
    words = msgspec.structs.replace(encoder, role="text_encoder", precision="int8")
    fp32, int8 = (limits(p).canary_cosine for p in (Precision.FP32, Precision.INT8))
    found = msgspec.structs.replace(manifest, graphs=[encoder, decoder, words])
    assert decision.canary_limits(found) == {
        "encoder": fp32,
        "decoder": fp32,
        "text_encoder": int8,
    }
    low = msgspec.structs.replace(encoder, precision="int8")
    found = msgspec.structs.replace(manifest, graphs=[low, decoder])
    assert decision.canary_limits(found) == {"encoder": int8, "decoder": int8}
