"""Regular files of bounded size, and nothing else."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from samedge.errors import DatasetError, OptionError, UnknownNameError
from samedge.files import limits
from samedge.files.reading import read_bytes


def read(path: Path) -> bytes:
    return read_bytes(path, limit="document_bytes", expected="a record", error=DatasetError)


def test_a_file_and_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert read(tmp_path / "a") == read(tmp_path / "link") == b"content"


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    cases = {
        tmp_path / "pipe": "is a pipe, expected a record",
        tmp_path: "is a folder, expected a record",
        tmp_path / "gone": "No such file",
        tmp_path / "a\0b": "null",
        tmp_path / ("n" * 5000): "too long",
        Path("/dev/zero"): "is a device",
    }
    for path, words in cases.items():
        with pytest.raises(DatasetError, match=words):
            read(path)


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 11)
    monkeypatch.setenv(limits.VARIABLE, "document_bytes=10")
    with pytest.raises(DatasetError, match=r"has 11 bytes, limit 10.*document_bytes=11"):
        read(path)
    monkeypatch.setenv(limits.VARIABLE, "image_pixels=5, document_bytes=11")
    assert len(read(path)) == 11


def test_a_file_that_does_not_know_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("/proc/self/status")
    if not path.exists():
        pytest.skip("this system has no /proc")
    assert path.stat().st_size == 0
    monkeypatch.setenv(limits.VARIABLE, "document_bytes=10")
    with pytest.raises(DatasetError, match="has 11 bytes"):
        read(path)


@pytest.mark.parametrize("text", ["prompts", "prompts=", "prompts=-1", "prompts=1e9"])
def test_a_limit_that_is_no_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(limits.VARIABLE, text)
    with pytest.raises(OptionError, match="expected NAME=COUNT"):
        limits.limit("prompts")


def test_a_limit_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.VARIABLE, "image_pixel=5")
    with pytest.raises(UnknownNameError, match="Did you mean 'image_pixels'"):
        limits.limit("prompts")


def test_the_page_has_every_limit_and_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+)(?: (\wi)(?:B)?)? \|", page, re.MULTILINE)
    units = {"": 1, "Mi": 1 << 20, "Gi": 1 << 30}
    assert {name: int(n.replace(",", "")) * units[u] for name, n, u in rows} == limits.DEFAULTS
