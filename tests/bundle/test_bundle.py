"""A bundle is old or new and never a half, and nothing altered is ever opened."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge._cache import cache_folder
from samedge.bundle import _commit
from samedge.bundle.bundle import Bundle, embedded_models, embedded_path, verify_archive
from samedge.bundle.manifest import bundle_id
from samedge.bundle.writer import BundleWriter
from samedge.errors import BundleError, IncompatibleArtifactError

pytest.importorskip("onnx")

from tests.toys.bundle import blank_manifest, decoder_model, write_bundle


@pytest.fixture
def folder(toy_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the toy bundle, to be damaged."""
    return shutil.copytree(toy_bundle, tmp_path / "copy")


def leftovers(parent: Path) -> list[str]:
    return [path.name for path in parent.iterdir() if "samedge-tmp" in path.name]


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


# ---- one rename


def test_replacing_is_whole(tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "b", notes=["first"], before_commit=add_extra)
    second = write_bundle(tmp_path / "b", notes=["second"], decoder=decoder_model(length=3))
    assert first.id != second.id
    assert Bundle.open(tmp_path / "b").manifest.notes == ["second"]
    assert not (tmp_path / "b" / "extra").exists()
    assert leftovers(tmp_path) == []


def add_extra(writer: BundleWriter) -> None:
    (writer.folder / "extra").write_text("of the first bundle only")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_interrupted_writing_leaves_the_old_bundle(
    tmp_path: Path, error: type[BaseException]
) -> None:
    write_bundle(tmp_path / "b", notes=["first"])

    def fail(writer: BundleWriter) -> None:
        raise error

    with pytest.raises(error):
        write_bundle(tmp_path / "b", notes=["second"], before_commit=fail)
    assert Bundle.open(tmp_path / "b").manifest.notes == ["first"]
    assert leftovers(tmp_path) == []
    with pytest.raises(error):
        write_bundle(tmp_path / "new", before_commit=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_failing_rename_leaves_the_old_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "b", notes=["first"])
    monkeypatch.setattr(_commit, "_exchange_code", lambda first, second: errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(tmp_path / "b", notes=["second"])
    assert Bundle.open(tmp_path / "b").manifest.notes == ["first"]
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
def test_file_system_that_cannot_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(_commit, "_exchange_code", lambda first, second: code)
    write_bundle(tmp_path / "b", notes=["first"])  # nothing to replace: a plain rename
    with pytest.raises(BundleError, match="cannot replace a folder in one step"):
        write_bundle(tmp_path / "b", notes=["second"])
    assert Bundle.open(tmp_path / "b").manifest.notes == ["first"]


def test_killed_writer_leaves_nothing_visible(tmp_path: Path) -> None:
    """SIGKILL in the middle: the destination is untouched, and a later writer cleans up."""
    code = (
        "import sys, time\n"
        "from samedge.bundle.writer import BundleWriter\n"
        f"writer = BundleWriter({str(tmp_path / 'b')!r}).__enter__()\n"
        "(writer.folder / 'encoder.onnx').write_bytes(b'half')\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "b").exists()
    assert len(leftovers(tmp_path)) == 1
    write_bundle(tmp_path / "b")
    assert leftovers(tmp_path) == []


def test_files_of_a_living_writer_stay(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        old = time.time() - 7200
        os.utime(writer.folder, (old, old))
        write_bundle(tmp_path / "b")
        assert writer.folder.is_dir()


def test_reader_sees_old_or_new_and_never_a_half(tmp_path: Path) -> None:
    """A reader opens and verifies without pause while a writer replaces the bundle."""
    path = tmp_path / "b"
    graphs = [decoder_model(), decoder_model(length=3)]
    ids = [write_bundle(path, decoder=graph).id for graph in graphs]
    stop, seen, problems = threading.Event(), set(), []

    def read() -> None:
        while not stop.is_set():
            try:
                seen.add(Bundle.open(path).id)
            except Exception as error:  # noqa: BLE001 - any error at all is the finding
                problems.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(12):
        write_bundle(path, decoder=graphs[turn % 2])
    stop.set()
    reader.join()
    assert problems == []
    assert seen <= set(ids)
    assert seen


def test_other_peoples_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(BundleError, match="not overwritten"):
        write_bundle(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"
    (tmp_path / "file").write_bytes(b"cat")
    with pytest.raises(BundleError, match="no folder"):
        write_bundle(tmp_path / "file")


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_bundle(tmp_path / "empty")
    assert Bundle.open(tmp_path / "empty").id


def test_manifest_that_does_not_fit_the_files_is_not_committed(tmp_path: Path) -> None:
    def spoil(writer: BundleWriter) -> None:
        (writer.folder / "decoder.onnx").write_bytes(b"another")

    with pytest.raises(BundleError, match=r"decoder\.onnx has SHA-256"):
        write_bundle(tmp_path / "b", before_commit=spoil)
    assert list(tmp_path.iterdir()) == []


# ---- one file


def test_archive_is_the_folder(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b")
    packed = write_bundle(tmp_path / "b.samedge")
    assert packed.id == folder.id
    with zipfile.ZipFile(tmp_path / "b.samedge") as content:
        assert {entry.compress_type for entry in content.infolist()} == {zipfile.ZIP_STORED}
        assert content.namelist() == sorted(content.namelist())
    opened = Bundle.open(tmp_path / "b.samedge")
    assert opened.manifest == folder.manifest
    assert opened.artifact_path("encoder").read_bytes() == (
        folder.artifact_path("encoder").read_bytes()
    )
    again = Bundle.open(tmp_path / "b.samedge")
    assert again.folder == opened.folder
    assert leftovers(tmp_path) == []


def test_same_bundle_same_archive(tmp_path: Path) -> None:
    write_bundle(tmp_path / "one.samedge")
    write_bundle(tmp_path / "two.samedge")
    assert (tmp_path / "one.samedge").read_bytes() == (tmp_path / "two.samedge").read_bytes()


def test_damaged_cache_is_unpacked_again(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b.samedge", notes=["of this test alone"])
    opened = Bundle.open(tmp_path / "b.samedge")
    opened.artifact_path("encoder").write_bytes(b"damaged")
    again = Bundle.open(tmp_path / "b.samedge")
    assert again.artifact_path("encoder").read_bytes() != b"damaged"
    assert leftovers(cache_folder("bundles")) == []


def repack(source: Path, target: Path, **changes: bytes | None) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        for name, data in changes.items():
            new.writestr(name, data or b"")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "sound.samedge")
    return tmp_path / "sound.samedge"


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/../../evil", "a\\evil", "C:evil", "./evil", "a//evil"]
)
def test_archive_that_leaves_the_folder(archive: Path, tmp_path: Path, name: str) -> None:
    repack(archive, tmp_path / "bad.samedge", **{name: b"evil"})
    with pytest.raises(BundleError, match="leaves the folder"):
        Bundle.open(tmp_path / "bad.samedge")
    assert not any(path.name == "evil" for path in tmp_path.rglob("*"))


def test_archive_with_a_link(archive: Path, tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr(entry, "/etc/passwd")
    with pytest.raises(BundleError, match="link is not a plain file"):
        Bundle.open(archive)


def test_archive_with_a_folder_entry(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr("folder/", b"")
    with pytest.raises(BundleError, match="not a plain file"):
        Bundle.open(archive)


def test_compressed_archive(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr("zeros", bytes(10_000), zipfile.ZIP_DEFLATED)
    with pytest.raises(BundleError, match=r"claim more bytes|compressed"):
        Bundle.open(archive)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["bundle.json", "BUNDLE.JSON"])
def test_archive_with_a_member_twice(archive: Path, name: str) -> None:
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr(name, b"{}")
    with pytest.raises(BundleError, match="twice"):
        Bundle.open(archive)


def test_archive_without_manifest(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.samedge", "w") as content:
        content.writestr("readme", b"hello")
    with pytest.raises(BundleError, match=r"holds no bundle\.json"):
        Bundle.open(tmp_path / "b.samedge")


@pytest.mark.parametrize("inside", ["pico/bundle.json", "my/pico/bundle.json", "x/pico.samedge"])
def test_archive_of_a_folder_says_what_to_name(tmp_path: Path, inside: str) -> None:
    """As file managers make them."""
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as content:
        content.writestr("readme", b"hello")
        content.writestr(inside, b"{}")
    wanted = inside.removesuffix("/bundle.json")
    with pytest.raises(BundleError, match=rf"unpack it, and name its {wanted}\."):
        Bundle.open(tmp_path / "b.zip")


def test_what_lies_around_a_bundle_names_it(folder: Path) -> None:
    for file in ("bundle.json", "encoder.onnx"):
        with pytest.raises(BundleError, match=rf"one file of a bundle: name its folder, {folder}"):
            Bundle.open(folder / file)
    with pytest.raises(BundleError, match=rf"is no bundle .*: name {folder}"):
        Bundle.open(folder.parent)


@pytest.mark.parametrize(("share", "said"), [(0.0, "empty"), (0.3, "cut off"), (0.99, "cut off")])
def test_truncated_archive(archive: Path, share: float, said: str) -> None:
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BundleError, match=rf"is {said}.*: fetch or copy it again"):
        Bundle.open(archive)


def test_an_archive_that_lacks_a_file_is_named_itself(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(tmp_path / "b.samedge", "w") as new:
        new.writestr("bundle.json", old.read("bundle.json"))
    shutil.rmtree(cache_folder("bundles"))
    with pytest.raises(BundleError, match=rf"^{tmp_path}/b\.samedge: encoder\.onnx is missing"):
        Bundle.open(tmp_path / "b.samedge")


def test_a_damaged_archive_is_found_behind_what_was_unpacked(archive: Path) -> None:
    """It opens from the cache; whether the file itself is whole is `verify`'s question."""
    verify_archive(Bundle.open(archive))
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as content:
        data[content.getinfo("encoder.onnx").header_offset + 100] ^= 1
    archive.write_bytes(data)
    again = Bundle.open(archive)
    with pytest.raises(BundleError, match=r"damaged|SHA-256"):
        verify_archive(again)


def test_altered_archive(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    position = data.index(b"image_embeddings")
    data[position] ^= 1
    archive.write_bytes(data)
    with pytest.raises(BundleError, match=r"SHA-256|damaged"):
        Bundle.open(archive)
    assert leftovers(cache_folder("bundles")) == []


def test_archive_over_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.samedge").mkdir()
    with pytest.raises(BundleError, match="is a folder"):
        write_bundle(tmp_path / "b.samedge")


def test_large_files_survive_the_archive(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(3 << 20)
    with BundleWriter(tmp_path / "b.samedge") as writer:
        (writer.folder / "weights").mkdir()
        (writer.folder / "weights" / "noise.bin").write_bytes(noise)
        (writer.folder / "README").write_text("not in the manifest, so not unpacked")
        record = writer.graph(
            "encoder", "weights", artifact_format="onnx", precision="fp32", inputs=[], outputs=[]
        )
        bundle = writer.commit(blank_manifest(graphs=[record], artifacts=writer.artifacts))
    assert (bundle.artifact_path("encoder") / "noise.bin").read_bytes() == noise
    assert sorted(path.name for path in bundle.folder.iterdir()) == ["bundle.json", "weights"]


def test_writer_knows_the_folder_it_replaces(tmp_path: Path) -> None:
    """The destination may turn into something else while the graphs are exported."""

    def occupy(writer: BundleWriter) -> None:
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "cat.jpg").write_bytes(b"cat")

    with pytest.raises(BundleError, match="not overwritten"):
        write_bundle(tmp_path / "b", before_commit=occupy)
    assert (tmp_path / "b" / "cat.jpg").is_file()
