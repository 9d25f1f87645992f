"""A bundle is old or new and never a half, and nothing altered is ever opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samedge.bundle.bundle import Bundle, embedded_models, embedded_path
from samedge.bundle.manifest import bundle_id
from samedge.bundle.writer import BundleWriter
from samedge.errors import BundleError, IncompatibleArtifactError

pytest.importorskip("onnx")

from tests.bundle.copies import leftovers
from tests.toys.bundle import blank_manifest, decoder_model, write_bundle


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "bundle.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "new", notes=["hello"], buckets=[[1, 2]])
    opened = Bundle.open(tmp_path / "new")
    assert opened.manifest == written.manifest
    assert opened.manifest.notes == ["hello"]
    assert opened.id == bundle_id(opened.manifest)
    assert opened.manifest.prompt_buckets == ((1, 2),)
    assert opened.artifact("decoder").bytes == opened.artifact_path("decoder").stat().st_size
    assert sorted(path.name for path in opened.folder.iterdir()) == [
        "bundle.json",
        "decoder.onnx",
        "encoder.onnx",
    ]
    assert leftovers(tmp_path) == []


def test_manifest_names_every_field_of_the_contract(toy_bundle: Path) -> None:
    document = json.loads((toy_bundle / "bundle.json").read_text())
    assert document["schema"] == "samedge.bundle/2"
    assert {"id", "model", "target", "precision", "input_size"} <= set(document)
    assert {"graphs", "artifacts", "frame", "prompts", "thresholds"} <= set(document)
    graph, artifact = document["graphs"][0], document["artifacts"][0]
    assert set(graph) >= {"role", "artifact", "format", "inputs", "outputs", "shapes"}
    assert graph["artifact"] == artifact["path"]
    assert graph["inputs"] == [{"name": "image", "dtype": "uint8", "shape": [1, 64, 64, 3]}]
    assert len(artifact["sha256"]) == 64


def test_id_follows_the_content(tmp_path: Path) -> None:
    one = write_bundle(tmp_path / "one")
    same = write_bundle(tmp_path / "same", notes=["another note"])
    other = write_bundle(tmp_path / "other", decoder=decoder_model(length=3))
    assert one.id == same.id != other.id


def test_folder_artifact_is_hashed_as_a_whole(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "mac") as writer:
        package = writer.folder / "encoder.mlpackage" / "Data"
        package.mkdir(parents=True)
        (package / "weights.bin").write_bytes(b"weights")
        (package.parent / "Manifest.json").write_bytes(b"{}")
        record = writer.graph(
            "encoder",
            "encoder.mlpackage",
            artifact_format="mlpackage",
            precision="fp16",
            inputs=[],
            outputs=[],
        )
        writer.commit(blank_manifest(graphs=[record], artifacts=writer.artifacts))
    bundle = Bundle.open(tmp_path / "mac")
    artifact = bundle.artifact(record.role)
    assert sorted(artifact.files) == [
        "encoder.mlpackage/Data/weights.bin",
        "encoder.mlpackage/Manifest.json",
    ]
    assert artifact.bytes == 9
    assert bundle.artifact_path("encoder").is_dir()
    (bundle.artifact_path("encoder") / "Data" / "weights.bin").write_bytes(b"WEIGHTS")
    with pytest.raises(BundleError, match=r"weights\.bin has SHA-256"):
        Bundle.open(tmp_path / "mac")


def test_extra_files_belong_to_the_artifact(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "ir") as writer:
        (writer.folder / "encoder.xml").write_bytes(b"<net/>")
        (writer.folder / "encoder.bin").write_bytes(b"weights")
        record = writer.graph(
            "encoder",
            "encoder.xml",
            artifact_format="openvino",
            precision="fp32",
            inputs=[],
            outputs=[],
            extra_files=["encoder.bin"],
        )
        with pytest.raises(BundleError, match=r"absent\.bin is missing"):
            writer.graph(
                "decoder",
                "absent.bin",
                artifact_format="openvino",
                precision="fp32",
                inputs=[],
                outputs=[],
            )
        bundle = writer.commit(blank_manifest(graphs=[record], artifacts=writer.artifacts))
    assert set(bundle.artifact("encoder").files) == {"encoder.xml", "encoder.bin"}
    (tmp_path / "ir" / "encoder.bin").unlink()
    with pytest.raises(BundleError, match=r"encoder\.bin is missing"):
        Bundle.open(tmp_path / "ir")


# ---- what is refused at load


def test_missing_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle at .*samedge export"):
        Bundle.open(tmp_path / "absent")
    with pytest.raises(BundleError, match=r"called 'samedge-\w+'; otherwise export one"):
        Bundle.open(embedded_models()[0].removeprefix("samedge-"))


def test_folder_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no readable bundle\.json"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '"bundle"', "{}", '{"schema": 1}', "\xff"])
def test_manifest_that_is_none(folder: Path, text: str) -> None:
    (folder / "bundle.json").write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match="is not a manifest"):
        Bundle.open(folder)


def test_newer_schema(folder: Path) -> None:
    edit_manifest(folder, lambda m: m.update(schema="samedge.bundle/3", new_field=1))
    with pytest.raises(IncompatibleArtifactError, match=r"samedge\.bundle/3.*pip install -U"):
        Bundle.open(folder)


def test_foreign_schema(folder: Path) -> None:
    edit_manifest(folder, lambda m: m.update(schema="other.thing/1"))
    with pytest.raises(BundleError, match=r"other\.thing/1.*no bundle"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.pop("input_size"), "input_size"),
        (lambda m: m.update(input_size="64"), "input_size"),
        (lambda m: m.update(input_size=128), "its frame 64"),
        (lambda m: m["frame"].update(target_length=100), "input_size is 100.*multiple of 16"),
        (lambda m: m.update(id="0" * 12), "its content makes"),
        (lambda m: m["frame"].update(pad_value=[1]), "pad_value"),
        (lambda m: m["frame"].update(pad_value=[0, 0, 256]), "from 0 to 255"),
        (lambda m: m["artifacts"][0].update(files={}), "without files"),
        (lambda m: m["artifacts"].append(m["artifacts"][0]), "artifact twice"),
        (lambda m: m["graphs"].append(m["graphs"][0]), "role twice"),
        (lambda m: m["graphs"][0].update(artifact="other.onnx"), "none of its artifacts"),
        (lambda m: m["artifacts"][0].update(path="../encoder.onnx"), "leaves the folder"),
        (lambda m: m["artifacts"][0]["files"].update({"/etc/passwd": "0"}), "leaves the folder"),
        (lambda m: m["artifacts"][0]["files"].update({"a\\b": "0"}), "leaves the folder"),
        (lambda m: m["artifacts"][0]["files"].update({"C:x": "0"}), "leaves the folder"),
    ],
)
def test_manifest_that_does_not_hold_together(
    folder: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    edit_manifest(folder, change)
    with pytest.raises(BundleError, match=reason):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx", "canary.npz"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx", "canary.npz"])
@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_altered_file(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        data = data[:-1]
    else:
        data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} has SHA-256"):
        Bundle.open(folder)
    assert Bundle.open(folder, verify=False).manifest.input_size == 64


def test_decoder_of_another_bundle(folder: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", decoder=decoder_model(length=3))
    shutil.copy(other.artifact_path("decoder"), folder / "decoder.onnx")
    with pytest.raises(BundleError, match="belongs to another bundle"):
        Bundle.open(folder)


def linked(folder: Path, blobs: Path) -> None:
    """Lay a bundle out as the Hugging Face cache does: every file a link to a blob."""
    blobs.mkdir()
    for index, path in enumerate(sorted(folder.iterdir())):
        path.rename(blobs / str(index))
        path.symlink_to(blobs / str(index))


def test_a_bundle_of_links_is_read_and_hashed(folder: Path, tmp_path: Path) -> None:
    linked(folder, tmp_path / "blobs")
    assert Bundle.open(folder).id
    blob = (folder / "encoder.onnx").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match=r"encoder\.onnx has SHA-256"):
        Bundle.open(folder)


@pytest.mark.parametrize("target", ["/dev/zero", "/nonexistent", "."])
def test_a_link_to_no_file(folder: Path, target: str) -> None:
    (folder / "encoder.onnx").unlink()
    (folder / "encoder.onnx").symlink_to(target)
    with pytest.raises(BundleError, match="not a plain file"):
        Bundle.open(folder)


def test_a_link_that_changes_after_opening(folder: Path, tmp_path: Path) -> None:
    linked(folder, tmp_path / "blobs")
    bundle = Bundle.open(folder)
    other = tmp_path / "other"
    other.write_bytes((folder / "encoder.onnx").read_bytes())
    (folder / "encoder.onnx").unlink()
    (folder / "encoder.onnx").symlink_to(other)
    with pytest.raises(BundleError, match="changed since"):
        bundle.artifact_path("encoder")


def test_a_folder_of_the_manifest_may_not_be_a_link(tmp_path: Path) -> None:
    from samedge.bundle import bundle

    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "weights").write_bytes(b"x")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="not a plain file"):
        vars(bundle)["_stamp"](tmp_path / "bundle", "sub/weights")


def test_unknown_role(toy_bundle: Path) -> None:
    with pytest.raises(BundleError, match="no text_encoder, only encoder, decoder"):
        Bundle.open(toy_bundle).artifact("text_encoder")


def test_file_exchanged_after_the_check(folder: Path) -> None:
    bundle = Bundle.open(folder)
    assert bundle.artifact_path("encoder").is_file()
    shutil.copy(folder / "decoder.onnx", folder / "new")
    (folder / "new").rename(folder / "encoder.onnx")
    with pytest.raises(BundleError, match="changed since the bundle was opened"):
        bundle.artifact_path("encoder")


def test_canary_exchanged_after_the_check(folder: Path) -> None:
    bundle = Bundle.open(folder)
    assert bundle.canary() is not None
    (folder / "new").write_bytes((folder / "canary.npz").read_bytes())
    (folder / "new").rename(folder / "canary.npz")
    with pytest.raises(BundleError, match="changed since the bundle was opened"):
        bundle.canary()
    (folder / "canary.npz").unlink()
    with pytest.raises(BundleError, match="is missing"):
        bundle.canary()


def test_no_embedded_model_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("samedge.bundle.bundle.__file__", str(tmp_path / "bundle" / "bundle.py"))
    with pytest.raises(BundleError, match=r"no embedded model 'samedge-nano'.*--bundle"):
        embedded_path()
