"""What the predictor refuses, and says about it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.errors import (
    BundleError,
    ImageError,
    InferenceError,
    PromptError,
)
from samedge.predict.predictor import Predictor
from samedge.tracking.tracker import Tracker
from samedge.types import Prompt

pytest.importorskip("onnx")

from tests.toys.bundle import (
    encoder_model,
    write_bundle,
)


def test_what_is_no_embedding_and_no_prompt_is_named(
    predictor: Predictor, image: np.ndarray
) -> None:
    embedding: Any = predictor.encode(image)
    one: Any = Prompt(points=[[64, 48]])
    with pytest.raises(ImageError, match=r"embedding is a ndarray.*encode\(image\)"):
        predictor.decode(image, one)  # type: ignore[arg-type]
    wrongs: tuple[Any, ...] = ({"points": [[1, 1]]}, None, [one])
    for wrong in wrongs:
        with pytest.raises(PromptError, match=f"The prompt is a {type(wrong).__name__}"):
            predictor.decode(embedding, wrong)
    mixed: Any = [one, "box"]
    with pytest.raises(PromptError, match="Prompt 1 of 2 is a str"):
        predictor.decode_batch(embedding, mixed)
    for call in (predictor.decode_batch, predictor.decode_logits, predictor.closer_looks):
        with pytest.raises(PromptError, match=r"prompts are a Prompt, expected a list"):
            call(embedding, one)
    with pytest.raises(PromptError, match=r"prompts are a Prompt, expected a list"):
        Tracker(predictor).begin(image, one)


def test_embedding_of_another_bundle_is_refused(
    predictor: Predictor, tmp_path: Path, image: np.ndarray
) -> None:
    other = write_bundle(tmp_path / "other", encoder=encoder_model(constant=True))
    with Predictor.from_bundle(other.path) as stranger:
        embedding = stranger.encode(image)
    with pytest.raises(BundleError, match="encode the image again"):
        predictor.decode(embedding, Prompt(points=[[1, 1]]))
    with pytest.raises(BundleError, match="encode the image again"):
        list(predictor.closer_looks(embedding, [Prompt(box=[1, 1, 9, 9])]))


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(points=[[-1, 5]]),
        Prompt(points=[[5, 5], [129, 5]]),
        Prompt(points=[[5, 97]]),
        Prompt(points=[[5, 5], [6, 1000]], labels=[1, 0]),
    ],
)
def test_point_outside_is_refused(predictor: Predictor, image: np.ndarray, prompt: Prompt) -> None:
    with pytest.raises(PromptError, match=r"outside the image of 128x96 pixels"):
        predictor.predict(image, prompt)


def test_points_on_the_edge_are_inside(predictor: Predictor, image: np.ndarray) -> None:
    result = predictor.predict(image, Prompt(points=[[0, 0], [128, 96]]))
    assert result.masks.any()


def test_box_partly_outside_is_cut_with_a_warning(
    predictor: Predictor, image: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    embedding = predictor.encode(image)
    with caplog.at_level(logging.WARNING):
        over = predictor.decode(embedding, Prompt(box=[-50, 20, 60, 500]))
    assert "reaches over the image" in caplog.text
    inside = predictor.decode(embedding, Prompt(box=[0, 20, 60, 96]))
    assert np.array_equal(over.masks, inside.masks)


@pytest.mark.parametrize("box", [[-9, 5, -1, 9], [130, 5, 150, 9], [5, 96, 20, 120]])
def test_box_wholly_outside_is_refused(
    predictor: Predictor, image: np.ndarray, box: list[float]
) -> None:
    with pytest.raises(PromptError, match=r"wholly outside the image of 128x96"):
        predictor.predict(image, Prompt(box=box))


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.ones((50, 50), np.bool_), "50x50 and the image 96x128"),
        (np.ones((50, 50), np.float32), r"\(50, 50\), expected low-res logits of shape \(16, 16\)"),
    ],
)
def test_mask_of_another_size_is_refused(
    predictor: Predictor, image: np.ndarray, mask: np.ndarray, reason: str
) -> None:
    with pytest.raises(PromptError, match=reason):
        predictor.predict(image, Prompt(mask=mask))


@pytest.mark.parametrize(
    "bad", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8), "a"]
)
def test_wrong_image_is_refused(predictor: Predictor, bad: Any) -> None:
    with pytest.raises(ImageError):
        predictor.encode(bad)


def nan_encoder() -> Any:
    from onnx import numpy_helper

    model = encoder_model()
    for tensor in model.graph.initializer:
        if tensor.name == "bias":
            value = numpy_helper.to_array(tensor).copy()
            value[3] = np.nan
            tensor.CopyFrom(numpy_helper.from_array(value, "bias"))
    return model


def test_nan_is_an_error_not_a_mask(tmp_path: Path, image: np.ndarray) -> None:
    write_bundle(tmp_path / "nan", encoder=nan_encoder())
    with (
        Predictor.from_bundle(tmp_path / "nan") as predictor,
        pytest.raises(InferenceError, match="NaN or infinity in image_embeddings") as told,
    ):
        predictor.encode(image)
    assert "It is fp32 already" in str(told.value)
