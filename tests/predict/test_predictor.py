"""The predictor, on every backend that opens ONNX, with graphs whose masks are known in advance."""

from __future__ import annotations

import inspect
import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import image_from_yuv, runtimes
from samedge.bundle.bundle import embedded_models, embedded_path, is_embedded
from samedge.errors import (
    BackendUnavailableError,
    BundleError,
    ImageError,
    IncompatibleArtifactError,
    InferenceError,
    OptionError,
    PromptError,
    UnknownNameError,
)
from samedge.predict.graph_opening import GraphOpening
from samedge.predict.graphs import Graphs
from samedge.predict.opening import best_backend
from samedge.predict.predictor import Predictor
from samedge.predict.words.predictor import load_default
from samedge.runtimes.base import Probe, Session
from samedge.tracking.tracker import Tracker
from samedge.types import Prompt

pytest.importorskip("onnx")

from tests.toys.bundle import (
    IOU_PREDICTIONS,
    RADII,
    SIDE,
    decoder_model,
    encoder_model,
    write_bundle,
)


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    probe = runtimes.get(name).probe()
    if not probe.available:
        pytest.skip(probe.detail)
    return name


@pytest.fixture
def predictor(toy_bundle: Path, backend: str) -> Iterator[Predictor]:
    with Predictor.from_bundle(toy_bundle, backend=backend, threads=1) as opened:
        yield opened


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)


def centre(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return columns.mean() + 0.5, rows.mean() + 0.5


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


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (700, 3), (31, 33)])
def test_odd_sizes(predictor: Predictor, size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    height, width = size
    result = predictor.predict(image, Prompt(points=[[width / 2, height / 2]]))
    assert result.masks.shape == (1, *size)
    assert result.masks[0, height // 2, width // 2]


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


def test_closed_predictor_says_so(toy_bundle: Path, image: np.ndarray) -> None:
    with Predictor.from_bundle(toy_bundle) as predictor:
        embedding = predictor.encode(image)
    predictor.close()
    with pytest.raises(InferenceError, match="closed"):
        predictor.encode(image)
    with pytest.raises(InferenceError, match="closed"):
        predictor.decode(embedding, Prompt(points=[[1, 1]]))


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


def test_graphs_of_a_bundle_that_is_refused_are_closed(
    toy_bundle: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one device's predictor and on the one beside it alike."""
    checked: list[Graphs] = []

    def refused(graphs: Graphs) -> None:
        graphs.load()
        checked.append(graphs)
        raise BundleError("it computes something else")

    with Predictor.from_bundle(toy_bundle, backend=backend) as opened:
        monkeypatch.setattr("samedge.predict.trust.check_canary_once", refused)
        monkeypatch.setattr(Graphs, "options_for", lambda graphs, callers: {"threads": 1})
        with pytest.raises(BundleError, match="something else"):
            opened.beside(2)
    with pytest.raises(BundleError, match="something else"):
        Predictor.from_bundle(toy_bundle, backend=backend)
    with pytest.raises(BundleError, match="something else"):
        Predictor.isolated(toy_bundle, backend=backend)
    assert len(checked) == 3
    assert not any(graphs.opened for graphs in checked)


def test_graphs_are_opened_when_they_are_needed(toy_bundle: Path, image: np.ndarray) -> None:
    Predictor.from_bundle(toy_bundle).close()  # the canary has run
    with Predictor.from_bundle(toy_bundle) as predictor:
        assert not predictor.graphs.opened
        before = predictor.timing_ms["load"]
        embedding = predictor.encode(image)
        assert list(predictor.graphs.opened) == ["encoder"]
        assert predictor.timing_ms["load"] > before
    with Predictor.from_bundle(toy_bundle) as predictor:
        predictor.decode(embedding, Prompt(points=[[1, 1]]))
        assert list(predictor.graphs.opened) == ["decoder"]
        predictor.load()
        assert set(predictor.graphs.opened) == {"decoder", "encoder"}


def test_backend_that_cannot_open_the_format(toy_bundle: Path) -> None:
    with pytest.raises(IncompatibleArtifactError, match=r"'null' opens null.*is onnx"):
        Predictor.from_bundle(toy_bundle, backend="null")


def test_unknown_backend(toy_bundle: Path) -> None:
    with pytest.raises(UnknownNameError, match="'openvino'"):
        Predictor.from_bundle(toy_bundle, backend="openvio")


def test_absent_device(toy_bundle: Path, image: np.ndarray) -> None:
    with (
        Predictor.from_bundle(toy_bundle, device="cuda:7", verify=False) as predictor,
        pytest.raises(BackendUnavailableError, match="cuda:7"),
    ):
        predictor.encode(image)


def test_absent_backend_ends_in_the_install_command(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Probe(available=False, detail="It is not installed.", fix="pip install it")
    monkeypatch.setattr(type(runtimes.get("onnxruntime")), "probe", lambda self: absent)
    with pytest.raises(BackendUnavailableError, match=r"Fix: pip install it$"):
        Predictor.from_bundle(toy_bundle)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_threads_are_positive(toy_bundle: Path, threads: Any) -> None:
    with pytest.raises(OptionError, match="1 or more"):
        Predictor.from_bundle(toy_bundle, threads=threads)


def test_best_backend_is_the_bundles_own(toy_bundle: Path, predictor: Predictor) -> None:
    assert best_backend(predictor.bundle)[0].name == "onnxruntime"


def test_best_backend_is_one_that_is_here(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "openvino" not in runtimes.available("onnx"):
        pytest.skip("needs a second backend")
    absent = Probe(available=False, detail="It is not installed.", fix="pip install it")
    monkeypatch.setattr(type(runtimes.get("onnxruntime")), "probe", lambda self: absent)
    assert best_backend(predictor.bundle)[0].name == "openvino"
    monkeypatch.setattr(type(runtimes.get("openvino")), "probe", lambda self: absent)
    with pytest.raises(BackendUnavailableError, match=r"Fix: pip install it$"):
        best_backend(predictor.bundle)


def test_embedded_bundles_by_name(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: np.ndarray
) -> None:
    for size in ("nano", "pico"):
        shutil.copytree(toy_bundle, tmp_path / "data" / f"{size}-cpu")
    monkeypatch.setattr("samedge.bundle.bundle.__file__", str(tmp_path / "bundle" / "bundle.py"))
    assert embedded_models() == ("samedge-nano", "samedge-pico")
    with load_default(threads=1) as predictor:
        assert predictor.predict(image, Prompt(points=[[64, 48]])).masks.any()
        assert predictor.bundle.path.name == "nano-cpu"
    with load_default(model="samedge-pico", threads=1) as predictor:
        assert predictor.bundle.path.name == "pico-cpu"
    assert is_embedded(embedded_path("samedge-pico"))
    assert not is_embedded(toy_bundle)
    with pytest.raises(BundleError, match=r"'samedge-giga'\. It carries samedge-nano and s"):
        load_default(model="samedge-giga")


def test_the_embedded_model_is_opened_with_what_bundles_are_opened_with() -> None:
    def options(call: Any) -> set[str]:
        return set(inspect.signature(call).parameters)

    own = {"path", "verify", "any_backend"}  # a file of somebody's, checked as such
    assert options(load_default) - {"model"} == options(Predictor.from_bundle) - own
    with load_default(model="samedge-pico", focus="auto", preprocess="fast") as predictor:
        assert (predictor.focus, predictor.refine) == ("auto", 1)
        assert predictor.frame.rule == "fast"


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


def test_graphs_that_open_together_fail_together(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Predictor.from_bundle(toy_bundle, backend="onnxruntime", verify=False) as opened:
        closed: list[str] = []
        really = GraphOpening.opened

        def one_fails(opening: GraphOpening, role: str) -> Session:
            if role == "decoder":
                raise InferenceError("no decoder today")
            session = really(opening, role)
            monkeypatch.setattr(session, "close", lambda: closed.append(role))
            return session

        monkeypatch.setattr(GraphOpening, "opened", one_fails)
        with pytest.raises(InferenceError, match="no decoder today"):
            opened.load()
        assert closed == ["encoder"]
        assert opened.graphs.opened == ()
        monkeypatch.setattr(GraphOpening, "opened", really)
        opened.load()
        assert set(opened.graphs.opened) == {"encoder", "decoder"}
        assert opened.timing_ms["load"] > 0
