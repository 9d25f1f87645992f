"""Closer looks at the masks of everything mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samedge.pixels import rle
from samedge.predict import focus
from samedge.predict.everything import AutomaticMask, EverythingConfig, segment_everything
from samedge.predict.everything_focus import refocused
from samedge.predict.everything_masks import Drawn
from samedge.predict.focus import FocusSettings, SecondLook
from samedge.predict.predictor import Predictor
from tests.predict.focus.scene import SIZE, filled

pytest.importorskip("onnx")


def _drawn(box: tuple[int, int, int, int]) -> Drawn:
    mask = filled(box)
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    area = int(mask.sum())
    made = AutomaticMask(rle.rle_from_mask(mask), box, area, 0.9, 0.9, middle, (0, 0, 320, 240))
    return Drawn(made, np.zeros(1, np.bool_), (0, 0))


def test_everything_takes_closer_looks_a_few_masks_at_a_time(
    auto: Predictor, image: np.ndarray, encodes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the image were so large that no call may give more than two masks of it."""
    pixels = SIZE[0] * SIZE[1]
    monkeypatch.setenv("SAMEDGE_LIMITS", f"batch_pixels={2 * pixels}")
    monkeypatch.setattr(focus, "_PIXELS_AT_ONCE", 2 * pixels)
    small = [_drawn((x, y, x + 30, y + 24)) for x in (100, 114) for y in (80, 90)]
    found = [_drawn((20, 20, 300, 200)), *small]
    asked: list[int] = []
    real = auto._decoder.results

    def counted(embedding: Any, prompts: Any, **options: Any) -> Any:
        asked.append(len(prompts))
        return real(embedding, prompts, **options)

    monkeypatch.setattr(auto._decoder, "results", counted)
    masks = refocused(auto, auto.encode(image), found=found, min_area=0)
    assert masks[0] is found[0]
    assert all(one.mask.focus is not None for one in masks[1:])
    assert asked == [2] * 4  # nothing about what stays; of the part, and of the mirrored one
    assert len(encodes) == 3


def test_everything_has_a_bound_of_its_own(
    auto: Predictor, image: np.ndarray, encodes: list[Any]
) -> None:
    settings = FocusSettings(most_looks=4, most_unasked=1)
    auto._second = SecondLook("auto", auto._decoder, encode=auto._encoded, settings=settings)
    found = [_drawn((x, y, x + 20, y + 20)) for x, y in ((10, 10), (280, 190))]
    masks = refocused(auto, auto.encode(image), found=found, min_area=0)
    assert sum(one.mask.focus is not None for one in masks) == 1
    assert len(encodes) == 3  # the image, a part, and the mirrored one


def test_everything_encodes_the_whole_image_once(
    auto: Predictor, image: np.ndarray, encodes: list[Any]
) -> None:
    config = EverythingConfig(points_per_side=4, pred_iou_threshold=0.0, stability_threshold=0.0)
    masks = segment_everything(auto, image, config=config)
    assert any(mask.focus is not None for mask in masks)
    assert encodes.count(None) == 1
