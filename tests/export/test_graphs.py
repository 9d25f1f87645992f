"""What crosses the graphs' edges."""

from __future__ import annotations

import pytest
import torch

from samedge.export.graphs import DecoderGraph, EncoderGraph, Graph, folded
from samedge.export.meta_dialect import MetaDecoderGraph
from samedge.models._tinyvit import ENCODER, TinyViTConfig
from samedge.models.painted import PaintedSam
from samedge.models.promptable import PromptableModel
from samedge.models.sam import Sam, build_sam
from samedge.models.windows import Constant


@pytest.fixture(params=["sam", "painted"])
def model(request: pytest.FixtureRequest) -> PromptableModel:
    chosen: PromptableModel = request.getfixturevalue(request.param)
    return chosen


@pytest.mark.parametrize("kind", [EncoderGraph, DecoderGraph, MetaDecoderGraph])
def test_declared_shapes_are_the_real_ones(kind: type[Graph], model: PromptableModel) -> None:
    graph = kind(model).eval()
    with torch.no_grad():
        outputs = graph(*graph.example().values())
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert [tuple(output.shape) for output in outputs] == list(graph.output_shapes())
    assert [output.dtype for output in outputs] == [torch.float32] * len(outputs)


def test_encoder_takes_bytes_and_normalises_inside(sam: Sam) -> None:
    graph = EncoderGraph(sam)
    assert [str(r.shape) for r in graph.input_records()] == ["[1, 128, 128, 3]"]
    assert graph.input_records()[0].dtype == "uint8"
    image = graph.example()["image"]
    with torch.no_grad():
        assert torch.equal(graph(image), sam.encode(image))


def test_decoder_has_the_contracts_tensors(sam: Sam) -> None:
    graph = DecoderGraph(sam)
    assert {record.name: record.shape for record in graph.input_records()} == {
        "image_embeddings": [1, 32, 8, 8],
        "point_coords": ["batch", "points", 2],
        "point_labels": ["batch", "points"],
        "mask_input": ["batch", 1, 32, 32],
        "has_mask_input": ["batch"],
    }
    assert {record.name: record.shape for record in graph.output_records()} == {
        "low_res_masks": ["batch", 4, 32, 32],
        "iou_predictions": ["batch", 4],
    }


def test_a_bucket_fixes_every_axis(sam: Sam) -> None:
    graph = DecoderGraph(sam, bucket=(4, 6))
    shapes = [record.shape for record in (*graph.input_records(), *graph.output_records())]
    assert shapes[1:3] == [[4, 6, 2], [4, 6]]
    assert all(isinstance(axis, int) for shape in shapes for axis in shape)


def test_a_painted_decoder_is_taken_as_it_is(painted: PaintedSam) -> None:
    graph = DecoderGraph(painted)
    inputs = tuple(graph.example().values())
    with torch.no_grad():
        for have, want in zip(graph(*inputs), painted.decode(*inputs), strict=True):
            assert torch.equal(have, want)
    assert not any("image_encoder" in name for name, _ in graph.named_parameters())


def test_constants_are_folded_only_while_exporting() -> None:
    config = TinyViTConfig(
        128, widths=(8, 16, 20, 32), depths=(1, 1, 1, 1), heads=(1, 2, 2, 4), embed_dim=32
    )
    graph = EncoderGraph(build_sam(ENCODER.build(config), 128, embed_dim=32, heads=4).eval())
    constants = [module for module in graph.modules() if isinstance(module, Constant)]
    assert constants
    with folded(graph):
        assert all(constant.folded is not None for constant in constants)
    assert all(constant.folded is None for constant in constants)
