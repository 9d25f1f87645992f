"""What every command prints, and where: results on stdout, everything else on stderr.

A command ends in one ``Output.result`` call. With ``--json`` that is exactly one JSON document on
stdout. While a command runs, file descriptor 1 points at stderr, so that what native libraries
write there cannot land in the document.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import functools
import io
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, TextIO

import click
import msgspec

from samedge._version import __version__
from samedge.errors import SamedgeError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

Advance = Callable[..., None]
"""``advance(steps=1, note="")``: moves a progress bar on; the note stands behind it."""

INTERRUPTED = 130  # 128 + SIGINT, as shells count
BROKEN_PIPE = 141  # 128 + SIGPIPE

_PIPE_WIDTH = 4096

_EXTRAS = {"distill": "train", "eval": "eval", "report": "report", "export": "export"}
"""What to install where a command's libraries are missing; ``all`` for the others."""

_LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


class Failure(click.ClickException):
    """An error that ends a command with one line on stderr and an exit code of its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # one class, several codes

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message to stderr, on one line."""
        complain(" ".join(self.format_message().split()), file=file)


def complain(message: str, *, file: IO[Any] | None = None) -> None:
    """Write ``samedge: message`` to stderr, coloured where a terminal shows it."""
    color = False if "NO_COLOR" in os.environ else None
    prefix = click.style("samedge:", fg="red", bold=True)
    click.echo(f"{prefix} {message}", file=file, err=True, color=color)


def _discard_stdout() -> None:
    """Point stdout at nothing: its reader is gone, and Python flushes it once more at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)


def _json_default(value: Any) -> Any:
    """What msgspec does not encode by itself: NumPy's scalars and arrays, and paths."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


class Output:
    """The streams of one command; a context manager around its body.

    Attributes:
        json: whether the result is a JSON document.
        verbosity: -1 quiet, 0 normal, 1 or more chatty.
    """

    def __init__(self, command: str, *, json: bool = False, verbosity: int = 0) -> None:
        self.command, self.json, self.verbosity = command, json, verbosity
        self._stdout: TextIO = sys.stdout
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Output:
        self._stdout = self._cleanup.enter_context(_stdout_kept_clean())
        self._cleanup.enter_context(_logging_to_stderr(self.verbosity))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self.verbosity > 1:
            traceback.print_exception(kind, error, trace, file=sys.stderr)
        if isinstance(error, SamedgeError) and self.json:
            self._write_error(error)
        self._cleanup.close()

    @functools.cached_property
    def console(self) -> Console:
        """A rich console on stderr: for progress and remarks. Silent with ``-q``."""
        from rich.console import Console

        return Console(stderr=True, quiet=self.verbosity < 0, highlight=False, soft_wrap=True)

    def note(self, message: str) -> None:
        """Say something about the work on stderr, unless quiet."""
        self.console.print(message, markup=False)

    def result(self, document: Mapping[str, Any], *renderables: RenderableType) -> None:
        """Write the command's result to stdout, once.

        Args:
            document: the fields of the JSON document, without ``schema``, ``samedge_version`` and
                ``created``, which are put before them.
            renderables: the same for people: strings or rich renderables, printed one a line.
        """
        if self.json:
            self._write_json(f"samedge.{self.command}/1", document)
        elif renderables:
            self._print(renderables)

    @contextlib.contextmanager
    def progress(self, description: str, *, total: int | None = None) -> Iterator[Advance]:
        """Show a progress bar on stderr where that is a terminal.

        Args:
            description: what is being done.
            total: number of steps; ``None`` when unknown.

        Yields:
            ``advance(steps=1, note="")``.
        """
        from rich import progress as bars

        columns: Sequence[bars.ProgressColumn] = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.fields[note]}"),
        )
        hidden = self.verbosity < 0 or not self.console.is_terminal
        with bars.Progress(*columns, console=self.console, disable=hidden, transient=True) as bar:
            task = bar.add_task(description, total=total, note="")

            def advance(steps: int = 1, *, note: str = "") -> None:
                bar.update(task, advance=steps, note=note)

            yield advance

    def _write_json(self, schema: str, fields: Mapping[str, Any]) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        head = {"schema": schema, "samedge_version": __version__, "created": now}
        encoded = msgspec.json.encode({**head, **fields}, enc_hook=_json_default)
        self._stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")
        self._stdout.flush()

    def _write_error(self, error: SamedgeError) -> None:
        report = {"type": type(error).__name__, "message": str(error), "exit_code": error.exit_code}
        self._write_json("samedge.error/1", {"command": self.command, "error": report})

    def _print(self, renderables: Sequence[RenderableType]) -> None:
        from rich.console import Console

        # A pipe has no width: a line stays a line there, so that grep and awk find it whole.
        width = None if self._stdout.isatty() else _PIPE_WIDTH
        console = Console(file=self._stdout, width=width, highlight=False, soft_wrap=True)
        for renderable in renderables:
            console.print(renderable, markup=False)
        self._stdout.flush()


def command_line() -> str:
    """The command as it was typed, for records: what to run to measure again."""
    return shlex.join(["samedge", *sys.argv[1:]])


def table(*columns: str) -> Table:
    """An empty rich table with these headings, in the one style of this command line."""
    from rich import box
    from rich.table import Table

    empty = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", title_justify="left")
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
        stream = open(kept, "w", encoding=real.encoding, closefd=True)  # noqa: SIM115, PTH123
        try:
            yield stream
        finally:
            ctypes.CDLL(None).fflush(None)  # what C still buffers must go before 1 is stdout again
            os.dup2(kept, 1)
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, io.UnsupportedOperation, ValueError):
        return None


@contextlib.contextmanager
def _logging_to_stderr(verbosity: int) -> Iterator[None]:
    """Show samedge's log records, and Python's warnings from ``-v`` on, on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
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


def _missing_module_line(command: str, error: ModuleNotFoundError) -> str:
    """How to get a library that a command needs; a missing module of our own is our own bug."""
    library = (error.name or "").partition(".")[0]
    if library in ("", "samedge"):
        raise error
    extra = _EXTRAS.get(command, "all")
    return f"`samedge {command}` needs {library}: pip install 'samedge[{extra}]'"


def _os_error_line(error: OSError) -> str:
    where = f" {error.filename!r}" if error.filename else ""
    return f"{error.strerror or error}:{where} could not be read or written."


def standard_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--json``, ``-q`` and ``-v``, and its function an ``Output`` first.

    Errors of samedge and of the operating system become one line on stderr and an exit code;
    Ctrl-C becomes exit code 130. Put it right above the function, below the other options.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="Print errors and the result only.")
    @click.option("-v", "--verbose", count=True, help="Say more; -vv adds tracebacks.")
    @click.pass_context
    @functools.wraps(function)
    def wrapped(
        ctx: click.Context, /, *args: Any, as_json: bool, quiet: bool, verbose: int, **options: Any
    ) -> None:
        name = ctx.command.name or ""
        try:
            with Output(name, json=as_json, verbosity=-1 if quiet else verbose) as out:
                function(out, *args, **options)
        except SamedgeError as error:
            raise Failure(str(error), error.exit_code) from error
        except ModuleNotFoundError as error:
            raise Failure(_missing_module_line(name, error), 1) from error
        except BrokenPipeError:
            _discard_stdout()
            ctx.exit(BROKEN_PIPE)
        except OSError as error:
            raise Failure(_os_error_line(error), 1) from error
        except KeyboardInterrupt:
            complain("Interrupted.")
            ctx.exit(INTERRUPTED)

    return wrapped
