"""Models of words go along with any export, for every platform, and prove what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import ModelRecord
from samedge.bundle.words import Word
from samedge.calibration.plan import PlanRow, PrecisionPlan
from samedge.errors import BundleError, ExportError, ParityError
from samedge.export.base import ExportRequest, WordsRequest
from samedge.export.graphs import Graph
from samedge.export.onnx_storage import exact_grid, store_bytes
from samedge.export.pipeline import export
from samedge.export.words import made_table, merges_of
from samedge.machine.environment import isa
from samedge.models.sam import Sam
from samedge.models.words.clip import ClipModel
from samedge.models.words.clip_config import ClipConfig, TextConfig, VisionConfig
from samedge.predict.words.crops import region_crops
from samedge.predict.words.predictor import Predictor
from samedge.predict.words.regions import RegionScorer
from samedge.proof.decision import limits
from samedge.types import Array, Precision, Role
from tests.toys.web import small_runtime

SOURCE = ModelRecord(name="tiny-clip", licence="MIT", origin="random numbers", encoder="clip")
TINY = TextConfig(width=32, layers=1, heads=2, hidden=32)
WIDE = TextConfig(width=128, layers=2, heads=2, hidden=512)
NAMES = ("dog", "cat", "wine glass")
LONG = ("dog", "striped zebra crossing signs", "broken umbrella stand made from bamboo")
"""Random towers tell texts apart by their length: of short ones a sixth of an embedding is its own,
of these a third, and of CLIP's about half. Rounding is measured against that part."""
VISIONS = {
    "patches": VisionConfig(side=32, width=32, layers=1, heads=2, patch=16, hidden=32),
    "residual": VisionConfig(side=32, width=8, layers=(1, 1, 1, 1), heads=4),
    "wide": VisionConfig(side=64, width=128, layers=2, heads=2, patch=16, hidden=512),
}


def _request(vision: str) -> WordsRequest:
    pytest.importorskip("open_clip", reason="its package ships the tokenizer's merges")
    text = WIDE if vision == "wide" else TINY
    config = ClipConfig(embed_dim=text.width // 2, vision=VISIONS[vision], text=text)
    model = ClipModel(config, SOURCE).eval()
    _draw(model)
    merges = merges_of(Path("nowhere"))
    words = [Word(name=name) for name in (LONG if vision == "wide" else NAMES)]
    table = made_table(model, words, merges=merges)
    return WordsRequest(model=model, table=table, merges=merges)


def _draw(model: ClipModel) -> None:
    """Weights about as large as CLIP starts with: signals keep their size from layer to layer.

    Ids are as far apart as training puts them, so that texts differ.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            if name == "logit_scale":
                continue
            if any(part in name for part in ("ln_", "bn", "downsample.1")):
                tensor.copy_(0.1 * noise + name.endswith("weight"))
            elif name.endswith("bias"):
                tensor.copy_(0.02 * noise)
            elif "embedding" in name:
                tensor.copy_(noise * (0.2 if "token" in name else 0.02))
            elif name.endswith("projection") or name == "visual.proj":
                tensor.copy_(noise / len(tensor) ** 0.5)
            else:
                tensor.copy_(noise / tensor[0].numel() ** 0.5)


@pytest.fixture(scope="module", params=["patches"])
def words(request: pytest.FixtureRequest) -> WordsRequest:
    return _request(request.param)


def _image() -> Array:
    rng = np.random.default_rng(0)
    image = np.repeat(np.repeat(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8), 10, 0), 10, 1)
    return np.ascontiguousarray(image)


def _masks() -> list[Array]:
    masks = np.zeros((3, 80, 120), bool)
    masks[0, 10:40, 10:60] = masks[1, 40:, 60:] = masks[2] = True
    return list(masks)


def _check(bundle: Path, words: WordsRequest, *, tolerance: float) -> None:
    """Regions, words and phrases through the opened bundle are those of the model in torch."""
    with Predictor.from_bundle(bundle, threads=1) as predictor:  # runs the canary
        scorer = RegionScorer(predictor.graphs)
        given = scorer.embed(_image(), _masks())
        known, phrase = scorer.asked("dogs, fluffy unicorn")
        margins = scorer.margins(given, [known, phrase])
        crops_seen = predictor.graphs.session(Role.REGION_ENCODER).inputs[0].shape
    assert crops_seen[1:] == (words.model.side, words.model.side, 3)
    assert margins.shape == (3, 2)
    crops = region_crops(_image(), _masks(), record=scorer.record, side=words.model.side)
    with torch.inference_mode():
        wanted = words.model.embed_regions(torch.from_numpy(crops)).numpy()
    difference = float(np.abs(given - wanted).max())
    print(f"largest difference of embeddings of unit length: {difference:.2e}")
    assert difference < tolerance


def test_words_go_along(sam: Sam, words: WordsRequest, tmp_path: Path) -> None:
    result = export(sam, "cpu", output=tmp_path / "bundle", words=words)
    manifest = result.bundle.manifest
    assert manifest.prompts[-1] == "text"
    assert {"region_encoder", "text_encoder"} <= {graph.role for graph in manifest.graphs}
    assert manifest.own_words is not None
    assert manifest.own_words.model == SOURCE
    assert min(manifest.own_words.cosine_min.values()) > 0.9999
    _check(tmp_path / "bundle", words, tolerance=1e-4)


def test_the_page_takes_no_text_encoder(
    sam: Sam, words: WordsRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, options = tmp_path / "bundle", {"runtime": str(small_runtime(monkeypatch, tmp_path))}
    with pytest.raises(ExportError, match="text encoder, and the page runs none"):
        export(sam, "web", output=out, words=words, options=options)
    assert not out.exists()


def test_a_graph_that_is_another_is_refused(
    sam: Sam, words: WordsRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samedge.proof import words as proof

    class Other(proof.WordReference):
        def run(self, role: str, feeds: Any) -> Any:
            found = super().run(role, feeds)
            return {k: -v if "region" in k else v for k, v in found.items()}

    monkeypatch.setattr("samedge.export.gates.WordReference", Other)
    with pytest.raises(ParityError, match="region_encoder's embeddings"):
        export(sam, "cpu", output=tmp_path / "bundle", words=words)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
def test_an_exchanged_graph_fails_the_canary(sam: Sam, words: WordsRequest, tmp_path: Path) -> None:
    from samedge.predict import trust

    result = export(sam, "cpu", output=tmp_path / "bundle", words=words)
    with Predictor.from_bundle(result.bundle.path, verify=False) as predictor:
        run = predictor.graphs.run

        def turned(role: str, feeds: Any) -> Any:
            found = run(role, feeds)
            return {k: -v for k, v in found.items()} if role == Role.TEXT_ENCODER else found

        predictor.graphs.run = turned  # type: ignore[method-assign]
        with pytest.raises(BundleError, match="text_embeddings"):
            trust.check_canary(predictor.graphs)


@pytest.mark.slow
def test_words_are_added_to_a_bundle_that_is_there(
    sam: Sam, words: WordsRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samedge.export import word_addition

    plain = export(sam, "cpu", output=tmp_path / "bundle").bundle
    files = {name: (plain.folder / name).read_bytes() for name in ("encoder.onnx", "decoder.onnx")}
    monkeypatch.setattr(word_addition, "opened_model", lambda *args, **options: (sam, SOURCE))
    found = word_addition.add_words(plain, words)
    assert found.id != plain.id
    assert {name: (found.folder / name).read_bytes() for name in files} == files
    _check(tmp_path / "bundle", words, tolerance=1e-4)
    with pytest.raises(ExportError, match="has words already"):
        word_addition.add_words(found, words)


PLATFORMS = [
    ("cpu", Precision.FP32, 1e-4),
    ("intel", Precision.FP32, 1e-4),
    ("intel", Precision.FP16, 5e-3),
    ("torch", Precision.FP32, 1e-4),
]
FLOAT_SAM = PrecisionPlan(
    modules=[PlanRow(module=name, precision="fp32") for name in ("image_encoder", "decoder")]
)
"""The towers alone are quantized: masks of random weights are no matter of this file."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "message"), [("jetson", "tokens"), ("apple", "region_encoder failed")]
)
def test_platforms_that_cannot_say_so(
    sam: Sam, words: WordsRequest, tmp_path: Path, target: str, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export(sam, target, output=tmp_path / "bundle", precision=Precision.FP16, words=words)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
@pytest.mark.parametrize("vision", ["patches", "residual"])
@pytest.mark.parametrize(("target", "precision", "tolerance"), PLATFORMS)
def test_every_platform(
    sam: Sam, tmp_path: Path, target: str, precision: Precision, tolerance: float, vision: str
) -> None:
    words = _request(vision)
    out = tmp_path / "bundle"
    result = export(sam, target, output=out, precision=precision, words=words)
    own = result.bundle.manifest.own_words
    assert own is not None
    print(target, precision.value, own.cosine_min)
    assert min(own.cosine_min.values()) > limits(precision).embedding_cosine
    _check(out, words, tolerance=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cpu", "intel"])
def test_int8_towers_are_written_if_they_are_the_models(
    sam: Sam, tmp_path: Path, target: str
) -> None:
    """OpenVINO's integer products overflow on processors without VNNI: there it refuses them."""
    words = _request("wide")
    out = tmp_path / "bundle"
    refused, bundle = "", None
    try:
        bundle = export(
            sam, target, output=out, precision=Precision.INT8, plan=FLOAT_SAM, words=words
        ).bundle
    except ParityError as error:
        refused = str(error)
    if bundle is None:
        overflows = target == "intel" and not any("vnni" in name for name in isa() or ())
        assert "text_encoder" in refused
        assert overflows, refused
        assert not out.exists()
        return
    own = bundle.manifest.own_words
    assert own is not None
    print(target, own.cosine_min)
    assert min(own.cosine_min.values()) > limits(Precision.INT8).embedding_cosine
    assert bundle.graph(Role.TEXT_ENCODER).precision == "int8"
    canary = Bundle.open(out).canary()
    assert canary is not None
    float_limit, int8_limit = (limits(p).canary_cosine for p in (Precision.FP32, Precision.INT8))
    assert canary.limit(Role.TEXT_ENCODER) == canary.min_cosine == int8_limit
    assert canary.limit(Role.DECODER) == float_limit or target == "intel"  # bf16 there
    _check(out, words, tolerance=0.2)


@pytest.mark.slow
def test_int8_towers_of_wrong_ranges_are_refused(
    sam: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibrated on black crops, whose activations say nothing of photos."""
    from samedge.export import quantization

    genuine = quantization.feeds_of

    def dark(graph: Graph, request: ExportRequest) -> Any:
        return ({k: np.zeros_like(v) for k, v in f.items()} for f in genuine(graph, request))

    monkeypatch.setattr(quantization, "feeds_of", dark)
    out, words = tmp_path / "bundle", _request("wide")
    with pytest.raises(ParityError, match="region_encoder's embeddings"):
        export(sam, "cpu", output=out, precision=Precision.INT8, plan=FLOAT_SAM, words=words)
    assert not out.exists()


def test_bytes_give_the_weights_back_to_the_bit(rng: np.random.Generator) -> None:
    scale, zero = np.float32(0.0123), 117
    found = rng.integers(0, 256, (64, 40)).astype(np.uint8)
    values = (found.astype(np.float32) - np.float32(zero)) * scale
    grid = exact_grid(values)
    assert grid is not None
    stored, step, origin = grid
    back = (stored.astype(np.float32) - np.float32(origin)) * step
    assert np.array_equal(back, values)
    assert exact_grid(rng.normal(size=(64, 40)).astype(np.float32)) is None
    assert exact_grid(np.zeros((64, 40), np.float32)) is None
    values[0, 0] += np.float32(1e-4)
    assert exact_grid(values) is None


def test_a_model_of_bytes_computes_the_same(rng: np.random.Generator) -> None:
    onnx: Any = pytest.importorskip("onnx")
    runtime: Any = pytest.importorskip("onnxruntime")
    weights = ((rng.integers(0, 256, (64, 32, 1, 1)) - 100.0).astype(np.float32)) * np.float32(0.01)
    other = weights[:, :, 0, 0].repeat(2, axis=1)
    names = ("kernel", "matrix")
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["x", names[0]], ["h"]),
            onnx.helper.make_node("Flatten", ["h"], ["f"]),
            onnx.helper.make_node("MatMul", ["f", names[1]], ["y"]),
        ],
        "two",
        [onnx.helper.make_tensor_value_info("x", 1, (1, 32, 1, 1))],
        [onnx.helper.make_tensor_value_info("y", 1, (1, 64))],
        [onnx.numpy_helper.from_array(w, n) for w, n in zip((weights, other), names, strict=True)],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    x = rng.normal(size=(1, 32, 1, 1)).astype(np.float32)

    def run() -> Array:
        session = runtime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        found: Array = session.run(None, {"x": x})[0]
        return found

    before, size = run(), model.ByteSize()
    assert store_bytes(model) == 2
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(run(), before)
    assert model.ByteSize() < size - 3 * (weights.size + other.size) + 1000


def test_a_region_encoder_of_any_batch(
    sam: Sam, words: WordsRequest, request_for: Callable[..., Any]
) -> None:
    from samedge.export import base

    names = {"onnx": "batch", "coreml": 8, "tensorrt": 8, "web": 8}
    for name, batch in names.items():
        graphs = list(base.get(name).word_graphs(request_for("cpu", words=words)))
        assert graphs[0].input_records()[0].shape[0] == batch
        assert [graph.role for graph in graphs] == [Role.REGION_ENCODER, Role.TEXT_ENCODER]
