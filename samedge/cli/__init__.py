"""The command line: one command a file, found by its name and imported only when it runs.

A command is a file ``_name.py`` here that exposes ``COMMAND``, a ``click.Command`` decorated with
``samedge.cli.output.standard_options``. The first sentence of the file's docstring is the line that
``samedge --help`` shows, read without importing the file.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from samedge import _discovery
from samedge._version import __version__
from samedge.cli import failures, streams
from samedge.errors import SamedgeError, UnknownNameError, WriteError
from samedge.files.interrupts import endings_interrupt
from samedge.files.lines import printable_line

EPILOG = """\b
Examples:
  samedge doctor
  samedge segment photo.jpg --point 320,240 -o mask.png
  samedge export --target intel --model samedge-nano -o out/intel
"""


def _summary(name: str) -> str:
    """First sentence of a command file's docstring, without importing the file."""
    import ast  # the list of commands alone needs it

    source = Path(__file__).with_name(f"_{name}.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    sentence = " ".join(docstring.split("\n\n")[0].split())
    sentence = sentence.removeprefix(f"``samedge {name}``").removeprefix(f"`samedge {name}`")
    sentence = sentence.lstrip(": ").rstrip(".")
    return sentence[:1].upper() + sentence[1:]


_TOO_MANY = "Got unexpected extra argument"
_OF_PATHS = {
    "is not readable.": "Ask for the right to read it, or name a copy of your own.",
    "is not writable.": "Ask for the right to write it, or name another place.",
    "is not executable.": "Ask for the right to it, or name another one.",
    "does not exist.": "Check the path.",
    "is a directory.": "Name a file, such as one in that folder.",
    "is a file.": "Name a folder, such as the one that it is in.",
}
"""What click says of a path, which every option and argument checks by it, and what to do."""
_OF_NUMBERS = {
    "is not a valid float range.": "is not a number, such as 2.5.",
    "is not a valid float.": "is not a number, such as 2.5.",
    "is not a valid integer range.": "is not a whole number, such as 2.",
    "is not a valid integer.": "is not a whole number, such as 2.",
}
"""What click says of a number by the name of its own types, and what people call it."""
_EMPTY_OPTION = re.compile(r"--[\w-]+=")
_ENDINGS = (click.ClickException, click.Abort, KeyboardInterrupt, SamedgeError, OSError)


class _ReaderGoneError(Exception):
    """A closed pipe, under a name that click does not turn into exit code 1."""


@contextlib.contextmanager
def _stdout_named() -> Iterator[None]:
    try:
        with streams.written_out():
            yield
    except BrokenPipeError as error:
        raise _ReaderGoneError from error


class LazyGroup(click.Group):
    """A group whose commands are files; listing them reads names and docstrings only."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; an empty word would be taken for the current folder where a path is due."""
        options = itertools.takewhile(lambda word: word != "--", args)
        if "" in args or any(map(_EMPTY_OPTION.fullmatch, options)):
            ctx.fail(
                "A word of the command line is empty, such as a shell's variable that is not set. "
                "Give it a value, or leave it and its option out."
            )
        if "-" in args:  # it would be taken for a file or folder of that name
            ctx.fail(
                "'-' stands for no file here: samedge reads no standard input, and writes nothing "
                "there but --json. Give a file's name, or ./- where one is called that."
            )
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of the command files."""
        return list(_discovery.names(__name__))

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """Import one command file; ``None`` when there is no such file."""
        if cmd_name not in _discovery.names(__name__):
            return None
        command = _discovery.load(__name__, cmd_name, attribute="COMMAND")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        name = args[0]
        if name == "help":
            known = self.list_commands(ctx)
            of = next((f"{word} " for word in args[1:] if word in known), "")
            ctx.fail(f"There is no command 'help': try `samedge {of}--help`.")
        if not name.startswith("-") and name not in self.list_commands(ctx):
            ctx.fail(str(UnknownNameError("command", name, self.list_commands(ctx))))
        found = super().resolve_command(ctx, args)
        _refuse_lost_files(ctx, found[1], found[2])
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from their docstrings."""
        rows = [(name, _summary(name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """As click's; where help cannot be printed, that is an error as any other."""
        with _stdout_named():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, see ``make_context``."""
        with _stdout_named():
            return super().invoke(ctx)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,
    ) -> Any:
        """Run a command line; however it ends, ``--json`` prints one document."""
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
        except (_ReaderGoneError, BrokenPipeError):
            streams.discard_stdout()
            code = failures.BROKEN_PIPE
        except _ENDINGS as error:
            if not standalone_mode:
                raise
            code = _ended_by(error, words)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code


def _refuse_lost_files(
    ctx: click.Context, command: click.Command | None, words: Sequence[str]
) -> None:
    """Say that an option takes one file, where two are given: click keeps the last one."""
    given = list(itertools.takewhile(lambda word: word != "--", words))
    for option in command.params if command else ():
        if not isinstance(option, click.Option) or option.multiple:
            continue
        count = sum(word.partition("=")[0] in option.opts for word in given)
        if isinstance(option.type, click.Path) and count > 1:
            longest = max(option.opts, key=len)
            ctx.fail(f"{longest} was given {count} times, and takes one path here: leave one out.")


def _ended_by(error: BaseException, words: Sequence[str]) -> int:
    """Say what ended a command line, to people and to programs."""
    if isinstance(error, click.NoSuchOption) and not error.possibilities:
        for nearest in _with_two_dashes(error, words):
            error = click.NoSuchOption(nearest[1:], possibilities=[nearest], ctx=error.ctx)
    if isinstance(error, click.NoSuchOption):
        error = _before_its_command(error, words)
    if isinstance(error, click.UsageError) and error.message.startswith(_TOO_MANY):
        error = click.UsageError(f"{error.message}{_words_taken(error.ctx)}", ctx=error.ctx)
    if isinstance(error, click.BadParameter):
        _add_remedy(error)
    wants_json = "--json" in itertools.takewhile(lambda word: word != "--", words)
    is_ours = isinstance(error, failures.Failure) or getattr(error, "is_reported", False)
    if wants_json and not is_ours:
        ctx = getattr(error, "ctx", None)
        typed = next((word for word in words if not word.startswith("-")), None)
        name = ctx.command.name if ctx is not None else typed
        from samedge.files.json_text import json_text

        document = failures.error_document(error, command=name or "samedge")
        try:
            click.echo(json_text(document, indent=2))
        except OSError:  # standard output is gone or full: the code still tells
            streams.discard_stdout()
    if isinstance(error, click.ClickException):
        error.message = printable_line(error.message)  # type: ignore[misc]  # click's own mark
        error.show()
        return error.exit_code
    if isinstance(error, SamedgeError | OSError):  # help, or an option's value
        if isinstance(error, WriteError):  # what was left of it is printed nowhere
            streams.discard_stdout()
        record = failures.error_record(error)
        failures.complain(record.message)
        return record.exit_code
    failures.complain("Interrupted.")
    return failures.INTERRUPTED


def _add_remedy(error: click.BadParameter) -> None:
    """Let click's word on a path end in what to do, and that on a number say what is one."""
    for ending, words in _OF_NUMBERS.items():
        if error.message.endswith(ending):
            error.message = error.message.removesuffix(ending) + words  # type: ignore[misc]
    for ending, remedy in _OF_PATHS.items():
        if error.message.endswith(ending):
            error.message = f"{error.message} {remedy}"  # type: ignore[misc]  # click's own mark
            error.remedy = remedy  # type: ignore[attr-defined]  # read where errors are described


def _words_taken(ctx: click.Context | None) -> str:
    """What a command takes beside its options, where it was given more than that."""
    if ctx is None:
        return ""
    taken = [
        word.make_metavar(ctx) for word in ctx.command.params if word.param_type_name == "argument"
    ]
    many = " Put quotes around words with blanks between them, and give a folder for what is in it."
    names = " and ".join(taken) or "nothing"
    return f": beside its options {ctx.command.name} takes {names}.{many if taken else ''}"


def _with_two_dashes(error: click.NoSuchOption, words: Sequence[str]) -> list[str]:
    """Long options that were typed with one dash: click takes ``-point`` for ``-p``."""
    command = None if error.ctx is None else error.ctx.command
    known = [] if command is None else [name for option in command.params for name in option.opts]
    typed = [f"-{word.partition('=')[0]}" for word in words if word.startswith(error.option_name)]
    return sorted({name for name in typed if name in known})


def _before_its_command(error: click.NoSuchOption, words: Sequence[str]) -> click.UsageError:
    """Say of a command's option that stands in front of the command where it belongs."""
    if error.ctx is None or not isinstance(error.ctx.command, click.Group):
        return error
    found = (error.ctx.command.get_command(error.ctx, word) for word in words)
    for command in filter(None, found):
        if any(error.option_name in option.opts for option in command.params):
            return click.UsageError(
                f"{error.option_name} is an option of {command.name} and stands in front of it: "
                f"put it behind, as in `samedge {command.name} {error.option_name} ...`.",
                ctx=error.ctx,
            )
    return error


@click.group(
    "samedge",
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="samedge")
def cli() -> None:
    """Deploy Segment Anything on edge devices: distil, quantize, export, run, measure."""


def main() -> NoReturn:
    """Entry point of ``samedge``: exit 0 done, 1 error, 2 usage, 3 gate failed, 130 interrupted."""
    streams.prepare()
    try:
        _discovery.check_unpacked()
    except SamedgeError as error:
        raise SystemExit(f"samedge: {error}") from error
    endings_interrupt()
    cli.main(prog_name="samedge")
    raise AssertionError("click ends the process")
