"""The cache: nothing in it is trusted, and nothing needs one."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from samedge import _cache
from samedge.errors import WriteError
from samedge.files import writing

CONTENT = bytes(random.Random(0).randbytes(20_000))


def content(path: Path) -> bytes | None:
    found = _cache.kept(path)
    return None if found is None else bytes(found)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kind" / "thing.blob"
    assert _cache.keep(path, CONTENT)
    return path


def test_what_is_kept_comes_back(file: Path) -> None:
    assert content(file) == CONTENT
    assert content(file.with_name("absent")) is None
    assert [path.name for path in file.parent.iterdir()] == ["thing.blob"]


@pytest.mark.parametrize("size", [0, 1, 79, 80])
def test_any_size_can_be_kept(tmp_path: Path, size: int) -> None:
    assert _cache.keep(tmp_path / "x", bytes(size))
    assert content(tmp_path / "x") == bytes(size)


@pytest.mark.parametrize("place", [0, 4096, -200, -81, -80, -70, -1])
def test_one_wrong_byte_drops_a_file(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    assert content(file) is None
    assert not file.exists()


def test_a_zeroed_page_a_cut_and_an_empty_file_are_dropped(file: Path) -> None:
    whole = file.read_bytes()
    for damaged in (whole[:4096] + bytes(4096) + whole[8192:], whole[:-1], whole[:50], b""):
        file.write_bytes(damaged)
        assert content(file) is None
        assert not file.exists()


def test_random_damage_is_never_taken(tmp_path: Path) -> None:
    """Bits flipped, bytes cut, pages zeroed or moved, tails added: 2,000 cases."""
    rnd, path = random.Random(1), tmp_path / "thing"
    assert _cache.keep(path, CONTENT)
    whole = path.read_bytes()
    for _ in range(2000):
        data, place = bytearray(whole), rnd.randrange(len(whole))
        kind = rnd.choice(("flip", "cut", "zero", "swap", "add"))
        if kind == "flip":
            data[place] ^= 1 << rnd.randrange(8)
        elif kind == "cut":
            del data[place:]
        elif kind == "zero":
            data[place : place + 512] = bytes(len(data[place : place + 512]))
        elif kind == "swap":
            data = data[place:] + data[:place]
        else:
            data += rnd.randbytes(1 + place % 100)
        path.write_bytes(data)
        found = content(path)
        assert found is None or (bytes(data) == whole and found == CONTENT), kind


def test_a_folder_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert content(tmp_path / "pipe") is None
    assert content(tmp_path) is None


def test_a_full_disk_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise WriteError(f"{path} cannot be written", errno=errno.ENOSPC)

    monkeypatch.setattr("samedge.files.writing.replacing", full)
    assert not _cache.keep(tmp_path / "x", CONTENT)


@pytest.mark.parametrize("given", ["/proc/x", "/dev/null", "~no-such-user-here/x"])
def test_where_nothing_can_be_kept_a_private_folder_takes_its_place(
    given: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="samedge")
    _cache.private_folder.cache_clear()
    monkeypatch.setenv(_cache.VARIABLE, given)
    folder = _cache.cache_folder("kind")
    assert folder == _cache.cache_folder("kind")
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert [given.split("/")[0] in record.message for record in caplog.records] == [True]
    assert _cache.keep(_cache.cache_file("kind", "x"), CONTENT)
    assert content(_cache.cache_file("kind", "x")) == CONTENT


def test_without_any_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setenv(_cache.VARIABLE, "/proc/x")
    monkeypatch.setattr("tempfile.gettempdir", full)
    vars(_cache)["_temporary"].cache_clear()
    _cache.private_folder.cache_clear()
    try:
        file = _cache.cache_file("kind", "x")
        assert not _cache.keep(file, CONTENT)
        assert content(file) is None
    finally:
        vars(_cache)["_temporary"].cache_clear()
        _cache.private_folder.cache_clear()


@pytest.mark.parametrize("home", ["/nonexistent", None])
def test_no_home(home: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (_cache.VARIABLE, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
        assert writing.MARK in str(_cache.cache_folder("kind"))
        assert not Path(home).exists()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _cache.cache_folder("kind") == tmp_path / "samedge" / "kind"


def test_a_tilde_is_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(_cache.VARIABLE, "~/x")
    assert _cache.cache_folder("kind") == tmp_path / "x" / "kind"


def test_a_cache_that_cannot_be_written_is_still_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(_cache.VARIABLE, str(file.parents[1]))
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write all
    assert _cache.cache_file("kind", "thing.blob") == file
    assert not _cache.cache_file("kind", "new.blob").is_relative_to(file.parent)
