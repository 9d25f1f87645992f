"""The masks of one prompt, on every backend that opens ONNX, with graphs whose masks are known."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import image_from_yuv, runtimes
from samedge.errors import (
    OptionError,
)
from samedge.predict.predictor import Predictor
from samedge.types import Prompt

pytest.importorskip("onnx")

from tests.toys.bundle import (
    IOU_PREDICTIONS,
    RADII,
    SIDE,
    centre,
)


def test_point_is_found_where_it_was_given(predictor: Predictor, image: np.ndarray) -> None:
    embedding = predictor.encode(image)
    for point in ([64, 48], [30, 70], [100, 26]):
        masks = predictor.decode(embedding, Prompt(points=[point])).masks
        assert masks.shape == (1, 96, 128)
        assert masks.dtype == np.bool_
        assert np.allclose(centre(masks[0]), np.array(point) + 1, atol=1.5)  # SAM's half pixel


def test_background_point_removes(predictor: Predictor, image: np.ndarray) -> None:
    embedding = predictor.encode(image)
    alone = predictor.decode(embedding, Prompt(points=[[64, 48]])).masks[0]
    prompt = Prompt(points=[[64, 48], [76, 48]], labels=[1, 0])
    less = predictor.decode(embedding, prompt).masks[0]
    assert alone[48, 70]
    assert not less[48, 76]
    assert 0 < less.sum() < alone.sum()


def test_box_is_filled(predictor: Predictor, image: np.ndarray) -> None:
    result = predictor.predict(image, Prompt(box=[24, 16, 104, 72]))
    expected = np.zeros((96, 128), np.bool_)
    expected[16:72, 24:104] = True
    overlap = (result.masks[0] & expected).sum() / (result.masks[0] | expected).sum()
    assert overlap > 0.85


def test_mask_prompt_reaches_the_decoder(predictor: Predictor, image: np.ndarray) -> None:
    mask = np.zeros((96, 128), np.bool_)
    mask[20:60, 30:90] = True
    embedding = predictor.encode(image)
    alone = predictor.decode(embedding, Prompt(points=[[60, 40]]), multimask=True)
    both = predictor.decode(embedding, Prompt(points=[[60, 40]], mask=mask), multimask=True)
    assert both.masks.sum() > alone.masks.sum()
    again = Prompt(points=[[60, 40]], mask=both.low_res_logits[0])
    assert predictor.decode(embedding, again).masks.sum() > 0


def test_lone_mask_is_a_prompt(predictor: Predictor, image: np.ndarray) -> None:
    mask = np.ones((96, 128), np.bool_)
    result = predictor.predict(image, Prompt(mask=mask))
    assert result.masks.shape == (1, 96, 128)
    assert result.iou_predictions[0] == pytest.approx(IOU_PREDICTIONS[0])


def test_single_click_takes_the_best_candidate(predictor: Predictor, image: np.ndarray) -> None:
    result = predictor.predict(image, Prompt(points=[[64, 48]]))
    assert result.iou_predictions.tolist() == pytest.approx([max(IOU_PREDICTIONS[1:])])
    assert np.sqrt(result.masks[0].sum() / np.pi) == pytest.approx(8 * RADII[2], rel=0.05)


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(points=[[64, 48], [60, 40]]),
        Prompt(box=[10, 10, 60, 60]),
        Prompt(points=[[30, 30]], box=[10, 10, 60, 60]),
    ],
    ids=["two points", "box", "point and box"],
)
def test_clear_prompts_take_token_zero(
    predictor: Predictor, image: np.ndarray, prompt: Prompt
) -> None:
    result = predictor.predict(image, prompt)
    assert result.iou_predictions.tolist() == pytest.approx([IOU_PREDICTIONS[0]])


def test_multimask_returns_the_three_candidates(predictor: Predictor, image: np.ndarray) -> None:
    result = predictor.predict(image, Prompt(points=[[64, 48]]), multimask=True)
    assert result.masks.shape == (3, 96, 128)
    assert result.iou_predictions.tolist() == pytest.approx(IOU_PREDICTIONS[1:])
    assert result.low_res_logits.shape == (3, SIDE // 4, SIDE // 4)
    areas = result.masks.sum(axis=(1, 2))
    assert areas[0] < areas[1] < areas[2]


def test_result_says_what_computed_it(
    predictor: Predictor, backend: str, image: np.ndarray
) -> None:
    result = predictor.predict(image, Prompt(points=[[64, 48]]))
    probe = runtimes.get(backend).probe()
    assert result.backend.name == backend
    assert result.backend.version == probe.version
    assert result.backend.device in probe.devices
    assert result.timing_ms.keys() == {"decode", "postprocess"}
    assert predictor.encode(image).timing_ms.keys() == {"preprocess", "encode"}
    assert predictor.timing_ms["load"] > 0


def test_stability_is_the_iou_of_high_and_low_cuts(predictor: Predictor, image: np.ndarray) -> None:
    result = predictor.predict(image, Prompt(points=[[64, 48]]), multimask=True)
    expected = [((r - 1) / (r + 1)) ** 2 for r in RADII[1:]]
    np.testing.assert_allclose(result.stability_scores, expected, atol=0.12)
    assert result.stability_scores.dtype == np.float32


def test_embedding_carries_sizes_and_bundle(
    predictor: Predictor, toy_bundle: Path, image: np.ndarray
) -> None:
    embedding = predictor.encode(image)
    assert embedding.original_size == (96, 128)
    assert embedding.input_size == (48, 64)
    assert embedding.bundle_id == predictor.bundle.id
    assert embedding.data.shape == (1, 256, SIDE // 16, SIDE // 16)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (700, 3), (31, 33)])
def test_odd_sizes(predictor: Predictor, size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    height, width = size
    result = predictor.predict(image, Prompt(points=[[width / 2, height / 2]]))
    assert result.masks.shape == (1, *size)
    assert result.masks[0, height // 2, width // 2]


def test_threads_share_a_predictor(predictor: Predictor, image: np.ndarray) -> None:
    embedding = predictor.encode(image)
    prompts = [Prompt(points=[[x, 40]]) for x in range(16, 112, 8)]
    expected = [predictor.decode(embedding, prompt).masks for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda p: predictor.decode(embedding, p).masks, prompts * 4))
    for index, masks in enumerate(results):
        assert np.array_equal(masks, expected[index % len(prompts)])


def test_openvino_compiles_the_decoder_for_a_click(
    toy_bundle: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    from samedge.runtimes.openvino.compiled import CompiledGraph

    compiled: list[Any] = []
    original = CompiledGraph.compiled

    def watched(graph: Any, shapes: Any) -> Any:
        compiled.append(shapes.get("point_labels"))
        return original(graph, shapes)

    monkeypatch.setattr(CompiledGraph, "compiled", watched)
    with Predictor.from_bundle(toy_bundle, backend="openvino") as predictor:
        embedding = predictor.encode(image)
        for _ in range(2):
            predictor.decode(embedding, Prompt(points=[[30, 40]]))
    assert compiled.count((1, 2)) == 1


# ---- how images are made smaller


def test_the_caller_may_choose_the_rule(toy_bundle: Path, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (5 * SIDE, 7 * SIDE, 3), dtype=np.uint8)
    with (
        Predictor.from_bundle(toy_bundle, preprocess="exact", threads=1) as exact,
        Predictor.from_bundle(toy_bundle, preprocess="fast", threads=1) as fast,
    ):
        assert (exact.frame.rule, fast.frame.rule) == ("exact", "fast")
        first, second = exact.encode(image), fast.encode(image)
        assert not np.array_equal(first.data, second.data)
        prompt = Prompt(points=[[SIDE, SIDE]])
        crossed = exact.decode(second, prompt)  # they are at home in one another
        assert np.array_equal(crossed.masks, fast.decode(second, prompt).masks)
        with pytest.raises(OptionError, match="preprocess is 'guess', expected 'exact' or 'fast'"):
            Predictor.from_bundle(toy_bundle, preprocess="guess")  # type: ignore[arg-type]


def test_a_camera_s_frame_is_segmented_as_its_rgb_image(predictor: Predictor) -> None:
    frame = np.full((90, 80), 128, np.uint8)
    frame[10:40, 20:60] = 200
    image = image_from_yuv(frame, "NV12")
    prompt = Prompt(points=[[30, 20]])
    found, expected = (predictor.predict(i, prompt) for i in (image, image.rgb()))
    assert found.masks.shape == (1, 60, 80)
    assert np.array_equal(found.masks, expected.masks)
    with Predictor.from_bundle(predictor.bundle, focus="always", threads=1) as focused:
        looked = [focused.predict(i, Prompt(box=[20, 10, 60, 40])) for i in (image, image.rgb())]
        assert np.array_equal(looked[0].masks, looked[1].masks)
