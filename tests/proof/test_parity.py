"""Parity: a right graph passes, and each way of being wrong is caught before a bundle exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge import runtimes
from samedge.errors import ExportError, InferenceError, ParityError
from samedge.export._onnx import OnnxExporter
from samedge.export.base import ExportRequest, ExportResult
from samedge.export.graphs import EncoderGraph, Graph
from samedge.export.pipeline import export
from samedge.export.sources import photo_paths, read_photos
from samedge.models.promptable import PromptableModel
from samedge.models.sam import Sam
from samedge.predict.predictor import Predictor
from samedge.proof import parity
from samedge.proof.decision import TIE, graph_limits
from samedge.proof.probes import probes
from samedge.proof.reference import TorchReference
from samedge.types import Precision
from tests.proof import emulated, mutants


@pytest.fixture(scope="module")
def two_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of the photos that come with samedge, reduced: enough for a model this small."""
    folder = tmp_path_factory.mktemp("photos")
    for path in photo_paths(None)[:2]:
        with Image.open(path) as photo:
            photo.reduce(2).save(folder / f"{path.stem}.png")
    return folder


ALWAYS = (
    "swapped channels",
    "missing normalisation",
    "constant encoder",
    "dropped mask prompt",
    "box corners exchanged",
    "x and y exchanged",
    "candidates in another order",
    "blind quality head",
)
"""Faults that random weights show too; those of one layer are told on the embedded model."""

ROUNDED = (Precision.FP32, Precision.BF16, Precision.FP16)


def as_computed(model: PromptableModel, precision: Precision) -> PromptableModel:
    return model if precision is Precision.FP32 else emulated.rounded(model, precision)


@pytest.mark.parametrize(
    "precision",
    [
        Precision.FP32,
        Precision.INT8,
        pytest.param(Precision.BF16, marks=pytest.mark.slow),
        pytest.param(Precision.FP16, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("fault", ALWAYS)
def test_a_broken_graph_is_caught(
    exported: Callable[[str], ExportResult],
    sam: Sam,
    two_photos: Path,
    fault: str,
    precision: Precision,
) -> None:
    """Bundles of faulty graphs, past the exporter: each in the rounding of its precision.

    INT8 is the encoder's; its decoder computes in float.
    """
    photos = read_photos(photo_paths(two_photos))
    is_rounded = precision in ROUNDED
    broken = mutants.mutant(as_computed(sam, precision) if is_rounded else sam, fault)
    limits = graph_limits(precision, precision if is_rounded else Precision.FP32)
    with (
        emulated.opened(exported("cpu").bundle, broken) as subject,
        pytest.raises((ParityError, InferenceError)),  # a dead encoder is told while it runs
    ):
        parity.measure(TorchReference(sam), subject, photos=photos, limits=limits).check()


@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("kind", ["sam", "painted"])
def test_rounding_alone_passes(
    exported: Callable[[str], ExportResult],
    two_photos: Path,
    request: pytest.FixtureRequest,
    kind: str,
    precision: Precision,
) -> None:
    model: PromptableModel = request.getfixturevalue(kind)
    photos = read_photos(photo_paths(two_photos))
    with emulated.opened(exported("cpu").bundle, as_computed(model, precision)) as subject:
        measured = parity.measure(
            TorchReference(model),
            subject,
            photos=photos,
            limits=graph_limits(precision, precision),
        )
    for name, found, limit in measured.figures():
        print(f"{kind} {precision.value} {name}: {found:.5f}, limit {limit:.5f}")
    measured.check()


def break_exporter(patch: pytest.MonkeyPatch) -> None:
    graphs = OnnxExporter.graphs

    def faulty(self: OnnxExporter, request: ExportRequest) -> Iterator[Graph]:
        for graph in graphs(self, request):
            if isinstance(graph, EncoderGraph):
                graph.normalize = mutants.SwappedChannels(graph.normalize)
            yield graph

    patch.setattr(OnnxExporter, "graphs", faulty)


def test_no_bundle_and_exit_code_3(
    sam: Sam, two_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_exporter(monkeypatch)
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
        limits = graph_limits(Precision.FP32, Precision.FP32)
        measured = parity.measure(TorchReference(sam), predictor, photos=photos, limits=limits)
    measured.check()


def row(
    kind: str = "point",
    *,
    decided: float = 1.0,
    weight: float = 1.0,
    error: float = 0.0,
    quality: float = 0.0,
    preferred: float | None = None,
) -> parity.Row:
    masks = np.full(4, decided)
    return parity.Row(kind, masks, masks, np.full(4, weight), error, quality, preferred)


def of(
    *rows: parity.Row,
    decoder: tuple[parity.Row, ...] = (),
    precision: Precision = Precision.BF16,
    max_drop: float | None = None,
) -> parity.Parity:
    limits = graph_limits(precision, precision, max_drop=max_drop)
    return parity.Parity(2, rows, decoder or (row(),), (1.0, 1.0), limits)


@pytest.mark.parametrize("broken", [row(error=np.nan), row(decided=np.nan), row(quality=np.nan)])
def test_not_a_number_fails_the_gate(broken: parity.Row) -> None:
    assert not of(broken).passed
    with pytest.raises(ParityError, match="nan"):
        of(broken).check()


def test_max_drop_moves_the_mean() -> None:
    drawn = row(decided=0.98)
    of(drawn, max_drop=0.02).check()
    with pytest.raises(ParityError, match="mean decided mask IoU"):
        of(drawn, max_drop=0.005).check()


def test_the_worst_kind_of_prompt_counts_by_itself() -> None:
    measured = of(*[row()] * 200, row("mask alone", decided=0.5))
    with pytest.raises(ParityError, match="mask alone"):
        measured.check()
    assert measured.kinds()[0][0] == "mask alone"


def test_masks_that_mean_nothing_weigh_nothing() -> None:
    of(*[row()] * 20, row(decided=0.0, weight=0.0)).check()
    with pytest.raises(ParityError, match="mean decided"):
        of(*[row()] * 20, row(decided=0.0)).check()


def test_the_encoders_rounding_does_not_hide_a_decoders_fault() -> None:
    limits = graph_limits(Precision.INT8, Precision.FP32)
    wrong = row(error=0.1)
    measured = parity.Parity(2, (wrong,), (wrong,), (1.0, 1.0), limits)
    with pytest.raises(ParityError, match="decoder alone: low_res_masks"):
        measured.check()
    parity.Parity(2, (wrong,), (row(),), (1.0, 1.0), limits).check()


def test_near_ties_are_counted_apart_from_errors() -> None:
    measured = of(row(), row(preferred=TIE / 2), row(preferred=TIE), row(preferred=0.3))
    assert measured.flips == (2, 1)
    record = measured.record()
    assert (record.near_ties, record.wrong_choices) == (2, 1)


def logits(value: float) -> tuple[np.ndarray, np.ndarray]:
    """A slope through zero in steps of 0.1 of its spread, moved by ``value`` spreads."""
    slope = np.tile(np.linspace(-1.7, 1.7, 35, dtype=np.float32), (4, 9, 1))
    return slope + value * slope[0].std(), np.array([0.5, 0.9, 0.4, 0.3])


def test_only_what_is_undecided_may_turn() -> None:
    probe = probes((9, 35))[0]
    near = parity._row(probe, logits(0.0), logits(0.08), margin=0.1)
    assert near.ious.max() < 1.0
    assert near.decided.tolist() == [1.0] * 4
    assert near.logit_error == pytest.approx(0.08, rel=0.05)
    far = parity._row(probe, logits(0.0), logits(0.5), margin=0.1)
    assert far.decided.max() < 1.0


def test_a_mask_of_hardly_any_pixel_is_not_compared_by_its_iou() -> None:
    """As the embedded model gives them where a mask and a click contradict each other."""
    probe = probes((48, 64))[0]

    def blot(side: int) -> parity.Answers:
        masks = np.full((4, 100, 100), -5.0, np.float32)
        masks[:, :side, :side] = 5.0
        return masks, np.zeros(4, np.float32)

    tiny = parity._row(probe, blot(2), blot(1), margin=0.1)
    assert list(tiny.decided) == [1.0] * 4
    assert list(tiny.weights) == [0.0] * 4
    assert list(tiny.ious) == [0.25] * 4
    grown = parity._row(probe, blot(2), blot(8), margin=0.1)
    assert list(grown.decided) == [4 / 64] * 4
    assert list(grown.weights) == [1.0] * 4


def test_another_candidate_of_a_click_is_told_with_its_lead() -> None:
    probe = next(probe for probe in probes((9, 35)) if probe.prompt.is_ambiguous)
    masks, quality = logits(0.0)
    other = quality[[0, 2, 1, 3]]
    assert parity._row(probe, (masks, quality), (masks, quality), margin=0.1).preferred is None
    found = parity._row(probe, (masks, quality), (masks, other), margin=0.1).preferred
    assert found == pytest.approx(0.5)


def test_empty_masks_agree() -> None:
    empty, full = np.zeros((1, 4, 4), bool), np.ones((1, 4, 4), bool)
    assert parity._iou(empty, empty) == [1.0]
    assert parity._iou(empty, full) == [0.0]


def test_one_photo_cannot_tell_a_blind_graph(
    exported: Callable[[str], ExportResult], sam: Sam
) -> None:
    limits = graph_limits(Precision.FP32, Precision.FP32)
    photos = read_photos(photo_paths(None)[:1])
    with (
        Predictor.from_bundle(exported("cpu").bundle.path, threads=1) as predictor,
        pytest.raises(ExportError, match="at least 2"),
    ):
        parity.measure(TorchReference(sam), predictor, photos=photos, limits=limits)


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
