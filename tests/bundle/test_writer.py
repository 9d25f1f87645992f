"""A bundle that is written is old or new and never a half, whatever happens to its writer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from samedge.bundle import _commit
from samedge.bundle.bundle import Bundle
from samedge.bundle.writer import BundleWriter
from samedge.errors import BundleError

pytest.importorskip("onnx")

from tests.bundle.copies import leftovers
from tests.toys.bundle import decoder_model, write_bundle


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


@pytest.mark.parametrize("text", ['{"name": "page", "main": "page.js"}', "", "[1, 2"])
def test_a_folder_with_another_program_s_bundle_json_is_not_overwritten(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "bundle.json").write_text(text)
    (tmp_path / "page" / "page.js").write_text("years of work")
    with pytest.raises(BundleError, match=r"holds other files and no bundle\.json of samedge"):
        write_bundle(tmp_path / "page")
    assert (tmp_path / "page" / "page.js").read_text() == "years of work"


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


def test_writer_knows_the_folder_it_replaces(tmp_path: Path) -> None:
    """The destination may turn into something else while the graphs are exported."""

    def occupy(writer: BundleWriter) -> None:
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "cat.jpg").write_bytes(b"cat")

    with pytest.raises(BundleError, match="not overwritten"):
        write_bundle(tmp_path / "b", before_commit=occupy)
    assert (tmp_path / "b" / "cat.jpg").is_file()
