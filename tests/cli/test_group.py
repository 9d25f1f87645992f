"""The command line as a whole: discovery, help, mistyped names, interrupts, closed pipes."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from samedge.cli import _OF_PATHS, cli
from samedge.cli.measure_types import DurationType
from samedge.cli.name_types import OneOf

COMMANDS = cli.list_commands(click.Context(cli))
PROMISED = {"doctor", "export", "inspect", "models", "segment", "targets", "verify"}


def samedge(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        # A suite that was started in the background ignores interrupts, and so would its children.
        [sys.executable, "-m", "samedge", *arguments],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def test_what_was_promised_is_there() -> None:
    assert set(COMMANDS) >= PROMISED


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_standard_options_and_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    for part in ("--json", "--quiet", "--verbose", "--debug", "Example", f"samedge {name} "):
        assert part in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_one_line_in_the_list(name: str) -> None:
    listing = CliRunner().invoke(cli, ["--help"]).stdout
    (line,) = [line for line in listing.split("\n") if line.startswith(f"  {name} ")]
    assert len(line.split()) > 3
    assert "``" not in line


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["segmnet", "x.jpg"], "'segment'"),
        (["doctro"], "'doctor'"),
        (["targets", "--jsno"], "'--json'"),
        (["segment", "x.jpg", "--point", "1,2", "--formt", "png"], "'--format'"),
        (["segment", "x.jpg", "-point", "1,2"], "'--point'"),
        (["segment", "x.jpg", "-box=1,2,3,4"], "'--box'"),
    ],
)
def test_mistyped_commands_and_options(arguments: list[str], nearest: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert f"Did you mean {nearest}" in result.stderr
    assert result.stdout == ""


def test_an_option_in_front_of_its_command_is_told_where_it_belongs() -> None:
    for before in (["--point", "3,4"], ["--json"], ["-q"]):
        result = CliRunner().invoke(cli, [*before, "segment", "x.jpg"])
        assert result.exit_code == 2
        assert f"{before[0]} is an option of segment and stands in front of it" in result.stderr
    result = CliRunner().invoke(cli, ["--pont", "3,4", "segment", "x.jpg"])
    assert "No such option '--pont'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bench", "--min-time", "long"], "'long' is not a number, such as 2.5."),
        (["serve", "--port", "1.5"], "'1.5' is not a whole number, such as 2."),
        (["export", "--target", "cpu", "--seed", "x"], "'x' is not a whole number, such as 2."),
    ],
)
def test_what_is_no_number_is_called_that(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_too_many_words_are_told_what_is_taken() -> None:
    result = CliRunner().invoke(cli, ["track", "f/1.png", "f/2.png", "--point", "1,2"])
    assert result.exit_code == 2
    assert "(f/2.png): beside its options track takes VIDEO. Put quotes" in result.stderr
    document = json.loads(CliRunner().invoke(cli, ["doctor", "me", "--json"]).stdout)
    assert document["message"].endswith("beside its options doctor takes nothing.")


def test_an_unknown_command_is_one_of_samedge() -> None:
    document = json.loads(CliRunner().invoke(cli, ["segmnet", "--json"]).stdout)
    assert (document["command"], document["kind"]) == ("samedge", "usage")


def test_what_a_command_itself_refuses_points_to_its_own_help() -> None:
    document = json.loads(CliRunner().invoke(cli, ["segment", "a.jpg", "--json"]).stdout)
    assert document["remedy"].endswith(" segment --help'.")


def test_a_second_output_is_not_lost() -> None:
    words = ["segment", "a.jpg", "--point", "1,1", "-o", "a.png", "--output=b.png"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert "--output was given 2 times, and takes one path here" in result.stderr
    assert "1 times" not in CliRunner().invoke(cli, [*words[:-1], "--", "-o"]).stderr


def test_mistyped_backend_is_answered_with_the_nearest() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--backend", "onxruntime"])
    assert result.exit_code == 1
    assert "Did you mean 'onnxruntime'?" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "--target", "tpu"],
        ["export", "--target", "cpu", "--model", "sm"],
        ["export", "--target", "cpu", "--precision", "fp9"],
        ["export", "--target", "cpu", "--undecided", "maybe"],
        ["segment", "x.jpg", "--point", "1,2", "--format", "cocoo"],
        ["convert", "a.json", "b.json", "--from", "yollo"],
        ["track", "x.mp4", "--box", "0,0,9,9", "--format", "vidio"],
        ["segment", "x.jpg", "--point", "1,2", "--backend", "opnvino"],
        ["bench", "--effort", "hard"],
        ["eval", "--dataset", "x.json", "--images", ".", "--prompts", "boxx"],
        ["compare", "--precision", "fp9"],
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[-2:]),
)
def test_an_unknown_name_is_exit_1_wherever_it_stands(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 1, result.output
    # A slow machine may say before that it is still at it.
    assert result.stderr.splitlines()[-1].startswith("samedge: Unknown ")
    document = json.loads(result.stdout)
    assert (document["kind"], document["exit_code"]) == ("unknown_name", 1)
    assert document["command"] == arguments[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "absent.json", "--html", "x.html"],
        ["verify", "absent"],
        ["inspect", "absent"],
        ["segment", "absent.jpg", "--point", "1,2"],
        ["segment", "x.jpg", "--bundle", "absent", "--point", "1,2"],
        ["eval", "--dataset", "absent.json", "--images", "."],
        ["bench", "--bundle", "absent"],
        ["compare", "absent.jpg"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_missing_file_is_exit_1_and_named(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1, result.output
    assert "absent" in result.stderr
    assert not list(tmp_path.iterdir())


SEVERAL_METAVARS = {
    "--output",  # a record, a folder, or by its ending
    "--images",  # `calibrate` takes a number of them
}
KINDS: dict[str, tuple[type[object], ...]] = {
    "N": (click.types.IntParamType,),
    "S": (click.types.FloatParamType,),
    "MS": (DurationType,),
    "MINUTES": (click.types.FloatParamType,),
    "IOU": (click.types.FloatParamType,),
    "MB": (click.types.IntParamType, click.types.FloatParamType),
    "DIR": (click.Path, click.types.StringParamType),
    "JSON": (click.Path,),
    "FILE": (click.Path,),
    "PATH": (click.Path,),
    "FORMAT": (OneOf,),
}


def test_an_option_has_one_metavar_and_a_metavar_one_meaning() -> None:
    ctx = click.Context(cli)
    seen: dict[str, set[str]] = {}
    for name in COMMANDS:
        command = cli.get_command(ctx, name)
        assert command is not None
        for option in command.params:
            if not isinstance(option, click.Option):
                continue
            spelled = max(option.opts, key=len)
            assert option.help, f"{name} {spelled} says nothing"
            if option.is_flag or option.count:
                continue
            seen.setdefault(spelled, set()).add(str(option.metavar))
            kinds = KINDS.get(str(option.metavar), (click.ParamType,))
            assert isinstance(option.type, kinds), f"{name} {spelled} {option.metavar}"
    assert "None" not in set().union(*seen.values())
    assert {option for option, found in seen.items() if len(found) > 1} == SEVERAL_METAVARS


def test_no_command_shows_the_help_and_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, [])
    assert result.exit_code == 2
    assert "samedge doctor" in result.output


def test_interrupt(tmp_path: Path, toy_bundle: Path, photo: Path) -> None:
    """What was finished is written, and the document says what happened."""
    images = [str(photo)] * 500
    many = ("--points-per-side", "8", "--predicted-iou", "0.2", "--stability", "0")
    process = samedge(
        "everything", *images, "--bundle", str(toy_bundle), *many, "-o", "x.json", "--json"
    )
    while process.poll() is None and not list(tmp_path.glob(".samedge-tmp-*")):
        time.sleep(0.05)  # the first image is written into a file that grows there
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 130, stderr
    document = json.loads(stdout)
    assert (document["kind"], document["exit_code"]) == ("interrupted", 130)
    assert "Interrupted" in stderr
    assert "Traceback" not in stderr
    written = json.loads((tmp_path / "x.json").read_text())
    assert 1 <= len(written["images"]) < 500
    assert f"the files hold the {len(written['images'])} images" in stderr


@pytest.mark.parametrize("words", [["-o", ""], ["--output="], [""], ["--", ""], ["--text", ""]])
def test_an_empty_word_is_a_usage_error(photo: Path, tmp_path: Path, words: list[str]) -> None:
    """It was the current folder: masks were written there."""
    result = CliRunner().invoke(cli, ["segment", str(photo), "--point", "9,9", *words])
    assert result.exit_code == 2
    assert "A word of the command line is empty" in result.stderr
    assert list(tmp_path.iterdir()) == [photo]


@pytest.mark.parametrize("words", [["-", "--point", "9,9"], ["x.jpg", "--point", "9,9", "-o", "-"]])
def test_standard_input_and_output_are_no_files(words: list[str]) -> None:
    """`-o -` was a folder of that name."""
    result = CliRunner().invoke(cli, ["segment", *words])
    assert result.exit_code == 2
    assert "'-' stands for no file here" in result.stderr


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ([], "`samedge --help`"),
        (["segment"], "`samedge segment --help`"),
        (["x"], "`samedge --help`"),
    ],
)
def test_help_is_an_option(words: list[str], remedy: str) -> None:
    result = CliRunner().invoke(cli, ["help", *words])
    assert result.exit_code == 2
    assert f"There is no command 'help': try {remedy}." in result.stderr


_INTERRUPTED_WHILE_IMPORTED = """
import os, signal, sys
from importlib.abc import MetaPathFinder
from samedge.__main__ import main

class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "samedge.cli.streams":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
main()
"""


def test_interrupt_before_anything_is_begun() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED_WHILE_IMPORTED, "doctor"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("words", [("targets", "--json"), ("targets",), ("--help",)])
def test_closed_pipe_is_not_a_traceback(words: tuple[str, ...]) -> None:
    process = samedge(*words)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=600) == 141
    assert stderr == ""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_caller_closed(closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "samedge", "targets"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ("intel" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_entry_point_and_module_are_the_same() -> None:
    process = samedge("--version")
    stdout, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    assert stdout.startswith("samedge, version")


def test_what_click_says_of_a_path_ends_in_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = set(re.findall(r"\{filename!r\} (is [^\"]+|does [^\"]+)", inspect.getsource(click.Path)))
    assert said == set(_OF_PATHS)
    file = tmp_path / "truth.json"
    file.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may do everything
    words = ["eval", "--dataset", str(file), "--images", str(tmp_path), "--json"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert (document["kind"], document["remedy"]) == ("usage", _OF_PATHS["is not readable."])
    assert document["message"].endswith(f"is not readable. {document['remedy']}")
    assert document["remedy"] in result.stderr


def test_an_image_without_the_right_to_it_ends_nothing_else(
    tmp_path: Path, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name for name in ("a.png", "locked.png")]
    for path in paths:
        Image.new("RGB", (64, 48), (90, 90, 90)).save(path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    words = ["segment", *map(str, paths), "--point", "9,9", "--bundle", str(toy_bundle)]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.stderr
