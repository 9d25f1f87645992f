"""The TensorRT exporter: typed graphs that keep the rules, parse, compile, and stay the model."""

from __future__ import annotations

import importlib.util
import json
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest
from click.testing import CliRunner

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import with_id
from samedge.cli._build import COMMAND
from samedge.errors import BackendUnavailableError, ExportError
from samedge.export import base, gates, pipeline
from samedge.export.base import ExportRequest, ExportResult
from samedge.export.islands import fp32_islands
from samedge.export.pipeline import export
from samedge.export.sources import photo_paths
from samedge.export.tensorrt_rules import violations
from samedge.models.painted import PaintedSam
from samedge.models.promptable import PromptableModel
from samedge.models.sam import Sam
from samedge.pixels.image_files import PHOTOS
from samedge.predict.predictor import Predictor
from samedge.proof.accuracy import Accuracy, AccuracyRow
from samedge.proof.photos import CalibrationSet
from samedge.runtimes.tensorrt.build import build
from samedge.runtimes.tensorrt.builder import BuildJob
from samedge.targets import TARGETS, target
from samedge.types import Precision

EXPORTER = base.get("tensorrt")
BUCKETS = target("jetson").prompt_buckets
TYPES = onnx.TensorProto
KINDS = ("sam", "painted")
PRECISIONS = (Precision.FP32, Precision.FP16, Precision.INT8)
GRAPHS = [(p, "encoder") for p in PRECISIONS] + [(p, "decoder") for p in PRECISIONS[:2]]
"""Different ones: by the default plan the decoder of an int8 bundle is the fp16 one."""

Written = Callable[[str, Precision], Path]


@pytest.fixture(scope="session")
def models(sam: Sam, painted: PaintedSam) -> dict[str, PromptableModel]:
    return {"sam": sam, "painted": painted}


@pytest.fixture(scope="session")
def written(
    models: dict[str, PromptableModel],
    request_for: Callable[..., ExportRequest],
    tmp_path_factory: pytest.TempPathFactory,
) -> Written:
    """Folder with the graphs of a model in a precision, made when it is first asked for."""
    made: dict[tuple[str, Precision], Path] = {}
    photos = CalibrationSet(PHOTOS, (PHOTOS / "astronaut.jpg", PHOTOS / "coffee.jpg"))

    def make(kind: str, precision: Precision) -> Path:
        if (kind, precision) not in made:
            folder = tmp_path_factory.mktemp(f"{kind}-{precision.value}")
            request = request_for(
                "jetson",
                model=models[kind],
                precision=precision,
                buckets=BUCKETS,
                calibration=photos,
            )
            graphs = EXPORTER.export(request, folder)
            assert [graph.format for graph in graphs] == ["onnx", "onnx"]
            made[kind, precision] = folder
        return made[kind, precision]

    return make


def operators(model: Any) -> set[str]:
    return {node.op_type for node in model.graph.node}


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_graphs_keep_the_rules(written: Written, kind: str, precision: Precision) -> None:
    folder = written(kind, precision)
    for role in ("encoder", "decoder"):
        model = onnx.load(folder / f"{role}.onnx")
        onnx.checker.check_model(model, full_check=True)
        assert violations(model) == []
        edges = (*model.graph.input, *model.graph.output)
        types = {edge.name: edge.type.tensor_type.elem_type for edge in edges}
        assert types.pop("image", TYPES.UINT8) == TYPES.UINT8
        assert set(types.values()) == {TYPES.FLOAT}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_precisions_are_explicit(written: Written, kind: str) -> None:
    for precision in (Precision.FP16, Precision.INT8):
        folder = written(kind, precision)
        for role in ("encoder", "decoder"):
            model = onnx.load(folder / f"{role}.onnx")
            stored = {tensor.data_type for tensor in model.graph.initializer}
            assert TYPES.FLOAT16 in stored
            quantized = precision is Precision.INT8 and role == "encoder"
            assert (TYPES.INT8 in stored) == quantized
            assert ("QuantizeLinear" in operators(model)) == quantized
    half, mixed = (onnx.load(written(kind, p) / "decoder.onnx").graph for p in PRECISIONS[1:])
    assert half == mixed
    plain = onnx.load(written(kind, Precision.FP32) / "encoder.onnx")
    assert {t.data_type for t in plain.graph.initializer} <= {TYPES.FLOAT, TYPES.INT64}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_fp32_islands_are_counted_and_small(written: Written, kind: str) -> None:
    folder = written(kind, Precision.FP16)
    for role in ("encoder", "decoder"):
        found = fp32_islands(folder / f"{role}.onnx")
        assert found is not None
        assert 0 < found.kept < found.operators
        assert found.share is not None
        assert found.share < 0.05


@pytest.fixture
def rtx() -> str:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt_rtx is not installed: pip install 'samedge[tensorrt-rtx]'")
    return "tensorrt-rtx"


def shapes_of(path: Path) -> list[dict[str, tuple[int, ...]]]:
    """The shapes of a graph's dynamic inputs for every bucket."""
    inputs = {
        tensor.name: [
            axis.dim_param or axis.dim_value for axis in tensor.type.tensor_type.shape.dim
        ]
        for tensor in onnx.load(path).graph.input
    }
    dynamic = {name: axes for name, axes in inputs.items() if any(isinstance(a, str) for a in axes)}
    sizes = [{"batch": b, "points": n} for b, n in BUCKETS]
    return [
        {name: tuple(size.get(a, a) for a in axes) for name, axes in dynamic.items()}
        for size in sizes
        if dynamic
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "role"), GRAPHS)
@pytest.mark.parametrize("kind", KINDS)
def test_rtx_takes_every_node_and_compiles(
    rtx: str, written: Written, tmp_path: Path, kind: str, precision: Precision, role: str
) -> None:
    wanted = shapes_of(written(kind, precision) / f"{role}.onnx")
    job = BuildJob(
        flavour=rtx,
        onnx=str(written(kind, precision) / f"{role}.onnx"),
        engine=str(tmp_path / "engine"),
        profiles=wanted,
        capabilities=["8.6", "8.9"],
    )
    report = build(job)
    assert report.layers > 10
    assert report.bytes


@pytest.fixture(scope="session")
def bundle(painted: PaintedSam, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    output = tmp_path_factory.mktemp("bundle") / "jetson"
    return export(painted, "jetson", precision="fp32", output=output)


@pytest.mark.slow
def test_the_bundle_passes_with_the_reference_and_says_how_to_open_it(
    bundle: ExportResult,
) -> None:
    manifest = bundle.bundle.manifest
    assert bundle.parity is not None
    assert bundle.parity.passed
    assert (manifest.backend, manifest.device) == ("tensorrt", "cuda:0")
    assert manifest.options == {}
    assert manifest.prompt_buckets == BUCKETS
    assert any("not yet run on a Jetson" in note for note in manifest.notes)
    assert {graph.format for graph in manifest.graphs} == {"onnx"}
    decoder = bundle.bundle.graph("decoder")
    assert decoder.shapes[1]["point_labels"] == [1, 12]
    assert next(spec for spec in decoder.inputs if spec.name == "point_coords").shape == [
        "batch",
        "points",
        2,
    ]


@pytest.mark.slow
def test_the_reference_opens_the_bundle_anywhere(bundle: ExportResult) -> None:
    from samedge.pixels.images import load_image
    from samedge.types import Prompt

    photo = load_image(PHOTOS / "coffee.jpg")
    with Predictor.from_bundle(bundle.bundle.path, backend="onnxruntime") as predictor:
        result = predictor.predict(photo, Prompt(box=[100, 100, 300, 300]))
    assert result.masks.shape == (1, *photo.shape[:2])


@pytest.mark.slow
def test_trtexec_commands_are_in_the_bundle(bundle: ExportResult) -> None:
    folder = bundle.bundle.folder
    encoder = (folder / "encoder.trtexec.sh").read_text()
    decoder = (folder / "decoder.trtexec.sh").read_text()
    assert encoder.startswith("#!/bin/sh\n")
    assert "--stronglyTyped" in encoder
    assert subprocess.run(["sh", "-n", folder / "decoder.trtexec.sh"], check=False).returncode == 0
    assert "Shapes" not in encoder
    assert "--minShapes=point_coords:1x4x2,point_labels:1x4," in decoder
    assert "--maxShapes=point_coords:16x12x2,point_labels:16x12,mask_input:16x1x32x32" in decoder
    assert "encoder.trtexec.sh" in bundle.bundle.artifact("encoder").files
    assert stat.S_ISREG((folder / "encoder.trtexec.sh").stat().st_mode)


@pytest.mark.slow
def test_build_on_the_command_line(rtx: str, bundle: ExportResult) -> None:
    path = str(bundle.bundle.path)
    runner = CliRunner()
    arguments = [path, "--flavour", rtx, "--json"]
    parsed = runner.invoke(COMMAND, [*arguments, "--parse-only"])
    assert parsed.exit_code == 0, parsed.output
    graphs = json.loads(parsed.stdout)["result"]["engines"]
    assert [graph["role"] for graph in graphs] == ["encoder", "decoder"]
    assert all(graph["layers"] > 10 and graph["path"] is None for graph in graphs)
    for built in (True, False):
        result = runner.invoke(COMMAND, [*arguments, "--capability", "8.9"])
        assert result.exit_code == 0, result.output
        engines = json.loads(result.stdout)["result"]["engines"]
        assert [engine["built"] for engine in engines] == [built, built]
        assert all(Path(engine["path"]).is_file() for engine in engines)
    Bundle.open(path)  # engines beside the graphs are no alteration


def test_a_bundle_of_another_format_is_not_built(tmp_path: Path, toy_bundle: Path) -> None:
    copy = shutil.copytree(toy_bundle, tmp_path / "toy")
    manifest = Bundle.open(copy).manifest
    graphs = [msgspec.structs.replace(g, format="mlpackage") for g in manifest.graphs]
    other = with_id(msgspec.structs.replace(manifest, graphs=graphs))
    (copy / "bundle.json").write_bytes(msgspec.json.encode(other))
    result = CliRunner().invoke(COMMAND, [str(copy)])
    assert result.exit_code == 1
    assert "TensorRT reads ONNX" in result.output


def test_parse_only_and_a_capability_contradict_each_other(toy_bundle: Path) -> None:
    arguments = [str(toy_bundle), "--parse-only", "--capability", "8.6"]
    assert CliRunner().invoke(COMMAND, arguments).exit_code == 2


def test_too_many_buckets(request_for: Callable[..., ExportRequest], tmp_path: Path) -> None:
    request = request_for("jetson", buckets=tuple((1, n) for n in range(1, 10)))
    with pytest.raises(ExportError, match=r"9 prompt buckets .* at most 8"):
        EXPORTER.export(request, tmp_path)


def test_cuda_takes_the_same_files_without_buckets(
    request_for: Callable[..., ExportRequest],
) -> None:
    assert target("cuda").format == target("jetson").format


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jetson", "cuda"])
def test_auto_asks_no_processor_how_fast_a_gpu_is(
    name: str, painted: PaintedSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a GPU exports, and its own latencies do not choose the precision."""
    asked: list[bool] = []

    def compare(*_: Any, timed: bool, **__: Any) -> Accuracy:
        asked.append(timed)
        row = AccuracyRow(
            prompt="box", n=40, miou_fp32=0.8, miou=0.8, drop=0, mask_iou_mean=1, mask_iou_p05=1
        )
        return Accuracy(
            truth="annotations",
            images=4,
            rows=[row],
            encode_ratio=None,
            decode_ratio=None,
            total_ratio=None,
            size_ratio=0.5,
            max_drop=0.005,
            passed=True,
            verdict="passed",
        )

    monkeypatch.setattr(gates, "compare", compare)
    monkeypatch.setattr(pipeline, "photo_paths", lambda images: photo_paths(images)[:2])
    result = export(painted, name, output=tmp_path / name, gate=False)
    assert set(asked) == {False}
    assert result.bundle.manifest.precision == "fp16"
    assert result.bundle.manifest.device == "cuda:0"
    verdicts = {row["precision"]: row["verdict"] for row in result.choices}
    assert verdicts == {"fp16": "chosen", "fp32": "not the platform's first choice"}


def test_cuda_never_becomes_the_processor(toy_bundle: Path) -> None:
    if "cuda:0" in runtimes.get("onnxruntime").probe().devices:
        pytest.skip("ONNX Runtime has its CUDA provider here")
    with (
        pytest.raises(BackendUnavailableError, match="no device 'cuda:0' here"),
        Predictor.from_bundle(toy_bundle, device="cuda:0", verify=False) as predictor,
    ):
        predictor.load()


def test_every_jetson_row_knows_its_module() -> None:
    rows = [row for name, row in TARGETS.items() if name.startswith("jetson-")]
    assert len(rows) == 5
    for row in rows:
        assert row.hardware is not None
        assert row.hardware.bandwidth > 5e10
        assert set(row.hardware.peaks) >= {Precision.FP32, Precision.FP16}
        assert Precision.INT8 not in row.precisions or Precision.INT8 in row.hardware.peaks
    assert target("jetson").hardware is None
