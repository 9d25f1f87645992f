"""ONNX files: dynamic where they should be, small, checked, and free of the exporting machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from samedge import runtimes
from samedge.errors import ExportError, WriteError
from samedge.export import base, onnx_graph
from samedge.export.base import ExportRequest, ExportResult
from samedge.export.graphs import DecoderGraph, EncoderGraph
from samedge.export.onnx_graph import onnx_model, save_onnx
from samedge.models.sam import Sam
from samedge.targets import TARGETS
from samedge.types import Precision

Request = Callable[..., ExportRequest]
NAMES = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input")


def feeds(labels: list[list[float]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    batch, count = len(labels), len(labels[0])
    arrays = (
        rng.standard_normal((1, 32, 8, 8)),
        rng.random((batch, count, 2)) * 128,
        np.array(labels),
        rng.standard_normal((batch, 1, 32, 32)) * 3,
        np.arange(batch) % 2,
    )
    return {name: array.astype(np.float32) for name, array in zip(NAMES, arrays, strict=True)}


def wanted(sam: Sam, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    with torch.no_grad():
        outputs = sam.decode(*(torch.from_numpy(inputs[name]) for name in NAMES))
    return [output.numpy() for output in outputs]


@pytest.mark.parametrize("target", ["cpu", "intel"])
@pytest.mark.parametrize(
    "labels",
    [[[1.0]], [[1.0, -1.0]], [[2.0, 3.0, 0.0, 1.0, 1.0]], [[1.0, -1.0], [2.0, 3.0], [-2.0, -2.0]]],
    ids=["1x1", "1x2", "1x5", "3x2"],
)
def test_one_decoder_takes_any_batch_and_any_points(
    exported: Callable[[str], ExportResult], sam: Sam, target: str, labels: list[list[float]]
) -> None:
    bundle = exported(target).bundle
    backend = runtimes.get(TARGETS[target].backend)
    inputs = feeds(labels)
    with backend.open(bundle.artifact_path("decoder"), options={"threads": 1}) as session:
        outputs = session.run(inputs)
    for name, want in zip(("low_res_masks", "iou_predictions"), wanted(sam, inputs), strict=True):
        assert np.abs(outputs[name] - want).max() < 1e-4


def test_files_are_checked_described_and_anonymous(exported: Callable[[str], ExportResult]) -> None:
    bundle = exported("cpu").bundle
    for role in ("encoder", "decoder", "meta_decoder"):
        path = bundle.artifact_path(role)
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        facts = {prop.key: prop.value for prop in model.metadata_props}
        assert facts["role"] == role
        assert facts["input_size"] == "128"
        assert {"samedge_version", "model", "licence", "precision"} <= set(facts)
        assert min(o.version for o in model.opset_import if not o.domain) >= 17
        assert model.producer_name == "samedge"
        content = path.read_bytes()
        assert str(Path(__file__).parents[2]).encode() not in content
        assert b"site-packages" not in content


def test_normalisation_is_inside_and_upscaling_outside(
    exported: Callable[[str], ExportResult],
) -> None:
    bundle = exported("cpu").bundle
    encoder = onnx.load(bundle.artifact_path("encoder"))
    kind = encoder.graph.input[0].type.tensor_type
    assert kind.elem_type == onnx.TensorProto.UINT8
    assert [axis.dim_value for axis in kind.shape.dim] == [1, 128, 128, 3]
    decoder = onnx.load(bundle.artifact_path("decoder"))
    assert [i.name for i in decoder.graph.input] == list(NAMES)
    kinds = {node.op_type for node in decoder.graph.node}
    assert not kinds & {"Resize", "NonZero", "Loop", "If", "ScatterND", "Einsum"}


def test_the_grids_encoding_is_left_to_the_runtime(sam: Sam, request_for: Request) -> None:
    model = onnx_model(DecoderGraph(sam).eval(), request_for())
    weights = sum(p.numel() * 4 for p in DecoderGraph(sam).decoder.state_dict().values())
    assert model.ByteSize() < 1.1 * weights + 100_000


def test_fixed_buckets_change_nothing(sam: Sam, request_for: Request, tmp_path: Path) -> None:
    request = request_for(buckets=((3, 6),))
    _, decoder = base.get("onnx").export(request, tmp_path)
    inputs = feeds([[1.0, 0.0, -1.0], [2.0, 3.0, -1.0]])
    filled = {
        "image_embeddings": inputs["image_embeddings"],
        "point_coords": np.zeros((3, 6, 2), np.float32),
        "point_labels": np.full((3, 6), -1, np.float32),
        "mask_input": np.zeros((3, 1, 32, 32), np.float32),
        "has_mask_input": np.zeros(3, np.float32),
    }
    filled["point_coords"][:2, :3] = inputs["point_coords"]
    filled["point_labels"][:2, :3] = inputs["point_labels"]
    filled["mask_input"][:2] = inputs["mask_input"]
    filled["has_mask_input"][:2] = inputs["has_mask_input"]
    backend = runtimes.get("onnxruntime")
    with backend.open(tmp_path / decoder.path, options={"threads": 1}) as session:
        assert all(isinstance(axis, int) for spec in session.inputs for axis in spec.shape)
        outputs = session.run(filled)
    want, _ = wanted(sam, inputs)
    assert np.abs(outputs["low_res_masks"][:2] - want).max() < 1e-4


def test_several_buckets_do_not_fit_one_file(request_for: Request, tmp_path: Path) -> None:
    request = request_for(buckets=((1, 4), (8, 4)))
    with pytest.raises(ExportError, match="at most 1"):
        base.get("onnx").export(request, tmp_path)


def test_weights_beside_the_file_where_protobuf_is_full(
    sam: Sam, request_for: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx_model(EncoderGraph(sam).eval(), request_for())
    monkeypatch.setattr(onnx_graph, "_MAX_PROTOBUF_BYTES", 1000)
    extra = save_onnx(model, tmp_path / "encoder.onnx")
    assert extra == ("encoder.onnx.data",)
    assert (tmp_path / "encoder.onnx").stat().st_size < (tmp_path / extra[0]).stat().st_size
    with runtimes.get("onnxruntime").open(tmp_path / "encoder.onnx") as session:
        image = EncoderGraph(sam).example()["image"]
        have = session.run({"image": image.numpy()})["image_embeddings"]
    with torch.no_grad():
        assert np.abs(have - sam.encode(image).numpy()).max() < 1e-4


@pytest.mark.slow
def test_torch_export_steps_in_where_the_tracer_fails(
    sam: Sam, request_for: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no tracer")

    monkeypatch.setattr(onnx_graph, "_traced", fail)
    model = onnx_model(DecoderGraph(sam).eval(), request_for())
    save_onnx(model, tmp_path / "decoder.onnx")
    inputs = feeds([[1.0, -1.0, -1.0], [2.0, 3.0, 0.0]])
    with runtimes.get("onnxruntime").open(tmp_path / "decoder.onnx") as session:
        outputs = session.run(inputs)
    assert np.abs(outputs["low_res_masks"] - wanted(sam, inputs)[0]).max() < 1e-4


def test_a_graph_that_no_exporter_can_write(request_for: Request, tmp_path: Path) -> None:
    class Blind(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("cannot be run")

    request = request_for()
    graph = EncoderGraph(request.model)
    graph.image_encoder = Blind()
    with pytest.raises(ExportError, match="cannot be run"):
        onnx_model(graph, request)


def test_an_input_that_nothing_reads_is_told(request_for: Request) -> None:
    """The simplifier drops it from the file, and whoever feeds it by name would be refused."""

    class Deaf(nn.Module):
        def forward(self, embedding: Tensor, *prompts: Tensor) -> tuple[Tensor, Tensor]:
            coords, _, mask, has_mask = prompts
            seen = embedding.mean() + coords.mean() + has_mask.mean()
            return mask.expand(-1, 4, -1, -1) + seen, seen.expand(len(coords), 4)

    request = request_for()
    graph = DecoderGraph(request.model).eval()
    graph.decoder = Deaf()
    with pytest.raises(ExportError, match=r"inputs .*has_mask_input.*expected .*point_labels"):
        onnx_model(graph, request)


def test_a_precision_that_the_format_lacks(request_for: Request, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"'onnx'.*'w4'.*fp32"):
        base.get("onnx").export(request_for(precision=Precision.W4), tmp_path)


def test_a_large_model_is_checked_without_pools_of_memory(
    request_for: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small one is timed as it will run."""
    request = request_for()
    assert base.get("onnx").check_settings(request) == {}
    monkeypatch.setattr("samedge.export._onnx._LARGE_MODEL", 1)
    assert base.get("onnx").check_settings(request) == {"memory_arena": False}


@pytest.mark.parametrize("content", [None, b"\xff\xff\xff"])
def test_a_file_that_is_not_read_as_it_was_written_is_no_bug_of_samedge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    def failing(_: object, path: Path) -> None:
        if content is not None:
            path.write_bytes(content)

    model = onnx.helper.make_model(onnx.helper.make_graph([], "nothing", [], []))
    monkeypatch.setattr(onnx, "save_model", failing)
    with pytest.raises(
        WriteError, match=r"encoder.onnx cannot be read again .*look after the disk"
    ):
        save_onnx(model, tmp_path / "encoder.onnx")
