"""``samedge export`` and ``samedge verify``: a tiny checkpoint to a bundle, checked again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import file_hash, with_id
from samedge.bundle.reading import as_written, decode_manifest
from samedge.records import read
from samedge.runtimes import get
from tests.cli.conftest import invoke
from tests.toys.bundle import encoder_model, write_bundle

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("segment_anything")

SIDE = 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def photos(folder: Path) -> Path:
    """Two small pictures to compare on, which is the least that parity takes."""
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for name in ("one.png", "two.png"):
        blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((80, 60)).save(folder / "photos" / name)
    return folder / "photos"


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    from tests.models.conftest import build_meta_sam

    path = folder / "tiny.pth"
    torch.save(build_meta_sam(SIDE).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def exported(folder: Path, checkpoint: Path, photos: Path) -> tuple[Path, Any]:
    """The bundle and the document of its export."""
    bundle = folder / "bundle"
    options = ("--target", "cpu", "--checkpoint", checkpoint, "-o", bundle)
    record = ("--calibration", photos, "--json", "--record", folder / "export.json")
    result = invoke("export", *options, *record)
    assert result.exit_code == 0, result.stderr
    return bundle, json.loads(result.stdout)


@pytest.mark.slow
def test_document_has_every_promised_field(exported: tuple[Path, Any]) -> None:
    path, found = exported
    bundle = Bundle.open(path)
    assert found["schema"] == "samedge.export/1"
    assert found["bundle"] == {"path": str(path), "id": bundle.id}
    assert {artifact["role"] for artifact in found["artifacts"]} == {"encoder", "decoder"}
    for artifact in found["artifacts"]:
        assert set(artifact) == {"role", "path", "bytes", "sha256", "format", "precision"}
        assert artifact["bytes"] == (path / artifact["path"]).stat().st_size
        assert artifact["sha256"] == file_hash(path / artifact["path"])
    promised = {"images", "prompts", "mask_iou_mean", "mask_iou_p05", "embedding_cosine_min"}
    assert set(found["parity"]) >= promised | {"passed"}
    assert found["parity"]["passed"] is True
    assert found["parity"]["mask_iou_mean"] > 0.999
    assert found["seconds"] > 0
    assert found["plan"] == []


@pytest.mark.slow
def test_the_record_is_what_report_reads(exported: tuple[Path, Any], folder: Path) -> None:
    record = read(folder / "export.json")
    assert record.bundle.id == exported[1]["bundle"]["id"]  # type: ignore[union-attr]


@pytest.mark.slow
def test_the_bundle_segments(exported: tuple[Path, Any], photo: Path) -> None:
    result = invoke("segment", photo, "--bundle", exported[0], "--point", "60,45", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["bundle"]["id"] == exported[1]["bundle"]["id"]


@pytest.mark.slow
def test_drift_is_exit_code_3_and_no_bundle(
    checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samedge.proof import parity

    monkeypatch.setattr(parity, "_iou", lambda a, b: a.any(axis=(1, 2)) * 0.5)
    bundle = tmp_path / "bundle"
    options = ("--target", "cpu", "--checkpoint", checkpoint, "-o", bundle)
    result = invoke("export", *options, "--precision", "fp32", "--calibration", photos)
    assert result.exit_code == 3
    assert "Parity of" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not bundle.exists()


# ---- verify


@pytest.mark.slow
def test_verify_measures_parity_again(exported: tuple[Path, Any], checkpoint: Path) -> None:
    result = invoke("verify", exported[0], "--checkpoint", checkpoint, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert [(check["name"], check["passed"]) for check in found["checks"]] == [
        ("hashes", True),
        ("canary", True),
        ("parity", True),
    ]
    assert found["checks"][2]["measured"]["mask_iou_mean"] > 0.999


@pytest.mark.slow
def test_verify_past_the_gate_is_exit_code_3(
    exported: tuple[Path, Any], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samedge.proof import parity

    monkeypatch.setattr(parity, "_iou", lambda a, b: a.any(axis=(1, 2)) * 0.5)
    result = invoke("verify", exported[0], "--checkpoint", checkpoint)
    assert result.exit_code == 3
    assert "export it again with a higher precision" in result.stderr


def test_verify_of_a_model_that_is_not_at_hand(tmp_path: Path) -> None:
    write_bundle(tmp_path / "toy", reference=get("onnxruntime"))
    result = invoke("verify", tmp_path / "toy", "--json")
    assert result.exit_code == 0
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert (checks["hashes"]["passed"], checks["canary"]["passed"]) == (True, True)
    assert checks["parity"]["passed"] is None
    assert "--checkpoint" in checks["parity"]["detail"]


def test_verify_finds_an_altered_file(tmp_path: Path) -> None:
    path = tmp_path / "toy"
    write_bundle(path, reference=get("onnxruntime"))
    (path / "encoder.onnx").write_bytes(b"something else")
    result = invoke("verify", path)
    assert result.exit_code == 1
    assert "encoder.onnx" in result.stderr


def test_verify_finds_a_device_that_computes_something_else(tmp_path: Path) -> None:
    """A bundle whose canary was recorded from another encoder stands for such a device."""
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    write_bundle(right, reference=get("onnxruntime"))

    def exchange(writer: Any) -> None:
        shutil.copy(right / "canary.npz", writer.folder / "canary.npz")

    write_bundle(wrong, encoder=encoder_model(constant=True), before_commit=exchange)
    manifest = decode_manifest((wrong / "bundle.json").read_bytes(), wrong)
    other = msgspec.structs.replace(manifest, canary_sha256=file_hash(wrong / "canary.npz"))
    (wrong / "bundle.json").write_bytes(as_written(with_id(other)))
    result = invoke("verify", wrong)
    assert result.exit_code == 1
    assert "same embedding" in result.stderr or "nearly the same" in result.stderr


def test_verify_with_another_checkpoint(tmp_path: Path) -> None:
    from samedge.bundle.manifest import ModelRecord

    model = ModelRecord(name="toy", licence="", origin="", checkpoint_sha256="0" * 64)
    write_bundle(tmp_path / "toy", model=model)
    (tmp_path / "other.pth").write_bytes(b"weights")
    result = invoke("verify", tmp_path / "toy", "--checkpoint", tmp_path / "other.pth")
    assert result.exit_code == 1
    assert "SHA-256 should be 000" in result.stderr


def test_verify_takes_a_folder_of_weights_and_names_one_that_is_not_there(tmp_path: Path) -> None:
    from samedge.bundle.manifest import ModelRecord

    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    digest = file_hash(folder / "model.safetensors")
    model = ModelRecord(name="toy", licence="", origin="", checkpoint_sha256=digest)
    write_bundle(tmp_path / "toy", model=model)
    result = invoke("verify", tmp_path / "toy", "--checkpoint", folder)  # found to be the one, and
    assert result.exit_code == 1
    assert "model.safetensors" in result.stderr  # no checkpoint
    assert "SHA-256" not in result.stderr
    (folder / "model.safetensors").write_bytes(b"others")
    result = invoke("verify", tmp_path / "toy", "--checkpoint", folder)
    assert "SHA-256 should be" in result.stderr
    result = invoke("verify", tmp_path / "toy", "--checkpoint", tmp_path / "gone")
    assert result.exit_code == 1
    assert "There is no checkpoint at" in result.stderr


# ---- mistakes, before any model is loaded


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, "Missing option '--target'"),
        (["--target", "cpu", "--model", "a", "--checkpoint", "b"], 2, "give one of them"),
        (["--target", "inetl"], 1, "Did you mean 'intel'?"),
        (["--target", "cpu", "--model", "mobilesam"], 1, "Did you mean 'mobile-sam'?"),
        (["--target", "cpu", "--precision", "fp23"], 1, "Did you mean 'fp32'?"),
        (["--target", "cpu", "--dialect", "metta"], 1, "Did you mean 'meta'?"),
        (["--target", "cpu", "--checkpoint", "absent.pth"], 1, "absent.pth"),
        (["--target", "cpu", "--calibration", "absent"], 1, "absent"),
        (["--target", "cpu", "--input-size", "7"], 2, "7 is not in the range"),
    ],
)
def test_mistakes(options: list[str], code: int, words: str) -> None:
    result = invoke("export", *options)
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [("file/bundle", "is a file, expected a folder"), ("full", "holds other files")],
)
def test_a_place_that_takes_no_bundle_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    monkeypatch.setattr("samedge.export.pipeline.opened_model", None)
    result = invoke("export", "--target", "cpu", "-o", tmp_path / name)
    assert result.exit_code == 1
    assert words in result.stderr
