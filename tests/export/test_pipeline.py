"""From a model to a bundle: what is in it, what is refused, and what an interrupt leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

import samedge.export
from samedge import _cache
from samedge.bundle.bundle import Bundle
from samedge.errors import BundleError, ExportError, ParityError, UnknownNameError
from samedge.export import base
from samedge.export._onnx import OnnxExporter
from samedge.export.base import ExportRequest, ExportResult
from samedge.export.pipeline import export
from samedge.export.sources import MAX_PHOTOS, photo_paths
from samedge.models.building import build_model
from samedge.models.painted import PaintedSam
from samedge.models.sam import Sam
from samedge.models.spec import ModelSpec
from samedge.predict.predictor import Predictor
from samedge.records import ExportRecord
from samedge.types import Prompt


@pytest.mark.parametrize("target", ["cpu", "intel"])
def test_the_bundle_runs_where_it_was_made_for(
    exported: Callable[[str], ExportResult], target: str
) -> None:
    path = exported(target).bundle.path
    with Predictor.from_bundle(path, threads=1) as predictor:  # verifies hashes, runs the canary
        image = np.full((90, 60, 3), 200, np.uint8)
        result = predictor.predict(image, Prompt(points=[[30, 45]]))
    assert result.masks.shape == (1, 90, 60)


@pytest.mark.parametrize("target", ["cpu", "intel"])
def test_the_manifest_says_how_it_was_made(
    exported: Callable[[str], ExportResult], target: str
) -> None:
    manifest = exported(target).bundle.manifest
    assert manifest.target == target
    assert manifest.precision == "fp32"
    assert manifest.input_size == 128
    assert manifest.gate == "passed"
    assert manifest.parity is not None
    assert manifest.canary_sha256 is not None
    assert {"python", "samedge", "torch", "onnx", "onnxslim"} <= set(manifest.versions)
    assert {graph.role for graph in manifest.graphs} == {
        "encoder",
        "decoder",
        "meta_encoder",
        "meta_decoder",
    }
    decoder = next(graph for graph in manifest.graphs if graph.role == "decoder")
    assert [spec.name for spec in decoder.outputs] == ["low_res_masks", "iou_predictions"]
    assert decoder.inputs[1].shape == ["batch", "points", 2]


def test_the_document_is_the_contracts(exported: Callable[[str], ExportResult]) -> None:
    record = exported("cpu").record()
    assert isinstance(record, ExportRecord)
    document = json.loads(msgspec.json.encode(record))
    assert document["schema"] == "samedge.export/1"
    assert set(document["bundle"]) == {"path", "id"}
    fields = {"role", "path", "bytes", "sha256", "format", "precision"}
    assert all(set(artifact) == fields for artifact in document["artifacts"])
    names = {"images", "prompts", "mask_iou_mean", "mask_iou_p05", "embedding_cosine_min", "passed"}
    assert names <= set(document["parity"])
    assert document["seconds"] > 0
    assert document["plan"] == []


@pytest.mark.parametrize("target", ["cpu", "intel"])
def test_nothing_of_files_that_live_for_minutes_is_kept(
    sam: Sam, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What libraries made of the staged files, no path would lead to ever again."""
    monkeypatch.setenv(_cache.VARIABLE, str(tmp_path / "cache"))
    export(sam, target, precision="fp32", output=tmp_path / target)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_painted_model_is_exported_too(painted: PaintedSam, tmp_path: Path) -> None:
    result = export(painted, "cpu", output=tmp_path / "nano.samedge")
    assert (tmp_path / "nano.samedge").is_file()
    assert result.parity is not None
    assert result.parity.passed


def test_a_checkpoint_brings_its_name_and_licence(painted: PaintedSam, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    from samedge.models.checkpoints import save_checkpoint

    spec = ModelSpec(
        encoder="tinyvit",
        image_size=128,
        encoder_options={
            "widths": [8, 16, 20, 32],
            "depths": [1, 1, 1, 1],
            "heads": [1, 2, 2, 4],
            "embed_dim": 32,
        },
        decoder_options={"embed_dim": 32, "heads": 4, "mlp_dim": 16},
        name="our-tiny",
        licence="MIT",
        origin="https://example.org",
    )
    save_checkpoint(build_model(spec), tmp_path / "tiny.safetensors", spec=spec)
    result = export(tmp_path / "tiny.safetensors", "cpu", output=tmp_path / "out")
    model = result.bundle.manifest.model
    assert (model.name, model.licence, model.origin) == ("our-tiny", "MIT", "https://example.org")
    assert model.encoder == "tinyvit"
    assert model.checkpoint_sha256 is not None


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_leaves_what_was_there(
    sam: Sam,
    exported: Callable[[str], ExportResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    import shutil

    output = tmp_path / "bundle"
    shutil.copytree(exported("cpu").bundle.path, output)
    before = Bundle.open(output).manifest.id

    def stop(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("samedge.proof.parity.measure", stop)
    with pytest.raises(error):
        export(sam, "cpu", output=output)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert Bundle.open(output).manifest.id == before


def test_a_native_failure_names_graph_and_format(
    request_for: Callable[..., ExportRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("out of memory")

    monkeypatch.setattr(OnnxExporter, "_export", fail)
    with pytest.raises(ExportError, match=r"encoder of tiny .* onnx: out of memory"):
        base.get("onnx").export(request_for(), tmp_path)


def test_without_the_gate_it_is_recorded(
    sam: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samedge.proof import parity

    monkeypatch.setattr(parity, "embedding_cosines", lambda *_: (0.5, 0.5))
    result = export(sam, "cpu", output=tmp_path / "bundle", gate=False)
    assert result.bundle.manifest.gate == "skipped: --no-gate"
    assert result.parity is not None
    assert not result.parity.passed
    with pytest.raises(ParityError, match="It is fp32 already: take another backend") as told:
        export(sam, "cpu", output=tmp_path / "gated")
    assert "--precision fp32" not in str(told.value)


def test_progress_is_told(
    exported: Callable[[str], ExportResult], sam: Sam, tmp_path: Path
) -> None:
    notes: list[str] = []

    steps: list[int] = []
    export(
        sam,
        "cpu",
        output=tmp_path / "bundle",
        progress=lambda done, _: steps.append(done),
        stage=notes.append,
    )
    assert steps == list(range(1, len(steps) + 1))
    assert notes[0] == "encoder to onnx"
    assert "parity, photo 4 of 4" in notes
    assert notes[-1] == "writing the bundle"


def test_unknown_names(sam: Sam, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="intel"):
        export(sam, "intle", output=tmp_path / "x")
    with pytest.raises(UnknownNameError, match="meta"):
        export(sam, "cpu", output=tmp_path / "x", dialects=["metta"])
    with pytest.raises(UnknownNameError, match="fp32"):
        export(sam, "cpu", output=tmp_path / "x", precision="fp31")
    with pytest.raises(UnknownNameError, match="mobile-sam"):
        export("mobil-sam", "cpu", output=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_another_size_than_the_model_has(sam: Sam, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="128 px and input_size is 512"):
        export(sam, "cpu", output=tmp_path / "x", input_size=512)


def test_a_folder_that_is_no_bundle_is_not_overwritten(sam: Sam, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match=r"bundle\.json"):
        export(sam, "cpu", output=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_photos_are_spread_over_a_large_folder(tmp_path: Path) -> None:
    for index in range(30):
        (tmp_path / f"{index:02}.jpg").touch()
    (tmp_path / "notes.txt").touch()
    chosen = [path.stem for path in photo_paths(tmp_path)]
    assert len(chosen) == MAX_PHOTOS
    assert chosen == sorted(set(chosen))
    assert int(chosen[-1]) > 25


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_photos(tmp_path: Path, count: int) -> None:
    for index in range(count):
        (tmp_path / f"{index}.png").touch()
    with pytest.raises(ExportError, match=f"holds {count} pictures"):
        photo_paths(tmp_path)


def test_no_folder_of_photos(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no folder"):
        photo_paths(tmp_path / "absent")


def test_public_names() -> None:
    assert samedge.export.export is export
    assert samedge.export.ExportResult is ExportResult
    assert set(base.names()) >= {"onnx", "openvino"}
    with pytest.raises(UnknownNameError, match="onnx"):
        base.get("onxn")
