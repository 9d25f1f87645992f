"""What commands print and where, exit codes, and that nothing else gets onto stdout."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from samedge.cli import output
from samedge.cli.output import Output
from samedge.errors import GateError, ImageError, SamedgeError


def command(body: Callable[[Output], None]) -> click.Command:
    @click.command("probe")
    @output.standard_options
    def probe(out: Output) -> None:
        body(out)

    return probe


def run(body: Callable[[Output], None], *arguments: str) -> Result:
    return CliRunner().invoke(command(body), arguments)


def fail_with(error: BaseException) -> Callable[[Output], None]:
    def body(_: Output) -> None:
        raise error

    return body


def test_json_is_one_document_with_its_head() -> None:
    result = run(lambda out: out.result({"answer": 42}, "for people"), "--json")
    document = json.loads(result.stdout)
    assert document["schema"] == "samedge.probe/1"
    assert document["answer"] == 42
    assert document["created"].endswith("Z")
    assert set(document) == {"schema", "samedge_version", "created", "answer"}


def test_text_for_people_without_json() -> None:
    result = run(lambda out: out.result({"answer": 42}, "for people"))
    assert result.stdout == "for people\n"


def test_a_table_in_a_pipe_has_long_lines_and_no_blanks_at_their_ends() -> None:
    def body(out: Output) -> None:
        shown = output.table("name", "what")
        shown.add_row("a", "word " * 60)
        shown.add_row("b", "short")
        out.result({}, shown)

    lines = run(body).stdout.splitlines()
    assert len(lines) == 4
    assert len(lines[2]) > 250
    assert lines[3].endswith("short")
    assert all(line == line.rstrip() for line in lines)


def test_numpy_and_unmeasured_values() -> None:
    def body(out: Output) -> None:
        out.result({"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), "d": None})

    document = json.loads(run(body, "--json").stdout)
    assert (document["a"], document["b"]) == (0.5, [0, 1])
    assert document["c"] is None, "a figure that was not measured is null"
    assert document["d"] is None


def test_what_the_library_prints_goes_to_stderr() -> None:
    def body(out: Output) -> None:
        print("chatter")
        out.note("remark")
        out.result({})

    result = run(body, "--json")
    json.loads(result.stdout)
    assert "chatter" in result.stderr
    assert "remark" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"), [(ImageError("no image"), 1), (GateError("drift"), 3), (SamedgeError(""), 1)]
)
def test_errors_are_one_line_and_an_exit_code(error: SamedgeError, code: int) -> None:
    result = run(fail_with(error))
    assert result.exit_code == code
    assert result.stderr == f"samedge: {error}\n"
    assert result.stdout == ""


def test_errors_of_the_system_are_one_line_too() -> None:
    result = run(fail_with(PermissionError(13, "Permission denied", "out.png")))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "out.png" in result.stderr


def test_an_error_under_json_is_still_one_document() -> None:
    result = run(fail_with(GateError("drift")), "--json")
    document = json.loads(result.stdout)
    assert document["schema"] == "samedge.error/1"
    assert document["error"] == {"type": "GateError", "message": "drift", "exit_code": 3}
    assert result.exit_code == 3


def test_a_missing_library_names_the_extra() -> None:
    error = ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    result = run(fail_with(error))
    assert result.exit_code == 1
    assert result.stderr == "samedge: `samedge probe` needs torch: pip install 'samedge[all]'\n"
    ours = ModuleNotFoundError("No module named 'samedge.x'", name="samedge.x")
    assert run(fail_with(ours)).exception is ours


def test_our_own_bugs_are_not_hidden() -> None:
    assert isinstance(run(fail_with(ZeroDivisionError())).exception, ZeroDivisionError)


def test_interrupt_is_130() -> None:
    result = run(fail_with(KeyboardInterrupt()))
    assert result.exit_code == 130
    assert "Interrupted" in result.stderr


def test_tracebacks_on_request() -> None:
    assert "Traceback" not in run(fail_with(ImageError("x")), "-v").stderr
    assert "Traceback" in run(fail_with(ImageError("x")), "-vv").stderr


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["-q"], {"error"}),
        ([], {"error", "warning", "note"}),
        (["-v"], {"error", "warning", "note", "info"}),
        (["-vv"], {"error", "warning", "note", "info", "debug"}),
    ],
)
def test_verbosity(options: list[str], shown: set[str]) -> None:
    def body(out: Output) -> None:
        log = logging.getLogger("samedge.somewhere")
        for level in ("debug", "info", "warning", "error"):
            getattr(log, level)(f"a {level}")
        out.note("a note")

    stderr = run(body, *options).stderr
    levels = ("debug", "info", "warning", "error", "note")
    assert {level for level in levels if f"a {level}" in stderr} == shown


def test_logging_is_left_as_it_was() -> None:
    log = logging.getLogger("samedge")
    before = log.level, list(log.handlers), warnings.showwarning
    run(lambda out: None, "-vv")
    assert (log.level, list(log.handlers), warnings.showwarning) == before


def test_progress_without_a_terminal_is_silent() -> None:
    def body(out: Output) -> None:
        with out.progress("Working", total=2) as bar:
            bar()
            bar(1, note="mIoU 0.5")
            bar.progress(2, 2)
            bar.stage("done")

    result = run(body)
    assert result.exit_code == 0
    assert result.stderr == ""


def test_colour_only_where_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in CliRunner().invoke(command(fail_with(ImageError("x"))), color=True).stderr
    monkeypatch.setenv("NO_COLOR", "")  # as https://no-color.org has it, and rich
    assert "\x1b" in CliRunner().invoke(command(fail_with(ImageError("x"))), color=True).stderr
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b" in CliRunner().invoke(command(fail_with(ImageError("x"))), color=True).stderr


# ---- in a process of its own, where stdout is file descriptor 1


def run_process(body: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    source = textwrap.dedent(
        """
        import ctypes, os, sys, click
        from samedge.cli import output
        libc = ctypes.CDLL(None)
        @click.command("probe")
        @output.standard_options
        def probe(out):
            {body}
        probe()
        """
    ).format(body=body)
    command_line = [sys.executable, "-c", source, *arguments]
    return subprocess.run(command_line, capture_output=True, text=True, check=False, **options)


def test_native_chatter_cannot_reach_the_document() -> None:
    body = (
        "libc.printf(b'buffered by C'); os.write(1, b'raw'); print('python'); out.result({'a': 1})"
    )
    result = run_process(body, "--json")
    assert json.loads(result.stdout)["a"] == 1
    for chatter in ("buffered by C", "raw", "python"):
        assert chatter in result.stderr


def test_chatter_of_a_child_process_cannot_either() -> None:
    body = "os.system('echo child'); out.result({'a': 1})"
    result = run_process(body, "--json")
    assert json.loads(result.stdout)["a"] == 1
    assert "child" in result.stderr


def test_piped_work_prints_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("samedge.cli.bars.SECONDS", 0.02)
    with Output("test") as out, out.progress("Working", total=3) as bar:
        bar.progress(1, 3)
        bar.stage("the second part")
        time.sleep(0.2)  # nothing moves, and yet lines come
    said = capsys.readouterr().err.splitlines()
    assert len(said) >= 2
    assert said[-1].startswith("Working: 1 of 3, the second part, ")


def test_lines_come_while_a_library_is_silenced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exporters redirect the whole process' standard error for minutes."""
    monkeypatch.setattr("samedge.cli.bars.SECONDS", 0.02)
    with Output("test") as out, out.progress("Working"):
        with contextlib.redirect_stderr(io.StringIO()) as chatter:
            print("chatter", file=sys.stderr)
            time.sleep(0.2)
        assert chatter.getvalue() == "chatter\n"
    assert len(capsys.readouterr().err.splitlines()) >= 2


@pytest.mark.parametrize("verbosity", [-1, 0])
def test_short_and_quiet_work_says_nothing(
    verbosity: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if verbosity < 0:
        monkeypatch.setattr("samedge.cli.bars.SECONDS", 0.01)
    with Output("test", verbosity=verbosity) as out, out.progress("Working") as bar:
        bar.progress(1, 0)
        time.sleep(0.05)
    assert capsys.readouterr().err == ""
