"""How a command ends that could not do its work: one line, an exit code and one JSON document."""

from __future__ import annotations

import datetime
import errno
import os
import re
from typing import IO, Any

import click
import msgspec

from samedge._version import __version__
from samedge.errors import SamedgeError, UnknownNameError

INTERRUPTED = 130  # 128 + SIGINT, as shells count
BROKEN_PIPE = 141  # 128 + SIGPIPE

_EXTRAS = {
    "distill": "train",
    "eval": "eval",
    "report": "report",
    "export": "export",
    "sign": "sign",
}
"""What to install where a command's libraries are missing; ``all`` for the others."""

_SYSTEM_REMEDIES = {
    errno.ENOENT: "Check the path.",
    errno.ENOSPC: "Free some space.",
    errno.EDQUOT: "Free some space in your quota.",
    errno.EACCES: "Ask for the right to it, or name another place.",
    errno.EPERM: "Ask for the right to it, or name another place.",
    errno.EROFS: "Name a place that can be written.",
    errno.EISDIR: "Name a file in that folder.",
    errno.ENAMETOOLONG: "Give it a shorter name.",
}


class ErrorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An error for programs.

    Attributes:
        kind: a stable word: ``usage``, ``system``, ``missing_library``, ``interrupted``,
            ``internal``, or the error's class as ``image`` for ``ImageError``.
        message: the line that people see.
        remedy: what to do; a part of the message wherever that says it.
        exit_code: of the command, had this alone ended it.
    """

    kind: str
    message: str
    remedy: str
    exit_code: int


class Failure(click.ClickException):
    """An error that ends a command with one line on stderr and an exit code of its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # one class, several codes

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message to stderr, on one line."""
        complain(one_line(self.format_message()), file=file)


def complain(message: str, *, file: IO[Any] | None = None) -> None:
    """Write ``samedge: message`` to stderr, coloured where a terminal shows it."""
    color = False if "NO_COLOR" in os.environ else None
    prefix = click.style("samedge:", fg="red", bold=True)
    click.echo(f"{prefix} {printable(message)}", file=file, err=True, color=color)


def one_line(text: str) -> str:
    """Text without line breaks, as names of files may have them."""
    return " ".join(text.split())


def printable(text: str) -> str:
    """Text whose bytes of no encoding are escaped, as names of files may have them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def error_record(error: BaseException, *, command: str = "") -> ErrorRecord:
    """Describe an exception.

    Args:
        error: anything that ended a command or one image of it.
        command: its name, which decides the extra to install for a missing library.
    """
    kind, message, remedy, code = _described(error, command)
    return ErrorRecord(kind=kind, message=one_line(message), remedy=remedy, exit_code=code)


def _described(error: BaseException, command: str) -> tuple[str, str, str, int]:
    if isinstance(error, click.UsageError):
        return "usage", error.format_message(), _usage_remedy(error), error.exit_code
    if isinstance(error, SamedgeError):
        return _kind(error), str(error), _remedy(error), error.exit_code
    library = _missing_library(error)
    if library:
        install = f"pip install 'samedge[{_EXTRAS.get(command, 'all')}]'"
        return "missing_library", f"`samedge {command}` needs {library}: {install}", install, 1
    if isinstance(error, MemoryError):
        return "system", "There is not enough memory.", "Give smaller images.", 1
    if isinstance(error, OSError):
        remedy = _SYSTEM_REMEDIES.get(error.errno or 0, "Check the path and the disk.")
        return "system", os_error_line(error), remedy, 1
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted", "Interrupted.", "Run the command again.", INTERRUPTED
    text = f"{type(error).__name__}: {error}"
    return "internal", text, "Report this with the traceback that -vv shows.", 1


def _kind(error: SamedgeError) -> str:
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _remedy(error: SamedgeError) -> str:
    """What to do: what the error says itself, else the end of its message, where that stands."""
    own = getattr(error, "remedy", None)
    if isinstance(own, str) and own:
        return own
    message = one_line(str(error))
    if isinstance(error, UnknownNameError) and (hint := re.search(r"Did you mean .*?\?", message)):
        return hint.group()
    tail = message.rpartition(": ")[2]
    return re.split(r"(?<=[.?!]) (?=[A-Z`])", tail)[-1]


def _usage_remedy(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "samedge"
    return f"Try '{path} --help'."


def _missing_library(error: BaseException) -> str:
    """The library of others that is not installed; a missing module of our own is our own bug."""
    if not isinstance(error, ModuleNotFoundError):
        return ""
    library = (error.name or "").partition(".")[0]
    return "" if library == "samedge" else library


def os_error_line(error: OSError) -> str:
    """An error of the system for people, with the file it is about."""
    where = f" {error.filename!r}" if error.filename else ""
    return f"{error.strerror or error}:{where} could not be read or written."


class ErrorField(msgspec.Struct, frozen=True, kw_only=True):
    """The error as documents before ``kind`` and ``remedy`` had it; programs read it."""

    type: str
    message: str
    exit_code: int


class ErrorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints for a command that failed."""

    schema: str
    samedge_version: str
    created: str
    command: str
    kind: str
    message: str
    remedy: str
    exit_code: int
    error: ErrorField


def created_now() -> str:
    """The time for the head of a document, UTC."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def error_document(error: BaseException, *, command: str) -> ErrorDocument:
    """The one document of a command that failed."""
    record = error_record(error, command=command)
    return ErrorDocument(
        schema="samedge.error/1",
        samedge_version=__version__,
        created=created_now(),
        command=command,
        kind=record.kind,
        message=record.message,
        remedy=record.remedy,
        exit_code=record.exit_code,
        error=ErrorField(
            type=type(error).__name__, message=record.message, exit_code=record.exit_code
        ),
    )
