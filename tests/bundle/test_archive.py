"""A bundle as one file: the same bytes for the same bundle, and nothing altered is unpacked."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from samedge import _cache
from samedge._cache import cache_folder
from samedge.bundle import _archive
from samedge.bundle.bundle import Bundle, verify_archive
from samedge.bundle.manifest import ArtifactRecord, combined_hash, with_id
from samedge.bundle.reading import as_written
from samedge.bundle.writer import BundleWriter
from samedge.errors import BundleError

pytest.importorskip("onnx")

from tests.bundle.copies import leftovers
from tests.toys.bundle import blank_manifest, write_bundle


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


def test_another_manifest_in_the_cache_is_not_the_archive_s(tmp_path: Path) -> None:
    """What describes a bundle, such as its gate, is covered by no hash in it."""
    write_bundle(tmp_path / "b.samedge", notes=["as exported"])
    manifest = Bundle.open(tmp_path / "b.samedge").folder / "bundle.json"
    manifest.write_text(manifest.read_text().replace("as exported", "as edited"))
    assert Bundle.open(tmp_path / "b.samedge").manifest.notes == ["as exported"]


def test_an_archive_that_changes_while_it_is_read_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the new one would lie in the cache under the name of the old one."""
    write_bundle(tmp_path / "b.samedge", notes=["old"])
    write_bundle(tmp_path / "new.samedge", notes=["new"])
    monkeypatch.setenv(_cache.VARIABLE, str(tmp_path / "cache"))  # who writes one unpacks it, too
    unpack = _archive.unpack

    def replaced(archive: Path, folder: Path, *, names: Iterable[str]) -> None:
        shutil.copyfile(tmp_path / "new.samedge", archive)
        unpack(archive, folder, names=names)

    with monkeypatch.context() as patch:
        patch.setattr(_archive, "unpack", replaced)
        with pytest.raises(BundleError, match="changed while it was read: open it again"):
            Bundle.open(tmp_path / "b.samedge")
    write_bundle(tmp_path / "b.samedge", notes=["old"])
    assert Bundle.open(tmp_path / "b.samedge").manifest.notes == ["old"]


@pytest.mark.parametrize("names", [("part", "part/inside"), (f"{'n' * 300}/inside",), ("n" * 300,)])
def test_names_that_no_folder_can_hold_are_told_as_the_archive_s(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    folder = write_bundle(tmp_path / "b")
    digest = hashlib.sha256(b"x").hexdigest()
    files = dict.fromkeys(names, digest)
    whole = combined_hash(names[0], files)
    odd = ArtifactRecord(path=names[0], bytes=1, sha256=whole, files=files)
    artifacts = [*folder.manifest.artifacts, odd]
    manifest = with_id(msgspec.structs.replace(folder.manifest, artifacts=artifacts))
    with zipfile.ZipFile(tmp_path / "odd.samedge", "w") as content:
        content.writestr("bundle.json", as_written(manifest))
        for path in sorted(folder.folder.glob("*.*")):
            if path.name != "bundle.json":
                content.write(path, path.name)
        for name in names:
            content.writestr(name, b"x")
    with pytest.raises(BundleError, match=r"odd\.samedge is damaged \(File .*: fetch it again"):
        Bundle.open(tmp_path / "odd.samedge")


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
