"""Standard output that is full, gone or closed, and a standard error that is full."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from PIL import Image

from samedge.cli import cli
from tests.cli.conftest import invoke

COMMANDS = cli.list_commands(click.Context(cli))
HELP = tuple((name, "--help") for name in COMMANDS)
LINES = (
    ("segment", "--help"),
    ("--help",),
    ("--version",),
    ("models",),
    ("models", "--json"),
    ("targets", "--json"),
)
FULL = Path("/dev/full")

# One process imports the command line, and a copy of it runs each line to the end of a process.
DRIVER = """
import json, os, sys
from samedge.__main__ import main
import samedge.cli

lines, where, buffered = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3] == "buffered"

def open_stdout():
    if where == "full":
        return os.open("/dev/full", os.O_WRONLY)
    read, write = os.pipe()
    os.close(read)
    return write

def run(words):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, 2)
        os.dup2(open_stdout(), 1)
        sys.stdout = open(1, "w", closefd=False)
        sys.stdout.reconfigure(write_through=not buffered)
        if where == "closed":
            os.close(1)
            sys.stdout = None
        sys.argv = ["samedge", *words]
        main()
        sys.exit(0)
    os.close(write)
    with open(read) as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text

found = [run(words) for words in lines]
print(json.dumps(found))
"""


def endings(
    lines: Sequence[tuple[str, ...]], where: str, *, buffered: str
) -> dict[tuple[str, ...], tuple[int, str]]:
    """Exit code and standard error of every line, with standard output as said."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(lines), where, buffered],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    found = json.loads(done.stdout)
    return {words: (code, text) for words, (code, text) in zip(lines, found, strict=True)}


@pytest.mark.parametrize("buffered", ["buffered", "at once"])
@pytest.mark.parametrize(("where", "code"), [("full", 1), ("gone", 141), ("closed", 0)])
def test_help_versions_tables_and_documents(where: str, code: int, buffered: str) -> None:
    if where == "full" and not FULL.exists():
        pytest.skip("no /dev/full here")
    lines = HELP + LINES if (where, buffered) == ("full", "buffered") else LINES
    for words, (ended, said) in endings(lines, where, buffered=buffered).items():
        assert ended == code, (words, said)
        if where == "full":
            (line,) = said.splitlines()
            assert line.startswith("samedge: Standard output cannot be written (No space left"), (
                words
            )
            assert "send it elsewhere" in line
        else:
            assert said == "", words


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("segment", "--nope"), 2),
        (("inspect", "nothing", "--json"), 1),
        (("doctor", "--backend", "onnxruntime", "--json"), 0),
    ],
)
def test_a_full_standard_error_costs_remarks_only(words: tuple[str, ...], code: int) -> None:
    if not FULL.exists():
        pytest.skip("no /dev/full here")
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "samedge", *words],
            stdout=subprocess.PIPE,
            stderr=full,
            check=False,
        )
    assert done.returncode == code
    if "--json" in words:
        kind = "samedge.doctor/1" if code == 0 else "samedge.error/1"
        assert json.loads(done.stdout)["schema"] == kind


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="this system has no /dev/stdout")
def test_a_file_that_is_standard_output_comes_there(tmp_path: Path, toy_bundle: Path) -> None:
    """What libraries print goes to standard error meanwhile, under standard output's number."""
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    command = [
        sys.executable,
        "-m",
        "samedge",
        "segment",
        str(tmp_path / "a.png"),
        "--point",
        "1,1",
    ]
    command += ["--bundle", str(toy_bundle), "--format", "coco", "-o", "/dev/stdout"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    document, _, table = ended.stdout.partition("\n" + str(tmp_path))
    assert json.loads(document)["images"][0]["file_name"] == "a.png"
    assert "wrote /dev/stdout" in table
    assert "annotations" not in ended.stderr


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="this system has no /dev/stdout")
def test_standard_output_has_one_document(photo: Path) -> None:
    result = invoke("segment", photo, "--point", "1,1", "-o", "/dev/stdout", "--json")
    document = json.loads(result.stdout)
    assert (document["schema"], document["exit_code"]) == ("samedge.error/1", 2)
    assert document["message"].startswith("/dev/stdout is where --json prints its document")
