"""The decoders rewritten for the Neural Engine: equal, and with little that only moves data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from samedge.export.coreml.conversion import convert
from samedge.export.coreml.planar import (
    PlanarDecoderGraph,
    PointlessDecoderGraph,
    PointsGraph,
)
from samedge.export.graphs import DecoderGraph, folded
from samedge.inspection.ane import lint_package
from samedge.models.decoders import planar_decoder
from samedge.models.painted import PaintedDecoder, PaintedSam
from samedge.models.painted_trunk import PaintedConfig
from samedge.models.promptable import PromptableModel
from samedge.models.sam import Sam
from tests.models.conftest import fill
from tests.toys.models import PatchEncoder, tiny_sam

LABELS = (
    *([1, -1, -1], [2, 3, -2], [1, 0, -1], [-2, -2, -2], [1, 2, 3], [2, 3, 0], [-1, -1, 1]),
    *([0, -1, -2], [3, 2, 1]),
)


def painted_sam(size: int = 128) -> PaintedSam:
    """The embedded models' decoder with weights that make every term count."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = PaintedSam(PatchEncoder(), PaintedDecoder(size, PaintedConfig())).eval()
        fill(model)
        for name, parameter in model.decoder.named_parameters():
            if name.endswith("_weight") or name == "click_bias":
                parameter.data = torch.randn(4)
    return model.requires_grad_(requires_grad=False)


@pytest.fixture(scope="module", params=["sam", "painted"])
def model(request: pytest.FixtureRequest) -> PromptableModel:
    return tiny_sam(128) if request.param == "sam" else painted_sam()


def prompts(batch: int) -> Iterator[dict[str, Tensor]]:
    """Every kind of prompt, with and without an earlier mask."""
    generator = torch.Generator().manual_seed(0)
    for labels in LABELS:
        for has_mask in (0.0, 1.0):
            coords = torch.rand(batch, 3, 2, generator=generator) * 128
            if 2 in labels:  # corners in their order
                coords = coords.sort(dim=1).values
            yield {
                "image_embeddings": torch.randn(1, 256, 8, 8, generator=generator),
                "point_coords": coords,
                "point_labels": torch.tensor([labels] * batch, dtype=torch.float32),
                "mask_input": 6 * torch.randn(batch, 1, 32, 32, generator=generator),
                "has_mask_input": torch.full((batch,), has_mask),
            }


@pytest.mark.parametrize("batch", [1, 3])
def test_rewritten_decoder_is_equal(model: PromptableModel, batch: int) -> None:
    planar = planar_decoder(model)
    assert planar is not None
    worst = 0.0
    with torch.inference_mode():
        for feeds in prompts(batch):
            expected, quality = model.decode(**feeds)
            masks, estimate = planar.eval()(**feeds)
            worst = max(worst, float((masks - expected).abs().max() / expected.abs().max()))
            torch.testing.assert_close(masks, expected, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(estimate, quality, rtol=1e-4, atol=2e-5)
    print(f"{type(model).__name__}: largest difference {worst:.1e} of the largest logit")


def test_parted_decoder_is_equal(model: PromptableModel) -> None:
    points = PointsGraph(model, bucket=(1, 3)).eval()
    rest = PointlessDecoderGraph(model, bucket=(1, 3)).eval()
    shapes = dict(zip(points.output_names, points.output_shapes(), strict=True))
    names = tuple(rest.example())
    with torch.inference_mode():
        for feeds in prompts(1):
            made = points(feeds["point_coords"], feeds["point_labels"])
            named = dict(zip(points.output_names, made, strict=True))
            assert {name: tuple(value.shape) for name, value in named.items()} == shapes
            masks, _ = rest(*({**feeds, **named}[name] for name in names))
            torch.testing.assert_close(masks, model.decode(**feeds)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["sam", "painted"])
@pytest.mark.slow
def test_layout_operations_are_few(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    subject: Sam | PaintedSam = tiny_sam(128) if kind == "sam" else painted_sam()
    shares = {}
    for graph in (
        DecoderGraph(subject, bucket=(1, 11)).eval(),
        PlanarDecoderGraph(subject, bucket=(1, 11)).eval(),
    ):
        path = tmp_path / f"{type(graph).__name__}.mlpackage"
        with folded(graph):
            convert(graph, half=True).model.save(str(path))
        report = lint_package(path)
        shares[type(graph)] = report.layout_operations / report.operations
        if isinstance(graph, PlanarDecoderGraph):
            assert report.errors == ()
    print(f"{kind}: {shares[DecoderGraph]:.1%} before, {shares[PlanarDecoderGraph]:.1%} after")
    assert shares[PlanarDecoderGraph] < min(0.1, shares[DecoderGraph])
