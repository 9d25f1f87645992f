"""Core ML bundles: parity through the mil backend, precisions, attributes, what a package says."""

from __future__ import annotations

import collections
import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from samedge.calibration.plan import PrecisionPlan
from samedge.errors import BackendUnavailableError, ExportError
from samedge.export import pipeline
from samedge.export._coreml import EXPORTER
from samedge.export.base import ExportRequest, ExportResult
from samedge.export.coreml import conversion as coreml_conversion
from samedge.export.coreml.attributes import check_attributes
from samedge.export.coreml.compression import compress
from samedge.export.coreml.conversion import convert
from samedge.export.coreml.library import quiet
from samedge.export.coreml.modules import module_names
from samedge.export.coreml.options import MinimumOs
from samedge.export.graphs import DecoderGraph, EncoderGraph, Graph, folded
from samedge.export.pipeline import export
from samedge.export.sources import photo_paths
from samedge.inspection.ane import lint_package
from samedge.models.building import build_model
from samedge.models.click_decoder import ClickSam
from samedge.models.painted import PaintedSam
from samedge.models.sam import Sam
from samedge.models.spec import ModelSpec, Option
from samedge.predict.predictor import Predictor
from samedge.runtimes._mil import BACKEND
from samedge.runtimes.mil.package import read_package
from samedge.runtimes.mil.program import Function
from samedge.types import Precision, Role
from tests.models.conftest import fill

pytest.importorskip("coremltools")


class Toy(Graph):
    """A few operations whose attributes converters get wrong."""

    role = Role.ENCODER
    output_names = ("image_embeddings",)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(8, eps=3e-3)
        self.gelu = torch.nn.GELU(approximate=approximate)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.gelu(self.norm(features))
        return result

    def example(self) -> dict[str, Tensor]:
        return {"features": torch.linspace(-2, 2, 32).view(1, 4, 8)}

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((1, 4, 8),)


@pytest.fixture(scope="module")
def bundle(painted: PaintedSam, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """The tiny painted model for apple, in fp16; accuracy is none of a random model's."""
    output = tmp_path_factory.mktemp("apple") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "photo_paths", lambda images: photo_paths(images)[:2])
        patch.setattr(pipeline, "_float_reference", lambda *_, **__: contextlib.nullcontext())
        return export(painted, "apple", output=output)


def saved(graph: Graph, path: Path, **options: Any) -> Path:
    convert(graph, **{"half": False, **options}).model.save(str(path))
    return path


@pytest.mark.slow
def test_bundle_passes_parity_in_fp16(bundle: ExportResult) -> None:
    parity = bundle.parity
    assert parity is not None
    print(f"fp16: mask IoU {parity.mask_iou_mean:.4f}, cosine {parity.embedding_cosine_min:.5f}")
    assert parity.passed
    assert parity.mask_iou_mean > 0.995
    manifest = bundle.bundle.manifest
    assert (manifest.backend, manifest.precision) == ("coreml", "fp16")
    assert manifest.prompt_buckets == ((1, 11),)
    assert "coremltools" in manifest.versions
    assert {graph.format for graph in manifest.graphs} == {"coreml"}


def test_mil_runs_the_bundle_and_coreml_says_why_it_cannot(bundle: ExportResult) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    from samedge.types import Prompt

    with Predictor.from_bundle(bundle.bundle.path, backend="mil") as predictor:
        result = predictor.predict(photo, Prompt(points=[[30, 40]], box=[10, 10, 60, 80]))
    assert result.masks.shape[1:] == (96, 128)
    assert result.backend.name == "mil"
    from samedge import runtimes

    if not runtimes.get("coreml").probe().available:
        with pytest.raises(BackendUnavailableError, match="on a Mac"):
            Predictor.from_bundle(bundle.bundle.path)


def test_package_says_what_it_is(bundle: ExportResult) -> None:
    package = read_package(bundle.bundle.path / "encoder.mlpackage")
    assert package.metadata["licence"] == "unknown"
    assert package.metadata["samedge.role"] == "encoder"
    assert "124" in package.metadata["samedge.preprocessing"]
    assert package.specification_version == 8  # iOS 17
    (image,) = package.inputs["main"]
    assert (image.name, image.color_space, image.shape) == ("image", "RGB", (1, 128, 128, 3))
    assert not list(bundle.bundle.path.rglob("*debug*"))


@pytest.fixture(scope="module")
def fp32_encoder(painted: PaintedSam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(EncoderGraph(painted), tmp_path_factory.mktemp("fp32") / "encoder.mlpackage")


@pytest.fixture(scope="module")
def half_encoder(painted: PaintedSam) -> Callable[[MinimumOs], Any]:
    """The encoder in fp16 for a system, converted when it is first asked for."""
    graph = EncoderGraph(painted)
    return functools.cache(lambda system: convert(graph, half=True, minimum_os=system).model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "least_db", "largest_share"),
    [
        (Precision.FP16, 50, 0.62),
        (Precision.W8, 30, 0.4),
        (Precision.P8, 30, 0.4),
        (Precision.W6, 15, 0.35),
        (Precision.W4, 8, 0.3),
        (Precision.P4, 5, 0.3),
    ],
)
def test_precisions(
    painted: PaintedSam,
    half_encoder: Callable[[MinimumOs], Any],
    fp32_encoder: Path,
    tmp_path: Path,
    precision: Precision,
    least_db: float,
    largest_share: float,
) -> None:
    model = half_encoder("iOS18" if precision is Precision.W4 else "iOS17")
    path = tmp_path / "encoder.mlpackage"
    (model if precision is Precision.FP16 else compress(model, all_in(precision))).save(str(path))
    image = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = EncoderGraph(painted)(image).numpy()
    with BACKEND.open(path) as session:
        result = session.run({"image": image.numpy()})["image_embeddings"]
    ratio = 10 * np.log10(np.square(expected).mean() / np.square(result - expected).mean())
    share = weight_bytes(path) / weight_bytes(fp32_encoder)
    print(f"{precision.value}: {ratio:.1f} dB, weights {share:.2f} of fp32")
    assert ratio > least_db
    assert share < largest_share


def all_in(precision: Precision) -> PrecisionPlan:
    return PrecisionPlan(default=precision.value, rest="fp16")


def test_int8_without_ranges_is_refused(half_encoder: Callable[[MinimumOs], Any]) -> None:
    with pytest.raises(ExportError, match="calibration set"):
        compress(half_encoder("iOS17"), all_in(Precision.INT8))


def weight_bytes(package: Path) -> int:
    return read_package(package).weight_bytes


def test_fp32_package_is_exact(painted: PaintedSam, fp32_encoder: Path) -> None:
    image = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = EncoderGraph(painted)(image).numpy()
    with BACKEND.open(fp32_encoder) as session:
        result = session.run({"image": image.numpy()})["image_embeddings"]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["painted", "sam", "click"])
def test_padding_a_prompt_changes_nothing(
    sam: Sam, painted: PaintedSam, click: ClickSam, tmp_path: Path, kind: str
) -> None:
    """And each decoder's package computes what the model computes."""
    model = {"sam": sam, "painted": painted, "click": click}[kind]
    graph = DecoderGraph(model, bucket=(1, 6)).eval()
    path = saved(graph, tmp_path / "decoder.mlpackage")
    example = graph.example()
    for name in model.embedding_names:
        example[name] = torch.randn_like(example[name])
    coords, labels = torch.rand(1, 6, 2) * 128, torch.tensor([[1.0, -1, -1, -1, -1, -1]])
    full = {**example, "point_coords": coords, "point_labels": labels}
    short = {**full, "point_coords": coords[:, :2], "point_labels": labels[:, :2]}
    with torch.inference_mode():
        expected = graph(*short.values())[0].numpy()
    with BACKEND.open(path) as session:
        result = session.run({k: v.numpy() for k, v in full.items()})["low_res_masks"]
    np.testing.assert_allclose(result, expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_coordinates_stay_in_fp32(painted: PaintedSam, tmp_path: Path) -> None:
    graph = DecoderGraph(painted, bucket=(1, 3))
    path = saved(graph, tmp_path / "decoder.mlpackage", half=True)
    function = read_package(path).functions["main"]
    types = function.types()
    assert {types[op.outputs[0][0]].dtype for op in consumers(function, "point_coords")} == {
        "float32"
    }
    differences = [types[op.outputs[0][0]] for op in kinds(function, "sub")]
    assert sum(kind.dtype == "float32" for kind in differences) >= 4  # positions less coordinates
    assert {types[op.outputs[0][0]].dtype for op in kinds(function, "conv")} == {"float16"}


@pytest.mark.slow
def test_plain_vit_converts(tmp_path: Path) -> None:
    """SAM's own encoder, small: windows, relative positions, global attention."""
    options: dict[str, Option] = {
        "width": 64,
        "depth": 2,
        "heads": 2,
        "global_blocks": [1],
        "window": 4,
        "mlp_dim": 96,
    }
    spec = ModelSpec(encoder="vit", image_size=128, encoder_options=options)
    model = build_model(spec).eval()
    fill(model)
    graph = EncoderGraph(model)
    with folded(graph):
        path = saved(graph, tmp_path / "encoder.mlpackage", half=True)
    image = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = graph(image).numpy()
    with BACKEND.open(path) as session:
        result = session.run({"image": image.numpy()})["image_embeddings"]
    ratio = 10 * np.log10(np.square(expected).mean() / np.square(result - expected).mean())
    print(f"small ViT in fp16: {ratio:.1f} dB")
    assert ratio > 45
    assert lint_package(path).errors == ()


def consumers(function: Function, name: str) -> list[Any]:
    return [
        op
        for op in function.operations
        if any(getattr(a, "name", None) == name for args in op.inputs.values() for a in args)
    ]


def kinds(function: Function, kind: str) -> list[Any]:
    return [op for op in function.operations if op.kind == kind]


@pytest.mark.parametrize(
    ("approximate", "mode"), [("none", "EXACT"), ("tanh", "TANH_APPROXIMATION")]
)
def test_gelu_mode_survives(tmp_path: Path, approximate: str, mode: str) -> None:
    path = saved(Toy(approximate), tmp_path / "toy.mlpackage")
    function = read_package(path).functions["main"]
    (gelu,) = kinds(function, "gelu")
    assert function.constants()[gelu.inputs["mode"][0].name].load() == mode


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"TANH_APPROXIMATION": 1}, "1 gelu operations are EXACT, expected 0"),
        ({}, "1 gelu operations are EXACT, expected 0"),
        ({"EXACT": 2}, "1 gelu operations are EXACT, expected 2"),
    ],
)
def test_wrong_gelu_mode_is_caught(tmp_path: Path, wanted: dict[str, int], message: str) -> None:
    conversion = convert(Toy(), half=False)
    conversion.model.save(str(tmp_path / "toy.mlpackage"))
    function = read_package(tmp_path / "toy.mlpackage").functions["main"]
    check_attributes(function, conversion.exported, wanted_modes=collections.Counter(EXACT=1))
    with pytest.raises(ExportError, match=message):
        check_attributes(function, conversion.exported, wanted_modes=collections.Counter(wanted))


@pytest.mark.slow
def test_wrong_epsilon_is_caught(tmp_path: Path) -> None:
    path = saved(Toy(), tmp_path / "toy.mlpackage", half=True)
    other = Toy()
    other.norm.eps = 1e-5
    function = read_package(path).functions["main"]
    with pytest.raises(ExportError, match=r"layer_norm .* has epsilon 0\.003"):
        check_attributes(
            function, convert(other, half=True).exported, wanted_modes=collections.Counter(EXACT=1)
        )


class Reciprocal(Toy):
    """What coremltools 9.0 writes as 1 / (x + 1e-4)."""

    def forward(self, features: Tensor) -> Tensor:
        return 1.0 / (features * features + 1e-5)


def test_a_reciprocal_has_no_epsilon_of_its_own(tmp_path: Path) -> None:
    graph = Reciprocal()
    path = saved(graph, tmp_path / "toy.mlpackage")
    (features,) = graph.example().values()
    features = features * 1e-3  # where 1e-4 would be most of the denominator
    with BACKEND.open(path) as session:
        (found,) = session.run({"features": features.numpy()}).values()
    np.testing.assert_allclose(found, graph(features).numpy(), rtol=1e-5)


def test_a_reciprocal_with_an_epsilon_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lowerings = coreml_conversion._lowerings()
    del lowerings[torch.ops.aten.reciprocal.default]
    monkeypatch.setattr(coreml_conversion, "_lowerings", lambda: lowerings)
    with pytest.raises(ExportError, match=r"inverse .* has epsilon 0\.0001"):
        convert(Reciprocal(), half=False)


def test_what_cannot_be_converted_is_named(tmp_path: Path) -> None:
    class Odd(Toy):
        def forward(self, features: Tensor) -> Tensor:
            result: Tensor = torch.special.i0(features)
            return result

    with pytest.raises(ExportError, match=r"converting the encoder failed"):
        convert(Odd(), half=False)


def test_dynamic_decoder_and_other_dialects_are_refused(
    request_for: Callable[..., ExportRequest], tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="fixed shapes"):
        list(EXPORTER.graphs(request_for("apple", precision=Precision.FP16)))
    wish = request_for("apple", precision=Precision.FP16, buckets=((1, 3),), dialects=("meta",))
    with pytest.raises(ExportError, match="dialect meta"):
        EXPORTER.export(wish, tmp_path)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    convert(Toy(), half=True)
    assert capfd.readouterr() == ("", "")


def test_names_are_those_of_the_plan(painted: PaintedSam) -> None:
    graph = DecoderGraph(painted, bucket=(1, 2))
    with folded(graph), quiet():
        exported, _, _ = coreml_conversion._trace(graph, ())
        names = set(module_names(exported).values())
    assert {"decoder.fine", "decoder.masks"} <= names
    assert not any(name.startswith("decoder.decoder") for name in names)
