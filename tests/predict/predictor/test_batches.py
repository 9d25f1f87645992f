"""Many prompts in one call, and bundles whose decoder takes fixed shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.errors import (
    PromptError,
)
from samedge.predict.predictor import Predictor
from samedge.types import Prompt

pytest.importorskip("onnx")

from tests.toys.bundle import (
    IOU_PREDICTIONS,
    centre,
    decoder_model,
    write_bundle,
)


def mixed_prompts() -> list[Prompt]:
    mask = np.zeros((96, 128), np.bool_)
    mask[40:80, 40:80] = True
    return [
        Prompt(points=[[64, 48]]),
        Prompt(box=[24, 16, 104, 72]),
        Prompt(points=[[20, 20], [90, 60], [64, 48]], labels=[1, 1, 0]),
        Prompt(points=[[50, 50]], box=[40, 40, 80, 80]),
        Prompt(mask=mask),
        Prompt(points=[[60, 60]], mask=mask),
    ]


def test_batching_changes_nothing(predictor: Predictor, image: np.ndarray) -> None:
    embedding = predictor.encode(image)
    prompts = mixed_prompts()
    together = predictor.decode_batch(embedding, prompts)
    for prompt, result in zip(prompts, together, strict=True):
        alone = predictor.decode(embedding, prompt)
        assert np.array_equal(result.masks, alone.masks)
        np.testing.assert_allclose(result.low_res_logits, alone.low_res_logits, atol=1e-4)


def test_large_batches_are_cut(
    predictor: Predictor, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samedge.predict.decoding.MAX_BATCH", 8)
    embedding = predictor.encode(image)
    sizes: list[int] = []
    session = predictor.graphs.session("decoder")
    run = session.run

    def counted(feeds: Any) -> Any:
        sizes.append(len(feeds["point_coords"]))
        return run(feeds)

    monkeypatch.setattr(session, "run", counted)
    points = [[x, 40] for x in range(20, 110, 10)]
    results = predictor.decode_batch(embedding, [Prompt(points=[p]) for p in points])
    assert sizes == [4, 4, 1]  # on a processor, where more only cost memory
    monkeypatch.setattr(session, "device", "cuda:0")
    predictor.decode_logits(embedding, [Prompt(points=[p]) for p in points])
    assert sizes[3:] == [8, 1]
    for point, result in zip(points, results, strict=True):
        assert centre(result.masks[0])[0] == pytest.approx(point[0] + 1, abs=1.5)


@pytest.mark.parametrize("named", ["prompts=3", "batch_pixels=1000"])
def test_a_batch_is_bounded_before_memory_is_taken(
    named: str, predictor: Predictor, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = predictor.encode(image)
    monkeypatch.setenv("SAMEDGE_LIMITS", named)
    monkeypatch.setattr(predictor.graphs, "run", lambda *_: pytest.fail("it was computed"))
    many = [Prompt(points=[[4, 4]])] * 4
    for decode in (predictor.decode_batch, predictor.decode_logits):
        with pytest.raises(PromptError, match=rf"raise it by SAMEDGE_LIMITS={named[:7]}"):
            decode(embedding, many)


def test_no_prompts_no_masks(predictor: Predictor, image: np.ndarray) -> None:
    embedding = predictor.encode(image)
    assert predictor.decode_batch(embedding, []) == []
    logits, iou = predictor.decode_logits(embedding, [])
    assert logits.shape == (0, 4, 16, 16)
    assert iou.shape == (0, 4)


def test_decoders_own_outputs(predictor: Predictor, image: np.ndarray) -> None:
    logits, iou = predictor.decode_logits(predictor.encode(image), mixed_prompts())
    assert logits.shape == (6, 4, 16, 16)
    np.testing.assert_allclose(iou, np.tile(IOU_PREDICTIONS, (6, 1)), rtol=1e-6)


@pytest.mark.parametrize("buckets", [[[1, 2]], [[1, 6], [4, 6]], [[1, 2], [2, 4], [4, 8]]])
def test_fixed_shapes_change_nothing(
    buckets: list[list[int]],
    tmp_path: Path,
    toy_bundle: Path,
    image: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longest = max(n for _, n in buckets)
    fixed = decoder_model(batch=buckets[0][0], length=longest) if len(buckets) == 1 else None
    write_bundle(tmp_path / "fixed", decoder=fixed, buckets=buckets)
    # Beside its points a prompt takes SAM's padding point, or a box's two corners.
    prompts = [
        prompt
        for prompt in mixed_prompts()
        if len(prompt.points) + (1 if prompt.box is None else 2) <= longest
    ]
    assert len(prompts) > 2
    with (
        Predictor.from_bundle(tmp_path / "fixed") as bucketed,
        Predictor.from_bundle(toy_bundle) as free,
    ):
        embedding = bucketed.encode(image)
        shapes: set[tuple[int, ...]] = set()
        session = bucketed.graphs.session("decoder")
        original = session.run

        def watched(feeds: Any) -> Any:
            shapes.add(feeds["point_coords"].shape[:2])
            return original(feeds)

        monkeypatch.setattr(session, "run", watched)
        results = bucketed.decode_batch(embedding, prompts)
        expected = free.decode_batch(free.encode(image), prompts)
    assert shapes <= {tuple(bucket) for bucket in buckets}
    for one, other in zip(results, expected, strict=True):
        assert np.array_equal(one.masks, other.masks)


def test_prompt_longer_than_every_bucket(tmp_path: Path, image: np.ndarray) -> None:
    write_bundle(tmp_path / "fixed", buckets=[[1, 2], [4, 3]])
    with Predictor.from_bundle(tmp_path / "fixed") as predictor:
        embedding = predictor.encode(image)
        with pytest.raises(PromptError, match=r"needs 4 points.*at most 3"):
            predictor.decode(embedding, Prompt(points=[[1, 1], [2, 2], [3, 3]]))
