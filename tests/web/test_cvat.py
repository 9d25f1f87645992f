"""CVAT's functions: against ``cvat_sdk`` where it is installed, and the numbers of its masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import PromptError, UnknownNameError
from samedge.predict.predictor import Predictor
from samedge.types import Prompt
from samedge.web import cvat

SIZE = (48, 64)


def masks(rng: np.random.Generator) -> list[Any]:
    full = np.ones(SIZE, bool)
    dot = np.zeros(SIZE, bool)
    dot[7, 9] = True
    noise = rng.random(SIZE) > 0.5
    return [full, dot, noise, ~dot]


def test_masks_as_cvat_s_numbers(rng: np.random.Generator) -> None:
    for mask in masks(rng):
        points = cvat.mask_points(mask)
        assert np.array_equal(cvat.mask_from_points(points, SIZE), mask)
    for wrong in ([1.0], [0.5, 0, 0, 0, 0], [3, 0, 0, 0, 0], [1, 0, 0, 99, 0], [-1, 2, 0, 0, 0]):
        with pytest.raises(PromptError):
            cvat.mask_from_points(wrong, SIZE)


def test_the_numbers_are_those_of_the_sdk(rng: np.random.Generator) -> None:
    sdk = pytest.importorskip("cvat_sdk.masks", reason="cvat-sdk is not installed")
    for mask in masks(rng):
        assert cvat.mask_points(mask) == sdk.encode_mask(mask)


@pytest.fixture
def photo() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))


class _Context:
    conf_threshold: float | None = 0.2
    conv_mask_to_poly = False
    frame_name = "photo.png"


class _Prompts:
    pos_points = ((20.0, 20.0),)
    neg_points = ((50.0, 40.0),)
    bounding_box = None


def test_functions_of_cvat(toy_bundle: Path, photo: Image.Image) -> None:
    pytest.importorskip("cvat_sdk", reason="cvat-sdk is not installed")
    context: Any = _Context()
    found = cvat.create(bundle=str(toy_bundle), label="thing")
    assert isinstance(found, cvat.DetectionFunction)
    assert found.spec.labels[0].name == "thing"
    shapes = found.detect(context, photo)
    assert all(shape.type == "mask" and shape.label_id == 0 for shape in shapes)
    context.conv_mask_to_poly = True
    assert all(shape.type == "polygon" for shape in found.detect(context, photo))

    clicks = cvat.create(kind="interaction", bundle=str(toy_bundle))
    assert isinstance(clicks, cvat.InteractionFunction)
    (shape,) = clicks.detect(context, clicks.preprocess_image(context, photo), _Prompts())
    with Predictor.from_bundle(toy_bundle) as predictor:
        prompt = Prompt([[20, 20], [50, 40]], [1, 0])
        expected = predictor.predict(np.asarray(photo), prompt).masks[0]
    assert np.array_equal(cvat.mask_from_points(shape.points, SIZE), expected)


@pytest.mark.parametrize("kind", ["mask", "polygon", "rectangle"])
def test_a_shape_that_cvat_tracks(toy_bundle: Path, photo: Image.Image, kind: str) -> None:
    sdk = pytest.importorskip("cvat_sdk.auto_annotation", reason="cvat-sdk is not installed")
    tracking = cvat.create(kind="tracking", bundle=str(toy_bundle))
    assert isinstance(tracking, cvat.TrackingFunction)
    points: list[float] = [10, 10, 30, 30]
    if kind == "polygon":
        points = [10, 10, 30, 10, 30, 30, 10, 30]
    if kind == "mask":
        square = np.zeros(SIZE, bool)
        square[10:30, 10:30] = True
        points = cvat.mask_points(square)
    context: Any = _Context()
    image = tracking.preprocess_image(context, photo)
    shape = sdk.TrackableShape(type=kind, points=points)
    state = tracking.init_tracking_state(context, image, shape)
    tracked = tracking.track(context, image, state)
    assert tracked is None or tracked.type == kind


def test_another_kind() -> None:
    with pytest.raises(UnknownNameError, match="interaction"):
        cvat.create(kind="interacton")
