"""OpenVINO IR: half precision only where asked for, and a description inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samedge import runtimes
from samedge.export import base
from samedge.export.base import ExportRequest, ExportResult
from samedge.export.graphs import EncoderGraph
from samedge.models._vit import ENCODER as VIT
from samedge.models._vit import ViTConfig
from samedge.models.sam import Sam, build_sam
from samedge.types import Precision

openvino = pytest.importorskip("openvino")
Request = Callable[..., ExportRequest]


@pytest.mark.slow
def test_half_precision_halves_the_weights_and_bf16_does_not(
    request_for: Request, tmp_path: Path
) -> None:
    sizes = {}
    for precision in (Precision.FP32, Precision.BF16, Precision.FP16):
        folder = tmp_path / precision.value
        folder.mkdir()
        exported = base.get("openvino").export(request_for("intel", precision=precision), folder)
        assert [graph.extra_files for graph in exported] == [("encoder.bin",), ("decoder.bin",)]
        sizes[precision] = (folder / "decoder.bin").stat().st_size
        assert {path.name for path in folder.iterdir()} == {
            "encoder.xml",
            "encoder.bin",
            "decoder.xml",
            "decoder.bin",
        }
    assert sizes[Precision.BF16] == sizes[Precision.FP32]
    assert sizes[Precision.FP16] < 0.52 * sizes[Precision.FP32]


def test_encoder_equals_torch(exported: Callable[[str], ExportResult], sam: Sam) -> None:
    path = exported("intel").bundle.artifact_path("encoder")
    image = EncoderGraph(sam).example()["image"]
    options = {"threads": 1, "cache": False}
    with runtimes.get("openvino").open(path, device="CPU", options=options) as session:
        have = session.run({"image": image.numpy()})["image_embeddings"]
    with torch.no_grad():
        assert np.abs(have - sam.encode(image).numpy()).max() < 1e-4


def test_residual_sums_have_three_axes(request_for: Request, tmp_path: Path) -> None:
    """With four, OpenVINO takes them for images and reorders them all the time."""
    config = ViTConfig(128, width=32, depth=2, heads=2, global_blocks=(1,), window=3, mlp_dim=32)
    model = build_sam(VIT.build(config), 128, heads=4, mlp_dim=64)
    request = request_for("intel", model=model.eval())
    base.get("openvino").written([EncoderGraph(request.model)], request, folder=tmp_path)
    operations = openvino.Core().read_model(tmp_path / "encoder.xml").get_ops()
    sums = [op for op in operations if op.get_type_name() == "Add" and not has_constant(op)]
    in_blocks = [op for op in sums if "/blocks." in op.get_friendly_name()]
    streams = [op for op in in_blocks if "/attn/" not in op.get_friendly_name()]
    assert [len(op.get_output_shape(0)) for op in streams] == [3] * (2 * config.depth)


def has_constant(op: Any) -> bool:
    return "Constant" in {value.get_node().get_type_name() for value in op.input_values()}


def test_the_file_says_what_it_is(exported: Callable[[str], ExportResult]) -> None:
    model = openvino.Core().read_model(exported("intel").bundle.artifact_path("decoder"))
    assert model.get_rt_info(["samedge", "role"]).astype(str) == "decoder"
    assert model.get_rt_info(["samedge", "input_size"]).astype(str) == "128"


def test_metas_dialect_stays_onnx(exported: Callable[[str], ExportResult]) -> None:
    graph = exported("intel").bundle.graph("meta_decoder")
    assert (graph.format, graph.artifact) == ("onnx", "meta_decoder.onnx")
