"""Parity: a right graph passes, and each way of being wrong is caught before a bundle exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from samedge import runtimes
from samedge.errors import ExportError, ParityError
from samedge.export._onnx import OnnxExporter
from samedge.export.base import ExportRequest, ExportResult
from samedge.export.graphs import DecoderGraph, EncoderGraph, Graph
from samedge.export.pipeline import export
from samedge.export.sources import photo_paths, read_photos
from samedge.models.sam import Sam
from samedge.predict.predictor import Predictor
from samedge.proof import parity
from samedge.proof.probes import probes
from samedge.proof.reference import TorchReference
from samedge.types import Precision


class SwappedChannels(nn.Module):
    """BGR where the model wants RGB."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: Tensor) -> Tensor:
        swapped: Tensor = self.inner(image.flip(-1))
        return swapped


class NoNormalisation(nn.Module):
    """Pixels as they are."""

    def forward(self, image: Tensor) -> Tensor:
        return image.permute(0, 3, 1, 2).float()


class ConstantEncoder(nn.Module):
    """One embedding for every picture, as a real one once gave without any error."""

    def __init__(self, inner: nn.Module, image: Tensor) -> None:
        super().__init__()
        with torch.no_grad():
            self.register_buffer("answer", inner(image))

    def forward(self, image: Tensor) -> Tensor:
        return self.answer + 0.0 * image.mean()  # type: ignore[operator]


class DecoderFault(nn.Module):
    """Changes the decoder's inputs before it sees them."""

    def __init__(self, inner: nn.Module, fault: Callable[..., tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.inner, self.fault = inner, fault

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        masks, quality = self.inner(*self.fault(*inputs))
        return masks, quality


def dropped_mask(
    embedding: Tensor, coords: Tensor, labels: Tensor, mask: Tensor, has: Tensor
) -> tuple[Tensor, ...]:
    return embedding, coords, labels, mask, has * 0.0 + mask.mean() * 0.0


def exchanged_corners(
    embedding: Tensor, coords: Tensor, labels: Tensor, mask: Tensor, has: Tensor
) -> tuple[Tensor, ...]:
    corner = (labels >= 2).float()
    return embedding, coords, labels + corner * (5.0 - 2.0 * labels), mask, has


def exchanged_axes(
    embedding: Tensor, coords: Tensor, labels: Tensor, mask: Tensor, has: Tensor
) -> tuple[Tensor, ...]:
    return embedding, coords.flip(-1), labels, mask, has


def break_graph(graph: Graph, fault: str) -> Graph:
    if isinstance(graph, EncoderGraph):
        if fault == "swapped channels":
            graph.normalize = SwappedChannels(graph.normalize)
        elif fault == "missing normalisation":
            graph.normalize = NoNormalisation()
        elif fault == "constant encoder":
            answer = ConstantEncoder(graph.image_encoder, graph.normalize(graph.example()["image"]))
            graph.image_encoder = answer
    if isinstance(graph, DecoderGraph) and fault in DECODER_FAULTS:
        graph.decoder = DecoderFault(graph.decoder, DECODER_FAULTS[fault])
    return graph


DECODER_FAULTS = {
    "dropped mask prompt": dropped_mask,
    "box corners exchanged": exchanged_corners,
    "x and y exchanged": exchanged_axes,
}
FAULTS = ("swapped channels", "missing normalisation", "constant encoder", *DECODER_FAULTS)


@pytest.fixture(scope="module")
def two_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of the photos that come with samedge, reduced: enough for a model this small."""
    folder = tmp_path_factory.mktemp("photos")
    for path in photo_paths(None)[:2]:
        with Image.open(path) as photo:
            photo.reduce(2).save(folder / f"{path.stem}.png")
    return folder


# With random weights a box does little to the masks: exchanging its corners is within what
# quantization may do, and is left to the accuracy gate there.
@pytest.mark.parametrize(
    ("fault", "precision"),
    [
        (fault, precision)
        for precision in (Precision.FP32, Precision.BF16, Precision.INT8)
        for fault in FAULTS
        if (fault, precision) != ("box corners exchanged", Precision.INT8)
    ],
)
def test_a_broken_graph_is_caught(
    broken: Callable[[str], Predictor], sam: Sam, two_photos: Path, fault: str, precision: Precision
) -> None:
    photos = read_photos(photo_paths(two_photos))
    measured = parity.measure(TorchReference(sam), broken(fault), photos)
    print(fault, measured.record(parity.gate(precision), passed=False))
    with pytest.raises(ParityError):
        measured.check(parity.gate(precision))


@pytest.fixture(scope="module")
def broken(
    sam: Sam, two_photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Predictor]]:
    """Bundles of faulty graphs, written past the gate."""
    opened: dict[str, Predictor] = {}

    def make(fault: str) -> Predictor:
        if fault not in opened:
            output = tmp_path_factory.mktemp("broken") / "bundle"
            with pytest.MonkeyPatch.context() as patch:
                break_exporter(patch, fault)
                patch.setattr("samedge.export.proof.check_canary", lambda *_, **__: None)
                export(sam, "cpu", output=output, gate=False, images=two_photos)
            opened[fault] = Predictor.from_bundle(output, verify=False, threads=1)
        return opened[fault]

    yield make
    for predictor in opened.values():
        predictor.close()


def break_exporter(patch: pytest.MonkeyPatch, fault: str) -> None:
    graphs = OnnxExporter.graphs

    def faulty(self: OnnxExporter, request: ExportRequest) -> Iterator[Graph]:
        for graph in graphs(self, request):
            yield break_graph(graph, fault)

    patch.setattr(OnnxExporter, "graphs", faulty)


def test_no_bundle_and_exit_code_3(
    sam: Sam, two_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_exporter(monkeypatch, "swapped channels")
    with pytest.raises(ParityError, match="image_embeddings") as caught:
        export(sam, "cpu", output=tmp_path / "bundle", images=two_photos)
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["cpu", "intel"])
def test_the_real_graphs_pass_with_room(
    exported: Callable[[str], ExportResult], target: str
) -> None:
    record = exported(target).parity
    assert record is not None
    print(target, record)
    assert record.passed
    assert record.images == 4
    assert record.prompts >= 4 * 20
    assert record.mask_iou_mean > 0.9999
    assert record.embedding_cosine_min > 0.999999
    assert record.logit_error is not None
    assert record.logit_error < 1e-4


def test_real_photos_of_another_folder(
    exported: Callable[[str], ExportResult], sam: Sam, shared_data: Path
) -> None:
    photos = read_photos(photo_paths(shared_data / "fixtures" / "cats" / "images")[:2])
    with Predictor.from_bundle(exported("cpu").bundle.path, threads=1) as predictor:
        measured = parity.measure(TorchReference(sam), predictor, photos)
    measured.check(parity.gate(Precision.FP32))


def test_not_a_number_fails_the_gate() -> None:
    row = parity._Row("point", np.ones(4), float("nan"))
    with pytest.raises(ParityError, match="nan"):
        parity.Parity(2, (row,), (1.0, 1.0)).check(parity.gate(Precision.FP32))


def test_max_drop_moves_the_mean() -> None:
    row = parity._Row("point", np.array([0.98, 0.98, 1.0, 1.0]), 0.0)
    measured = parity.Parity(2, (row,), (1.0, 1.0))
    measured.check(parity.gate(Precision.BF16, max_drop=0.02))
    with pytest.raises(ParityError, match="mean mask IoU"):
        measured.check(parity.gate(Precision.BF16, max_drop=0.005))


def test_the_worst_kind_of_prompt_counts_by_itself() -> None:
    good = [parity._Row("point", np.ones(4), 0.0)] * 200
    bad = parity._Row("mask alone", np.full(4, 0.5), 0.0)
    measured = parity.Parity(2, (*good, bad), (1.0, 1.0))
    with pytest.raises(ParityError, match="mask alone"):
        measured.check(parity.gate(Precision.BF16))
    assert measured.kinds()[0][0] == "mask alone"


def test_empty_masks_agree() -> None:
    empty, full = np.zeros((1, 4, 4), bool), np.ones((1, 4, 4), bool)
    assert parity._iou(empty, empty) == [1.0]
    assert parity._iou(empty, full) == [0.0]


def test_one_photo_cannot_tell_a_blind_graph(
    exported: Callable[[str], ExportResult], sam: Sam
) -> None:
    with (
        Predictor.from_bundle(exported("cpu").bundle.path, threads=1) as predictor,
        pytest.raises(ExportError, match="at least 2"),
    ):
        parity.measure(TorchReference(sam), predictor, read_photos(photo_paths(None)[:1]))


def test_prompts_of_every_kind_lie_in_any_photo(
    exported: Callable[[str], ExportResult], sam: Sam
) -> None:
    assert runtimes.get("onnxruntime").probe().available
    kinds = {row[0] for row in exported("cpu").kinds}
    assert kinds == {
        "point",
        "points",
        "background point",
        "box",
        "point and box",
        "mask and point",
        "mask and box",
        "mask alone",
        "mask picture",
    }
    for size in ((3, 5), (1, 900), (480, 640)):
        for probe in probes(size):
            points: Any = probe.prompt.points
            assert (points <= np.array(size[::-1])).all()
