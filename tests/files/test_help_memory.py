"""The help of a command that is remembered is the help that would be made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from samedge import _cache
from samedge.files import help_memory

SHOWN = """
import sys
sys.argv[1:] = ["segment", "--help"]
from samedge.__main__ import main
try:
    main()
finally:
    print("click" in sys.modules, file=sys.stderr)
"""


def shown(cache: Path, *, columns: int = 80) -> tuple[str, bool]:
    """What a fresh process prints as help, and whether it needed click."""
    done = subprocess.run(
        [sys.executable, "-c", SHOWN],
        env={**os.environ, "SAMEDGE_CACHE": str(cache), "COLUMNS": str(columns)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr.strip().endswith("True")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path))
    return tmp_path


def keep(text: str) -> Path:
    path = _cache.cache_file(help_memory.KIND, help_memory.file_name("segment"))
    kept = help_memory.record(text)
    assert kept is not None
    assert _cache.keep(path, kept)
    return path


def test_the_second_help_is_the_first_without_click(cache: Path) -> None:
    first, second = shown(cache), shown(cache)
    assert first[1], "the control: nothing was remembered yet"
    assert second == (first[0], False)
    assert "--point" in first[0]
    narrow = shown(cache, columns=60)
    assert narrow[1]
    assert narrow[0] != first[0]


def test_what_was_kept_is_recalled(cache: Path) -> None:
    assert help_memory.recalled("segment") is None
    keep("Usage:\n\n  two parts")
    assert help_memory.recalled("segment") == "Usage:\n\n  two parts"
    assert help_memory.recalled("everything") is None


def test_a_changed_source_a_new_plug_in_and_damage_are_found(
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    source = package / "_option.py"
    source.write_text("one")
    monkeypatch.setattr(help_memory, "_PACKAGE", str(package))
    monkeypatch.setattr(sys.modules[help_memory.__name__], "__file__", str(source))
    path = keep("help")
    assert help_memory.recalled("segment") == "help"
    source.write_text("other")
    assert help_memory.recalled("segment") is None
    path = keep("help")
    (package / "_added.py").touch()
    assert help_memory.recalled("segment") is None
    path = keep("help")
    data = bytearray(path.read_bytes())
    data[-120] ^= 1  # the text, before the seal
    path.write_bytes(data)
    assert help_memory.recalled("segment") is None


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["segment", "--help"], "segment"),
        (["segment", "-h"], "segment"),
        (["--help"], None),
        (["segment", "a.jpg", "--help"], None),
        (["../x", "--help"], None),
    ],
)
def test_only_a_plain_question_for_help_is_answered(words: list[str], command: str | None) -> None:
    assert help_memory.asked(words) == command


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nothing is remembered")
def test_it_looks_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SAMEDGE_CACHE")
    for variable in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        (tmp_path / variable).mkdir()
        folder = _cache.cache_folder(help_memory.KIND)
        assert help_memory._folder() == str(folder)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
