"""Help pages come from files, without click, where they are what click would print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import samedge
from samedge.__main__ import main
from tools.help_pages import FOLDER, live_pages

COMMAND = (
    "import sys; sys.argv[0] = {program!r}; from samedge.__main__ import main\n"
    "try:\n    main()\nfinally:\n    print('click' in sys.modules, file=sys.stderr)"
)


def printed(*words: str, program: str = "samedge", columns: str = "80") -> tuple[str, bool, int]:
    """What a command line prints, whether click made it, and its exit code."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND.format(program=program), *words],
        env={**os.environ, "COLUMNS": columns, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    return done.stdout, done.stderr.split()[-1] == "True", done.returncode


def test_the_pages_are_those_of_today_s_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python tools/help_pages.py` writes them; versions of click break lines elsewhere."""
    monkeypatch.setenv("COLUMNS", "80")
    stored = {path.name: path.read_text(encoding="utf-8").split() for path in FOLDER.iterdir()}
    assert stored == {name: page.split() for name, page in live_pages().items()}
    assert FOLDER.parents[1] == Path(samedge.__file__).parent


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("segment", "--help"), ("eval", "-h")])
def test_help_is_what_click_prints(words: tuple[str, ...]) -> None:
    page, by_click, code = printed(*words)
    assert (by_click, code) == (False, 0)
    made, by_click, code = printed(*words, "--help")
    assert (by_click, code) == (True, 0)
    assert page.split() == made.split()


@pytest.mark.parametrize(
    ("words", "program", "columns"),
    [
        (("segment", "--help"), "samedge", "60"),
        (("segment", "--help"), "__main__.py", "80"),
        (("help", "--help"), "samedge", "80"),
        (("_samedge", "--help"), "samedge", "80"),
        (("../cli/help/segment", "--help"), "samedge", "80"),
        (("Segment", "--help"), "samedge", "80"),
    ],
)
def test_what_has_no_page_is_click_s(words: tuple[str, ...], program: str, columns: str) -> None:
    _, by_click, _ = printed(*words, program=program, columns=columns)
    assert by_click


def test_a_page_that_is_taken_in_parts_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bytes] = []

    def write(_: int, data: bytes) -> int:
        taken.append(data[:1000])
        return len(taken[-1])

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(sys, "argv", ["samedge", "segment", "--help"])
    monkeypatch.setenv("COLUMNS", "80")
    main()
    assert b"".join(taken) == (FOLDER / "segment.txt").read_bytes()


def test_a_narrow_terminal_gets_narrow_lines() -> None:
    page, _, _ = printed("segment", "--help", columns="60")
    assert max(map(len, page.partition("Options:")[0].splitlines())) <= 60
