"""Dead encoders are found at the first dead embedding, and living ones are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.errors import InferenceError
from samedge.predict.alive import Liveness
from samedge.predict.predictor import Predictor
from samedge.predict.words.predictor import load_default
from samedge.types import IMAGE_EMBEDDINGS, Array

SHAPE = (1, 256, 32, 32)


def image(seed: int) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (1, 512, 512, 3), np.uint8)


def embedding(seed: int) -> dict[str, Array]:
    values = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    return {IMAGE_EMBEDDINGS: values}


def test_different_images_with_their_own_embeddings() -> None:
    alive = Liveness()
    assert [alive.complaint(image(i), embedding(i)) for i in range(20)] == [None] * 20


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_a_constant(value: float) -> None:
    found = Liveness().complaint(image(0), {IMAGE_EMBEDDINGS: np.full(SHAPE, value, np.float32)})
    assert found == f"{IMAGE_EMBEDDINGS} is {value:g} everywhere"


@pytest.mark.parametrize("back", [1, 2, 4, 8])
def test_an_embedding_of_an_image_before(back: int) -> None:
    alive = Liveness()
    for index in range(10):
        assert alive.complaint(image(index), embedding(index)) is None
    found = alive.complaint(image(99), embedding(10 - back))
    assert found == f"{IMAGE_EMBEDDINGS} is that of another image, {back} before"


def test_the_same_image_again_and_noise_too_fine_to_matter() -> None:
    alive = Liveness()
    still = image(0)
    assert alive.complaint(still, embedding(0)) is None
    assert alive.complaint(still, embedding(0)) is None
    noisy = still + np.random.default_rng(1).integers(0, 2, still.shape, np.uint8)
    assert alive.complaint(noisy, embedding(0)) is None


def test_one_grey_image_after_another() -> None:
    alive = Liveness()
    grey = np.full((1, 512, 512, 3), 90, np.uint8)
    assert alive.complaint(grey, embedding(0)) is None
    assert alive.complaint(grey + 100, embedding(0)) is not None


class Frozen:
    """A session that goes on giving its first answer, as a lost device may."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self._first: dict[str, Array] = {}
        self.inputs, self.outputs, self.device = native.inputs, native.outputs, native.device

    def run(self, feeds: Any) -> Any:
        self._first = self._first or self._native.run(feeds)
        return self._first

    def close(self) -> None:
        self._native.close()


def test_a_predictor_whose_encoder_stops(toy_bundle: Path) -> None:
    photos = [pixels[0, :48, :64] for pixels in (image(1), image(2))]
    with Predictor.from_bundle(toy_bundle) as predictor:
        for photo in photos:
            predictor.encode(photo)
        sessions = vars(predictor.graphs)["_sessions"]
        predictor.load()
        sessions["encoder"] = Frozen(sessions["encoder"])
        predictor.encode(photos[0])
        predictor.encode(photos[0])  # the same image may have the same embedding
        with pytest.raises(InferenceError, match=r"encoder is dead .* another image, 1 before"):
            predictor.encode(photos[1])


def test_it_costs_less_than_a_hundredth_of_an_encode(shared_photo: Array) -> None:
    pytest.importorskip("onnxruntime")
    import time

    with load_default(threads=1) as predictor:
        pixels = predictor.frame.view_of(shared_photo).encoder_input(shared_photo)
        encode, check, alive = [], [], Liveness()
        for _ in range(5):
            start = time.thread_time()
            found = predictor.encode(shared_photo)
            encode.append(time.thread_time() - start)
            start = time.thread_time()
            alive.complaint(pixels, found.tensors)
            check.append(time.thread_time() - start)
        share = min(check) / min(encode)
    print(f"the check takes {share:.2%} of an encode of samedge-nano on one thread")
    assert share < 0.01


@pytest.fixture
def shared_photo() -> Array:
    return np.random.default_rng(3).integers(0, 256, (480, 640, 3), np.uint8)
