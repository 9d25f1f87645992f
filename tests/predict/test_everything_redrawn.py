"""Masks of everything mode asked for again by their own boxes, on a toy that fills boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import runtimes
from samedge.errors import OptionError
from samedge.pixels import metrics
from samedge.pixels.boxes import Box
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.everything import (
    EverythingConfig,
    batch_count,
    masks_and_clicks,
    proposals,
    segment_everything,
)
from samedge.predict.everything_candidates import Candidates, low_res_boxes
from samedge.predict.everything_redrawn import Part, redrawn
from samedge.predict.predictor import Predictor
from samedge.types import Array, Size
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


def _part(
    predictor: Predictor, image: Array, box: Box, *, found: Candidates, layer: int = 0
) -> Part:
    x0, y0, x1, y1 = box
    embedding = predictor.encode(image[y0:y1, x0:x1])
    return Part(box, layer, found, lambda: embedding)


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
    whole = _part(predictor, image, (0, 0, SIZE[1], SIZE[0]), found=found)
    [part] = redrawn(predictor, [whole], size=SIZE, batch=2)
    made = part.found
    assert (made.logits[0, 2:8, 2:10] > 0).all()
    assert len(made.iou) == 2
    assert (made.logits[1, 4:9, 9:15] > 0.1).all()
    assert made.iou == pytest.approx((found.iou[[0, 2]] + IOU_PREDICTIONS[0]) / 2)
    view = predictor.frame.view(SIZE)
    assert np.array_equal(made.boxes, low_res_boxes(made.logits, view, threshold=0.0))
    empty = dataclasses.replace(whole, found=found[np.zeros(0, np.int64)])
    [part] = redrawn(predictor, [empty], size=SIZE, batch=2)
    assert not len(part.found.iou)


def test_a_small_mask_is_drawn_again_where_it_is_largest(
    predictor: Predictor, image: Array
) -> None:
    side = predictor.frame.low_res_side
    logits = np.full((2, side, side), -1.0, np.float32)
    logits[0, 2:5, 9:12] = 0.1  # in the upper right crop alone
    logits[1, 1:12, 1:15] = 0.1  # in no crop
    found = _candidates(predictor, image, logits)
    crops = [(0, 0, 320, 240), (0, 0, 180, 140), (140, 0, 320, 140), (140, 100, 320, 240)]
    nothing = found[np.zeros(0, np.int64)]
    parts = [
        _part(predictor, image, box, found=found if not number else nothing, layer=min(number, 1))
        for number, box in enumerate(crops)
    ]
    whole, left, right, lower = redrawn(predictor, parts, size=SIZE, batch=16)
    assert [len(part.found.iou) for part in (whole, left, right, lower)] == [1, 0, 1, 0]
    assert right.found.iou == pytest.approx((found.iou[:1] + IOU_PREDICTIONS[0]) / 2)
    placed = right.found.boxes[0] + (140, 0, 140, 0)
    cell = 4 * 320 / predictor.frame.target_length
    assert np.abs(placed - found.boxes[0]).max() <= cell
    assert right.found.points[0].tolist() == [-140, 0]  # the click, from the crop's corner


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


def test_closer_crops_are_for_drawing_alone(predictor: Predictor, image: Array) -> None:
    def widths(**settings: Any) -> tuple[set[int], int]:
        config = EverythingConfig(
            points_per_side=8,
            pred_iou_threshold=0.0,
            stability_threshold=0.0,
            crop_points_downscale=2,
            redrawn=True,
            **settings,
        )
        masks, clicks = masks_and_clicks(predictor, image, config=config)
        return {mask.crop_box[2] - mask.crop_box[0] for mask in masks}, clicks

    plain, plain_clicks = widths(crop_layers=1, closer_layers=0)
    closer, closer_clicks = widths(crop_layers=1, closer_layers=1)
    assert min(closer) < min(plain)
    assert closer_clicks == plain_clicks
    assert widths(crop_layers=0, closer_layers=1)[0] == {SIZE[1]}  # without crops there are none


def test_drawing_again_counts_its_crops_and_encodes_each_once(
    predictor: Predictor, image: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who listens can stop it there, too: a server lets clicks of others in between."""
    encoded: list[Size] = []
    steps: list[tuple[int, int]] = []
    encode = predictor.encode

    def counted(picture: Array) -> ImageEmbedding:
        encoded.append(picture.shape[:2])
        return encode(picture)

    monkeypatch.setattr(predictor, "encode", counted)
    config = EverythingConfig(
        points_per_side=8,
        points_per_batch=4,
        pred_iou_threshold=0.0,
        stability_threshold=0.0,
        crop_layers=1,
        redrawn=True,
        closer_layers=1,
    )
    segment_everything(predictor, image, config=config, progress=lambda *step: steps.append(step))
    total = steps[-1][1]
    assert steps == [(done, total) for done in range(1, total + 1)]
    clicks = batch_count(SIZE, config)
    assert total == clicks + 1 + 4 + 16
    assert 5 < len(encoded) <= 1 + 4 + 16


def test_refuses_layers_out_of_range() -> None:
    with pytest.raises(OptionError, match="closer_layers is 3, expected 0 to 2"):
        EverythingConfig(closer_layers=3)


def _all(**settings: Any) -> EverythingConfig:
    return EverythingConfig(
        points_per_side=6,
        pred_iou_threshold=0.0,
        stability_threshold=0.0,
        crop_layers=1,
        closer_layers=0,
        **settings,
    )


def test_proposals_are_the_masks_of_the_clicks(predictor: Predictor, image: Array) -> None:
    steps: list[tuple[int, int]] = []
    found = proposals(
        predictor,
        image,
        config=_all(redrawn=True),
        progress=lambda *step: steps.append(step),
    )
    clicks = segment_everything(predictor, image, config=_all(redrawn=False))
    without = [dataclasses.replace(mask, parent=None) for mask in clicks]
    assert [mask.record() for mask in found] == [mask.record() for mask in without]
    assert found[1:3] == list(found)[1:3]
    total = batch_count(SIZE, _all())
    assert steps == [(done, total) for done in range(1, total + 1)]
    assert list(found.best(2)) == found[:2]
    assert len(found.best(len(found) + 5)) == len(found)


def test_proposals_are_drawn_again_as_everything_mode_does(
    predictor: Predictor, image: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = proposals(predictor, image, config=_all(redrawn=True))
    monkeypatch.setattr(predictor, "encode", None)  # what was seen is not encoded again
    every = found.drawn_again(range(len(found)))
    assert every
    for place in (0, len(found) - 1):  # the same alone as among others
        alone = {p: m.record() for p, m in found.drawn_again([place]).items()}
        assert alone == {p: m.record() for p, m in every.items() if p == place}
    for place, mask in every.items():
        assert mask.point == pytest.approx(found[place].point)
        assert metrics.mask_iou(mask.mask, found[place].mask) > 0.2
    boxes = [(m.box[2] - m.box[0]) * (m.box[3] - m.box[1]) for m in every.values()]
    filled = np.mean([m.area / box for m, box in zip(every.values(), boxes, strict=True)])
    first = [found[place] for place in every]
    boxes = [(m.box[2] - m.box[0]) * (m.box[3] - m.box[1]) for m in first]
    assert filled > np.mean([m.area / box for m, box in zip(first, boxes, strict=True)]) + 0.03
    assert found.drawn_again([]) == {}


def test_proposals_stay_as_they_are_where_nothing_is_drawn_again(
    predictor: Predictor, image: Array
) -> None:
    found = proposals(predictor, image, config=_all(redrawn=False))
    assert found.drawn_again([2, 0]) == {2: found[2], 0: found[0]}
    assert found.looked_closer(found[:2]) == found[:2]
