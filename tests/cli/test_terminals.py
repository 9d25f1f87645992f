"""File names, encodings and streams as they come: every exit with ``--json`` is one document."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from samedge import records
from samedge.bundle.manifest import ModelRecord
from samedge.cli import bars, output
from samedge.cli.consoles import WordsConsole
from samedge.cli.failures import error_record
from samedge.errors import BackendUnavailableError, ImageError, OptionError, UnknownNameError
from tests.cli.conftest import invoke
from tests.toys.bundle import write_bundle

BOX = ("--box", "4,6,30,20")
GRID = ("--points-per-side", "2", "--predicted-iou", "0.2", "--stability", "0")


def run(*arguments: str | bytes | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "samedge", *arguments],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


@pytest.fixture
def latin1(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save("plain.png")
    path = Path(os.fsdecode(b"caf\xe9.png"))
    try:
        os.link("plain.png", path)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    return path


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_names_that_are_no_utf8(latin1: Path, toy_bundle: Path, encoding: str, locale: str) -> None:
    surroundings = {"LC_ALL": locale, "PYTHONIOENCODING": encoding}
    common = ("segment", os.fsencode(latin1), *BOX, "--bundle", toy_bundle)
    table = run(*common, **surroundings)
    assert (table.returncode, b"Traceback" in table.stderr) == (0, False)
    assert b"caf" in table.stdout
    written = run(*common, "--json", "-o", "x.json", **surroundings)
    assert written.returncode == 0
    found = json.loads(written.stdout)
    assert os.fsencode(found["image"]["path"]) == b"caf\xe9.png"
    coco = json.loads(Path("x.json").read_bytes())
    assert os.fsencode(coco["images"][0]["file_name"]) == b"caf\xe9.png"


def test_a_name_that_is_no_utf8_goes_through_eval_and_folders(
    latin1: Path, toy_bundle: Path
) -> None:
    pytest.importorskip("pycocotools")
    common = ("--bundle", str(toy_bundle), "--json")
    assert run("segment", os.fsencode(latin1), *BOX, *common, "-o", "x.json").returncode == 0
    evaluated = run(
        *("eval", "--dataset", "x.json", "--images", ".", "--prompts", "box", *common),
        *("-o", "record.json"),
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["dataset"]["images"] == 1
    assert records.read(Path("record.json")).command
    for kind in ("overlay", "npz", "sam"):
        result = invoke("segment", latin1, *BOX, *common, "-o", "out", "--format", kind)
        assert result.exit_code == 0, result.stderr
    assert (Path("out") / os.fsdecode(b"caf\xe9_overlay.png")).is_file()


@pytest.mark.parametrize("arguments", [("models",), ("targets",), ("--help",), ("eval", "--help")])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_streams_that_lack_characters(arguments: tuple[str, ...], encoding: str) -> None:
    result = run(*arguments, PYTHONIOENCODING=encoding)
    assert (result.returncode, b"Traceback" in result.stderr) == (0, False)
    assert result.stdout.decode(encoding)


DOING = {"check", "did", "export", "give", "name", "try"}
"""What a remedy begins with: it says what to do, and not how things are."""


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (["segment", "--json"], "usage", 2),
        (["segment", "x.png", "--jsno", "--json"], "usage", 2),
        (["segmnet", "--json"], "usage", 2),
        (["segment", "plain.png", "--json"], "usage", 2),
        (["segment", "plain.png", "--point", "a,b", "--json"], "usage", 2),
        (["segment", "absent.png", *BOX, "--json"], "image", 1),
        (["segment", "plain.png", *BOX, "--backend", "onxruntime", "--json"], "unknown_name", 1),
        (["segment", "plain.png", *BOX, "--bundle", "nowhere", "--json"], "bundle", 1),
        (["segment", "plain.png", *BOX, "-o", "/proc/x.png", "--json"], "write", 1),
        (["eval", "--dataset", "no.json", "--images", ".", "--json"], "dataset", 1),
        (["doctor", "--backend", "nowhere", "--json"], "unknown_name", 1),
        (["report", "plain.png", "--html", "x.html", "--json"], "dataset", 1),
        (["inspect", ".", "--json"], "bundle", 1),
        (["compare", "nowhere", "--json"], "dataset", 1),
    ],
)
def test_every_exit_is_one_document(
    latin1: Path, arguments: list[str], kind: str, code: int
) -> None:
    result = invoke(*arguments)
    found: Any = json.loads(result.stdout)
    assert result.exit_code == code
    assert found["schema"] == "samedge.error/1"
    assert (found["kind"], found["exit_code"]) == (kind, code)
    assert found["remedy"].split()[0].lower() in DOING
    assert found["error"]["message"] == found["message"]
    assert "Traceback" not in result.stderr


def test_json_behind_the_last_option_is_an_argument() -> None:
    result = invoke("segment", *BOX, "--", "--json")
    assert result.exit_code == 1
    assert result.stdout == ""


def test_our_own_bugs_are_one_document_too() -> None:
    @click.command("probe")
    @output.standard_options
    def probe(out: output.Output) -> None:
        raise ZeroDivisionError("a bug")

    result = CliRunner().invoke(probe, ["--json"])
    assert isinstance(result.exception, ZeroDivisionError)
    found = json.loads(result.stdout)
    assert (found["kind"], found["message"]) == ("internal", "ZeroDivisionError: a bug")


ESCAPES = "\x1b[31mred\x1b]0;title\x07 \x9b2J"


def test_a_strangers_texts_give_the_terminal_no_orders(tmp_path: Path) -> None:
    model = ModelRecord(name="toy", licence=ESCAPES, origin="a stranger")
    write_bundle(tmp_path / "b", model=model)
    shown = invoke("inspect", tmp_path / "b").stdout
    assert r"\x1b[31mred\x1b]0;title" in shown
    assert r"\x9b2J" in shown
    refused = invoke("inspect", tmp_path / ESCAPES).stderr
    assert r"\x1b[31mred" in refused
    assert not {"\x1b", "\x07", "\x9b"} & {*shown, *refused}


ODD = "a\nb\x1b[31m\u202e.png"
SHOWN = r"a\nb\x1b[31m\u202e.png"


@pytest.fixture
def odd(tmp_path: Path, photo: Path) -> Path:
    """A folder of one photo, and of a file beside it, with names that are no single line."""
    folder = tmp_path / "odd"
    folder.mkdir()
    photo.rename(folder / ODD)
    (folder / f"{ODD}.txt").write_text("no photo")
    return folder


@pytest.mark.parametrize("command", [("segment", *BOX[-2:]), ("everything", *GRID)])
def test_names_that_are_no_single_line(
    command: tuple[str, ...], toy_bundle: Path, odd: Path
) -> None:
    """Each line that is printed is whole, and no name gives the terminal an order."""
    out = odd.with_name("masks")
    common = (*command, odd, "--bundle", toy_bundle, "-o", out, "--format", "overlay", "-v")
    result = invoke(*common)
    assert result.exit_code == 0, result.stderr
    told = result.stdout + result.stderr
    assert not {"\x1b", "\u202e"} & {*told}
    title = next(line for line in result.stdout.splitlines() if "120 x 90 px" in line)
    assert title == f"{odd}/{SHOWN}, 120 x 90 px"
    wrote = f"wrote {out}/{SHOWN.removesuffix('.png')}_overlay.png"
    assert wrote in result.stdout.splitlines()
    left_out = [line for line in result.stderr.splitlines() if "left out" in line]
    assert len(left_out) <= 1  # a process says it once
    assert all(f"{SHOWN}.txt" in line for line in left_out)
    document = json.loads(invoke(*common, "--json").stdout)
    assert document["image"]["path"] == str(odd / ODD)
    assert [one["names"] for one in document["skipped_files"]] == [[f"{ODD}.txt"]]
    (odd / ODD).write_bytes(b"no photo")
    failed = [line for line in invoke(*common).stderr.splitlines() if "samedge:" in line]
    assert len(failed) == 1
    assert invoke("segment", odd / "x\x1b[2J\ny", *BOX[-2:], "--format", "gif").exit_code == 1
    missing = invoke("convert", odd / "x\x1b[2J\ny", "z.json").stderr
    assert "\x1b" not in missing


@pytest.mark.parametrize("is_terminal", [True, False])
def test_work_on_a_file_of_several_lines_is_one(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(bars, "SECONDS", 0.01)
    written = WordsConsole(file=stream, force_terminal=is_terminal, width=200)
    out = output.Output("probe")
    monkeypatch.setitem(out.__dict__, "console", written)
    with out.progress(f"[/b]{ODD}", total=2) as bar:
        bar.stage(ODD)
        time.sleep(0.3)
        bar(note=ODD)
    shown = stream.getvalue()
    assert f"[/b]{SHOWN}" in shown
    assert ODD not in shown
    assert "\u202e" not in shown


def test_a_full_disk_behind_stdout_is_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    for extra in ([], ["--json"]):
        with Path("/dev/full").open("wb") as full:
            result = subprocess.run(
                [sys.executable, "-m", "samedge", "targets", *extra],
                stdout=full,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert result.returncode == 1
        assert b"No space left" in result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "kind", "remedy"),
    [
        (ImageError("x cannot be read (gone): check the path."), "image", "check the path."),
        (ImageError("x: png goes to .png. Change the ending."), "image", "Change the ending."),
        (UnknownNameError("model", "nanno", ["nano"]), "unknown_name", "Did you mean 'nano'?"),
        (
            BackendUnavailableError("no openvino here: pip install 'samedge[openvino]'"),
            "backend_unavailable",
            "pip install 'samedge[openvino]'",
        ),
        (OptionError("n is 0, expected 1 or more."), "option", "n is 0, expected 1 or more."),
        (PermissionError(13, "Permission denied", "x"), "system", "Ask for the right to it"),
        (KeyboardInterrupt(), "interrupted", "Run the command again."),
        (ModuleNotFoundError("no cv2", name="cv2"), "missing_library", "pip install"),
        (MemoryError(), "system", "smaller"),
    ],
)
def test_kinds_and_remedies(error: BaseException, kind: str, remedy: str) -> None:
    found = error_record(error)
    assert found.kind == kind
    assert remedy in found.remedy
    assert found.message


def test_a_folder_that_is_gone_is_told_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    found = error_record(FileNotFoundError(2, "No such file or directory"))
    assert (found.kind, found.remedy) == ("system", "Go to another folder.")
    assert "The current folder is not there any more" in found.message
