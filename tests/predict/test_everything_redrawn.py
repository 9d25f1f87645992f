"""Masks of everything mode asked for again by their own boxes, on a toy that fills boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from samedge import runtimes
from samedge.predict.everything import EverythingConfig, segment_everything
from samedge.predict.everything_candidates import Candidates, low_res_boxes
from samedge.predict.everything_redrawn import redrawn
from samedge.predict.predictor import Predictor
from samedge.types import Array
from tests.toys.bundle import IOU_PREDICTIONS

pytest.importorskip("onnx")

SIZE = (240, 320)


@pytest.fixture
def predictor(toy_bundle: Path) -> Iterator[Predictor]:
    probe = runtimes.get("onnxruntime").probe()
    if not probe.available:
        pytest.skip(probe.detail)
    with Predictor.from_bundle(toy_bundle, backend="onnxruntime") as opened:
        yield opened


@pytest.fixture
def image(rng: np.random.Generator) -> Array:
    return rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def _candidates(predictor: Predictor, image: Array, logits: Array) -> Candidates:
    count = len(logits)
    return Candidates(
        logits=logits.astype(np.float32),
        boxes=low_res_boxes(logits, predictor.frame.view_of(image), threshold=0.0),
        iou=np.linspace(0.9, 0.8, count, dtype=np.float32),
        stability=np.ones(count, np.float32),
        points=np.zeros((count, 2)),
    )


def test_what_is_the_same_thing_is_drawn_again_and_what_is_not_goes(
    predictor: Predictor, image: Array
) -> None:
    side = predictor.frame.low_res_side
    logits = np.full((3, side, side), -1.0, np.float32)
    logits[0, 2:8, 2:10] = 0.1
    logits[0, 2:4, 2:4] = -0.1  # a corner is missing
    np.fill_diagonal(logits[1], 0.1)  # a thin line, of which its box is another thing
    logits[2, 4:9, 9:15] = 0.1
    found = _candidates(predictor, image, logits)
    embedding = predictor.encode(image)
    made = redrawn(predictor, embedding, found=found, batch=2)
    assert (made.logits[0, 2:8, 2:10] > 0).all()
    assert len(made.iou) == 2
    assert (made.logits[1, 4:9, 9:15] > 0.1).all()
    assert made.iou == pytest.approx((found.iou[[0, 2]] + IOU_PREDICTIONS[0]) / 2)
    assert np.array_equal(made.boxes, low_res_boxes(made.logits, embedding.view, threshold=0.0))
    nothing = found[np.zeros(0, np.int64)]
    assert redrawn(predictor, embedding, found=nothing, batch=2) is nothing


def test_everything_draws_again_where_it_is_set(predictor: Predictor, image: Array) -> None:
    def filled(*, again: bool) -> float:
        config = EverythingConfig(
            points_per_side=6,
            pred_iou_threshold=0.0,
            stability_threshold=0.0,
            crop_layers=1,
            redrawn=again,
        )
        masks = segment_everything(predictor, image, config=config)
        sides = [(m.box[2] - m.box[0]) * (m.box[3] - m.box[1]) for m in masks]
        return float(np.mean([m.area / s for m, s in zip(masks, sides, strict=True)]))

    assert filled(again=True) > filled(again=False) + 0.03
