"""What every command prints, and where: results on stdout, everything else on stderr.

A command ends in one ``Output.result`` call. With ``--json`` that is exactly one JSON document on
stdout. While a command runs, file descriptor 1 points at stderr, so that what native libraries
write there cannot land in the document.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar

import click

from samedge._version import __version__
from samedge.cli.bars import Bar, drawn, lines
from samedge.cli.failures import (
    BROKEN_PIPE,
    INTERRUPTED,
    Failure,
    complain,
    created_now,
    error_document,
    error_record,
    one_line,
)
from samedge.cli.refusing import refuse_shared_output
from samedge.cli.streams import discard_stdout, written_out
from samedge.errors import SamedgeError
from samedge.files.lines import printable, printable_line
from samedge.files.writing import descriptor_moved

if TYPE_CHECKING:
    import logging

    from rich.console import Console, RenderableType
    from rich.table import Table

_Command = TypeVar("_Command", bound=Callable[..., Any])

_PIPE_WIDTH = 4096

_DEBUG = 2  # tracebacks and all records
_LEVELS = ("ERROR", "WARNING", "INFO", "DEBUG")


class Output:
    """The streams of one command; a context manager around its body.

    Attributes:
        json: whether the result is a JSON document.
        verbosity: -1 quiet, 0 normal, 1 or more chatty.
        exit_code: what the command exits with where no error ends it.
    """

    def __init__(
        self, command: str, *, json: bool = False, verbosity: int = 0, debug: bool = False
    ) -> None:
        self.command, self.json, self.debug = command, json, debug
        self.verbosity = max(verbosity, _DEBUG) if debug else verbosity
        self.exit_code = 0
        self._stdout: TextIO = sys.stdout
        self._cleanup = contextlib.ExitStack()
        self._has_document = False

    def __enter__(self) -> Output:
        self._stdout = self._cleanup.enter_context(_stdout_kept_clean())
        self._cleanup.enter_context(_logging_to_stderr(self.verbosity))
        if self.debug:
            from samedge.cli.debugging import debug_log

            self._cleanup.enter_context(debug_log(command_line()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self.verbosity > 1:
            import traceback

            lines = traceback.format_exception(kind, error, trace)
            sys.stderr.write(printable("".join(lines)))
        ends_well = error is None or isinstance(error, click.exceptions.Exit | GeneratorExit)
        if self.json and error is not None and not ends_well:
            self._write_error(error)
        self._cleanup.__exit__(kind, error, trace)

    @functools.cached_property
    def console(self) -> Console:
        """A rich console on stderr: for progress and remarks. Silent with ``-q``."""
        from samedge.cli.consoles import console

        # This stream for good: an exporter that silences its library replaces the process' own.
        return console(sys.stderr, is_quiet=self.verbosity < 0)

    def note(self, message: str) -> None:
        """Say something about the work on stderr, unless quiet."""
        self.console.print(message, markup=False)

    def result(self, document: Mapping[str, Any], *renderables: RenderableType) -> None:
        """Write the command's result to stdout, once.

        Args:
            document: the fields of the JSON document, without ``schema``, ``samedge_version`` and
                ``created``, which are put before them.
            renderables: the same for people: strings, which are a line each, or what rich draws.
        """
        if self.json:
            self._write_json(f"samedge.{self.command}/1", document)
        elif renderables:
            self._print(renderables)

    @contextlib.contextmanager
    def progress(self, description: str, *, total: int | None = None) -> Iterator[Bar]:
        """Show on stderr how far the work is: a bar on a terminal, else a line every 10 s.

        Args:
            description: what is being done.
            total: number of steps; ``None`` when unknown.

        Yields:
            The bar.
        """
        if self.verbosity < 0:
            yield Bar(total)
            return
        shown = drawn if self.console.is_terminal else lines
        with shown(self.console, printable_line(description), total=total) as bar:
            yield bar

    def failed(self, failures: Sequence[tuple[str, BaseException]]) -> None:
        """Say what of a batch failed, after its result; the command then exits with 1.

        Args:
            failures: what failed, such as an image's path, and why.
        """
        if failures:
            self.exit_code = 1
        for name, error in failures:
            reason = error_record(error, command=self.command).message
            complain(reason if one_line(name) in reason else f"{name}: {reason}")

    def _write_json(self, schema: str, fields: Mapping[str, Any]) -> None:
        head = {"schema": schema, "samedge_version": __version__, "created": created_now()}
        self._write_document({**head, **fields})

    def _write_document(self, document: object) -> None:
        from samedge.files.json_text import json_text

        text = json_text(document, indent=2)
        self._has_document = True
        with written_out():
            self._stdout.write(text + "\n")
            self._stdout.flush()

    def _write_error(self, error: BaseException) -> None:
        """The document of a failure, unless there is one already or standard output is gone."""
        if self._has_document:
            return
        with contextlib.suppress(OSError):
            self._write_document(error_document(error, command=self.command))

    def _print(self, renderables: Sequence[RenderableType]) -> None:
        from samedge.cli.consoles import console as words_console

        # A pipe has no width: a line stays a line there, so that grep and awk find it whole.
        is_pipe = not self._stdout.isatty()
        console = words_console(
            io.StringIO() if is_pipe else self._stdout, width=_PIPE_WIDTH if is_pipe else None
        )
        console.on_broken_pipe = _raise_again  # type: ignore[method-assign]  # rich exits with 1
        with written_out():
            for renderable in renderables:
                console.print(renderable, markup=False)
            if isinstance(console.file, io.StringIO):  # nor do cells have blanks at their ends
                lines = console.file.getvalue().split("\n")[:-1]
                self._stdout.writelines(f"{line.rstrip()}\n" for line in lines)
            self._stdout.flush()


def _raise_again() -> NoReturn:
    """Within rich's handler of a closed pipe: the group knows its exit code."""
    raise BrokenPipeError


def command_line() -> str:
    """The command as it was typed, for records: what to run to measure again."""
    import shlex

    return shlex.join(["samedge", *sys.argv[1:]])


def table(*columns: str) -> Table:
    """An empty rich table with these headings, in the one style of this command line."""
    from rich import box

    from samedge.cli.consoles import WordsTable

    empty = WordsTable(
        box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", title_justify="left"
    )
    for index, column in enumerate(columns):
        # A narrow terminal folds long cells, never names and headings.
        empty.add_column(column, no_wrap=index == 0, overflow="fold", min_width=len(column))
    return empty


@contextlib.contextmanager
def _stdout_kept_clean() -> Iterator[TextIO]:
    """Send everything written to stdout to stderr; yield a stream to the real stdout."""
    real = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        if _descriptor(real) != 1:  # replaced by a test or by an embedding program
            yield real
            return
        real.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        # Names of files may hold what the terminal's encoding has not.
        stream = open(  # noqa: SIM115, PTH123 - a descriptor
            kept, "w", encoding=real.encoding, errors="backslashreplace", closefd=True
        )
        try:
            with descriptor_moved(1, kept):  # for -o /dev/stdout
                yield stream
        finally:
            import ctypes

            ctypes.CDLL(None).fflush(None)  # what C still buffers must go before 1 is stdout again
            os.dup2(kept, 1)
            with contextlib.suppress(OSError):  # what counts was flushed when it was written
                stream.close()


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, io.UnsupportedOperation, ValueError):
        return None


def _formatter() -> logging.Formatter:
    """One line a record; what a traceback adds keeps its lines."""
    import logging

    class Printable(logging.Formatter):
        def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
            return printable_line(super().formatMessage(record))

    return Printable("%(levelname)s: %(message)s")


def _no_echo() -> Callable[[logging.LogRecord], bool]:
    """Lets a remark pass that is not the one before it: prompts are checked, and then used."""
    last = ""

    def is_new(record: logging.LogRecord) -> bool:
        nonlocal last
        before, last = last, record.getMessage()
        return last != before

    return is_new


@contextlib.contextmanager
def _logging_to_stderr(verbosity: int) -> Iterator[None]:
    """Show samedge's log records, and Python's warnings from ``-v`` on, on stderr."""
    import logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter())
    handler.addFilter(_no_echo())
    ours, warned = logging.getLogger("samedge"), logging.getLogger("py.warnings")
    before = ours.level, warned.propagate
    ours.setLevel(_LEVELS[max(0, min(verbosity + 1, 3))])
    ours.addHandler(handler)
    warned.addHandler(handler if verbosity > 0 else logging.NullHandler())
    warned.propagate = False
    logging.captureWarnings(capture=True)
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        ours.removeHandler(handler)
        warned.handlers.clear()
        ours.setLevel(before[0])  # which also clears what child loggers remember of their level
        warned.propagate = before[1]


def record_option(*names: str) -> Callable[[_Command], _Command]:
    """The file that a measurement is written to; ``names`` are the option's and its argument's."""
    return click.option(
        *names,
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="JSON",
        help="File for the record, which `samedge report` reads.",
    )


def standard_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--json``, ``-q``, ``-v``, ``--debug``, and its function an ``Output`` first.

    Errors of samedge and of the operating system become one line on stderr and an exit code;
    Ctrl-C and its like become exit code 130. Put it right above the function, below the other
    options.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="Print errors and the result only.")
    @click.option("-v", "--verbose", count=True, help="Say more; -vv adds tracebacks.")
    @click.option("--debug", is_flag=True, help="Say all, and keep a log for a report of a fault.")
    @click.pass_context
    @functools.wraps(function)
    def wrapped(
        ctx: click.Context,
        /,
        *args: Any,
        as_json: bool,
        quiet: bool,
        verbose: int,
        debug: bool,
        **options: Any,
    ) -> None:
        name = ctx.command.name or ""
        verbosity = -1 if quiet else verbose
        try:
            with Output(name, json=as_json, verbosity=verbosity, debug=debug) as out:
                if as_json:
                    refuse_shared_output()
                function(out, *args, **options)
        except click.UsageError as error:
            error.is_reported = as_json  # type: ignore[attr-defined]  # read by the group
            raise
        except BrokenPipeError:
            discard_stdout()
            ctx.exit(BROKEN_PIPE)
        except (SamedgeError, ModuleNotFoundError, OSError) as error:
            record = error_record(error, command=name)
            if record.kind == "internal":  # a module of our own
                raise
            raise Failure(record.message, record.exit_code) from error
        except KeyboardInterrupt:
            complain("Interrupted.")
            ctx.exit(INTERRUPTED)
        if out.exit_code:
            ctx.exit(out.exit_code)

    return wrapped
