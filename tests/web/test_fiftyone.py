"""FiftyOne's model: against FiftyOne itself where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.predict.predictor import Predictor
from samedge.types import Prompt
from samedge.web import fiftyone as ours

HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def fo() -> Any:
    return pytest.importorskip("fiftyone", reason="FiftyOne is not installed")


@pytest.fixture
def image(rng: np.random.Generator) -> Any:
    return rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def whole(detection: Any) -> Any:
    """A detection's mask in the image."""
    found = np.zeros((HEIGHT, WIDTH), bool)
    x, y, _, _ = detection.bounding_box
    left, top = round(x * WIDTH), round(y * HEIGHT)
    high, wide = detection.mask.shape
    found[top : top + high, left : left + wide] = detection.mask
    return found


def test_everything(fo: Any, toy_bundle: Path, image: Any) -> None:
    model = ours.model(bundle=str(toy_bundle), label="thing")
    assert isinstance(model, fo.core.models.Model)
    assert (model.media_type, model.ragged_batches, model.transforms) == ("image", True, None)
    found = model.predict(image)
    assert isinstance(found, fo.Detections)
    assert all(one.label == "thing" and whole(one).any() for one in found.detections)


def test_boxes_of_a_field(fo: Any, toy_bundle: Path, image: Any) -> None:
    model = ours.model(bundle=str(toy_bundle), prompts="ground_truth")
    box = [10 / WIDTH, 12 / HEIGHT, 30 / WIDTH, 24 / HEIGHT]
    sample = fo.Sample(filepath="photo.png")
    sample["ground_truth"] = fo.Detections(detections=[fo.Detection(label="cat", bounding_box=box)])
    (found,) = model.predict(image, sample=sample).detections
    with Predictor.from_bundle(toy_bundle) as predictor:
        expected = predictor.predict(image, Prompt(box=[10, 12, 40, 36])).masks[0]
    assert found.label == "cat"
    assert np.array_equal(whole(found), expected)
    sample["ground_truth"] = fo.Detections(detections=[])
    assert model.predict(image, sample=sample).detections == []
