"""Many frames at a time give what one after the other gives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.bundle.bundle import embedded_path
from samedge.errors import ImageError, InferenceError, OptionError, PromptError
from samedge.formats.results import Masks
from samedge.pixels.images import load_image
from samedge.pixels.layouts import YuvImage, image_from_yuv
from samedge.predict.frame_tasks import Asked, Given
from samedge.predict.mapping import FailedFrame, FrameMasks
from samedge.predict.predictor import Predictor
from samedge.types import Prompt

pytest.importorskip("onnx")

SIZES = [(40, 60), (64, 64), (90, 50), (33, 70)]
PHOTOS = Path(__file__).parents[2] / "samedge" / "data" / "photos"


@pytest.fixture
def predictor(toy_bundle: Path, backend: str) -> Iterator[Predictor]:
    with Predictor.from_bundle(toy_bundle, backend=backend) as opened:
        yield opened
    assert not [t for t in threading.enumerate() if t.name.startswith("samedge-frames")]


@pytest.fixture
def images(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.integers(0, 256, (*SIZES[i % 4], 3), np.uint8) for i in range(9)]


@pytest.fixture
def prompts() -> list[Prompt]:
    return [Prompt(points=[[10.0 + 2 * i, 12.0 + i]]) for i in range(9)]


def assert_same(one: Masks, other: Masks) -> None:
    np.testing.assert_array_equal(one.low_res_logits, other.low_res_logits)
    np.testing.assert_array_equal(one.masks, other.masks)
    np.testing.assert_array_equal(one.iou_predictions, other.iou_predictions)
    np.testing.assert_array_equal(one.stability_scores, other.stability_scores)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_masks_are_those_of_one_frame_after_the_other(
    predictor: Predictor, images: list[np.ndarray], prompts: list[Prompt], workers: int
) -> None:
    found = list(predictor.map(images, prompts, workers=workers))
    assert [outcome.index for outcome in found] == list(range(9))
    for outcome, image, prompt in zip(found, images, prompts, strict=True):
        assert isinstance(outcome, FrameMasks)
        assert outcome.path is None
        assert_same(outcome.results[0], predictor.predict(image, prompt))


@pytest.mark.slow
def test_a_real_model_gives_the_same_bits(backend: str) -> None:
    files = [PHOTOS / "chelsea.jpg", PHOTOS / "coffee.jpg", PHOTOS / "rocket.jpg"]
    asked = [Prompt(points=[[200.0, 150.0]]), Prompt(box=[80.0, 60.0, 300.0, 250.0])]
    with Predictor.from_bundle(embedded_path("samedge-pico"), backend=backend) as opened:
        found = list(opened.map(files, [asked] * 3, workers=2))
        for outcome in found:
            assert isinstance(outcome, FrameMasks)
            embedding = opened.encode(load_image(files[outcome.index]))
            for one, other in zip(
                outcome.results, opened.decode_batch(embedding, asked), strict=True
            ):
                assert_same(one, other)
            stages = {"read", "preprocess", "encode", "decode", "postprocess"}
            assert outcome.timing_ms.keys() == stages
            assert min(outcome.timing_ms.values()) > 0


@pytest.fixture
def files(tmp_path: Path, images: list[np.ndarray]) -> list[Path]:
    paths = [tmp_path / f"{index}.png" for index in range(4)]
    for path, image in zip(paths, images, strict=False):
        Image.fromarray(image).save(path)
    return paths


def test_files_arrays_and_one_prompt_for_all(
    predictor: Predictor, files: list[Path], images: list[np.ndarray]
) -> None:
    prompt = Prompt(points=[[12.0, 12.0]])
    frames: list[Given] = [files[0], str(files[1]), images[2], files[3]]
    found = list(predictor.map(frames, prompt, workers=2))
    assert [outcome.path for outcome in found] == [files[0], files[1], None, files[3]]
    for outcome, image in zip(found, images, strict=False):
        assert isinstance(outcome, FrameMasks)
        assert_same(outcome.results[0], predictor.predict(image, prompt))


def test_pairs_and_several_prompts_a_frame(
    predictor: Predictor, images: list[np.ndarray], prompts: list[Prompt]
) -> None:
    asked: list[Asked] = [prompts[:3], prompts[3], []]
    pairs = zip(images, asked, strict=False)
    counts = [len(o.results) for o in predictor.map(pairs, workers=2) if isinstance(o, FrameMasks)]
    assert counts == [3, 1, 0]
    (outcome,) = predictor.map([images[0]], prompts[0], multimask=True)
    assert isinstance(outcome, FrameMasks)
    assert outcome.results[0].masks.shape[0] == 3


def test_a_buffer_that_is_written_again_is_another_frame(
    predictor: Predictor, images: list[np.ndarray]
) -> None:
    prompt = Prompt(points=[[20.0, 20.0]], labels=[1])
    same_size = images[0::4]

    def camera() -> Iterator[np.ndarray]:
        buffer = np.empty_like(same_size[0])
        for image in same_size:
            buffer[:] = image
            yield buffer

    embeddings = [predictor.encode(image) for image in same_size]
    found = list(predictor.map(camera(), prompt, workers=2))
    for outcome, embedding in zip(found, embeddings, strict=True):
        assert isinstance(outcome, FrameMasks)
        assert_same(outcome.results[0], predictor.decode(embedding, prompt))


def test_frames_of_a_camera_go_as_they_are(
    predictor: Predictor, rng: np.random.Generator, prompts: list[Prompt]
) -> None:
    kept = [rng.integers(0, 256, (60, 64), np.uint8) for _ in range(4)]  # NV12 of 64 x 40
    buffer = np.empty_like(kept[0])

    def camera() -> Iterator[YuvImage]:
        for frame in kept:
            buffer[:] = frame
            yield image_from_yuv(buffer, "NV12")

    found = list(predictor.map(camera(), prompts[0], workers=2))
    for outcome, frame in zip(found, kept, strict=True):
        assert isinstance(outcome, FrameMasks)
        embedding = predictor.encode(image_from_yuv(frame, "NV12"))
        assert_same(outcome.results[0], predictor.decode(embedding, prompts[0]))


def test_one_bad_frame_is_returned_or_raised_in_its_turn(
    predictor: Predictor, files: list[Path]
) -> None:
    prompt = Prompt(points=[[12.0, 12.0]])
    frames = [files[0], files[0].with_name("absent.png"), files[1]]
    found = list(predictor.map(frames, prompt, on_error="return", workers=2))
    assert [type(outcome) for outcome in found] == [FrameMasks, FailedFrame, FrameMasks]
    failed = found[1]
    assert isinstance(failed, FailedFrame)
    assert isinstance(failed.error, ImageError)
    assert (failed.index, failed.path) == (1, frames[1])
    results = predictor.map(frames, prompt, workers=2)
    assert next(results).index == 0
    with pytest.raises(ImageError, match=r"absent\.png"):
        next(results)


def test_a_prompt_that_does_not_fit_fails_its_own_frame(
    predictor: Predictor, images: list[np.ndarray]
) -> None:
    outside = Prompt(box=[500.0, 500.0, 600.0, 600.0])
    asked = [Prompt(points=[[5.0, 5.0]]), outside]
    found = list(predictor.map(images[:2], asked, on_error="return", workers=2))
    assert isinstance(found[0], FrameMasks)
    assert isinstance(found[1], FailedFrame)
    assert isinstance(found[1].error, PromptError)


@pytest.mark.parametrize(("given", "words"), [(2, "more frames"), (4, "4 entries of prompts")])
def test_numbers_that_differ_are_refused(
    predictor: Predictor, images: list[np.ndarray], prompts: list[Prompt], given: int, words: str
) -> None:
    results = predictor.map(images[:3], prompts[:given], on_error="return", workers=2)
    with pytest.raises(PromptError, match=words):
        list(results)


def test_wrong_words_and_numbers_are_refused_at_once(
    predictor: Predictor, images: list[np.ndarray], prompts: list[Prompt]
) -> None:
    with pytest.raises(OptionError, match="'raise' or 'return'"):
        predictor.map(images, prompts, on_error="skip")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"one file, photo\.jpg: give a list"):
        predictor.map("photo.jpg", prompts)
    for count in (0, 1.5, "2"):
        workers: Any = count
        with pytest.raises(OptionError, match=rf"workers is {count!r}"):
            predictor.map(images, prompts, workers=workers)
    number: Any = 5
    with pytest.raises(OptionError, match="frames is a int"):
        predictor.map(number, prompts)
    with pytest.raises(PromptError, match="prompts is a int"):
        predictor.map(images, number)
    for frames, asked in ((images[:1], [number]), ([(images[0], number)], None)):
        with pytest.raises(PromptError, match=r"is a int, expected a samedge\.Prompt"):
            list(predictor.map(frames, asked))
    wrong: Any = {"points": [[1, 1]]}
    with pytest.raises(PromptError, match=r"is a str, expected a samedge\.Prompt"):
        list(predictor.map(images[:1], wrong))
    with pytest.raises(PromptError, match="pairs of a frame"):
        next(predictor.map(images))


def test_closing_the_predictor_ends_the_frames(
    predictor: Predictor, images: list[np.ndarray], prompts: list[Prompt]
) -> None:
    results = predictor.map(images, prompts, on_error="return", workers=2)
    next(results)
    predictor.close()
    with pytest.raises(InferenceError, match="closed"):
        list(results)
    with pytest.raises(InferenceError, match="closed"):
        list(predictor.map(images, prompts))


def test_what_stands_beside_is_opened_once_and_closed_together(
    toy_bundle: Path, backend: str, images: list[np.ndarray]
) -> None:
    with Predictor.from_bundle(toy_bundle, backend=backend) as opened:
        beside = opened.beside(2)
        assert opened.beside(2) is beside
        assert opened.beside(1) is opened
        beside.encode(images[0])
        assert beside is not opened
    with pytest.raises(InferenceError, match="closed"):
        beside.encode(images[0])
