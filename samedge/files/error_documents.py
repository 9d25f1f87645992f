"""Errors as documents, ``samedge.error/1``: what ``--json`` prints and a server answers."""

from __future__ import annotations

import errno
import os
import re

import msgspec

from samedge._version import __version__
from samedge.errors import SamedgeError, UnknownNameError
from samedge.files.lines import created_now, one_line

ERROR_SCHEMA = "samedge.error/1"

_EXTRAS = {
    "distill": "train",
    "eval": "eval",
    "report": "report",
    "export": "export",
    "serve": "serve",
    "annotate": "serve",
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
    errno.ENOTDIR: "Name a place in a folder: something on its path is a file.",
    errno.EEXIST: "Name another place, or remove what is there.",
    errno.ELOOP: "Name another place: links on its path lead to themselves.",
}
_SMALLER = "End other programs, raise the limit on it, or give smaller images."
_NO_FOLDER = "The current folder is not there any more: go to another one."


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


class ErrorField(msgspec.Struct, frozen=True, kw_only=True):
    """The error as documents before ``kind`` and ``remedy`` had it; programs read it."""

    type: str
    message: str
    exit_code: int


class ErrorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One document about one failure.

    Attributes:
        schema: always ``samedge.error/1``.
        samedge_version: what failed.
        created: when, UTC.
        command: of the command line, or the server's request as ``POST /api/v1/images``.
        kind, message, remedy, exit_code: as of :class:`ErrorRecord`.
        error: the same as older documents had it.
    """

    schema: str
    samedge_version: str
    created: str
    command: str
    kind: str
    message: str
    remedy: str
    exit_code: int
    error: ErrorField


def error_document(record: ErrorRecord, *, command: str, cause: str) -> ErrorDocument:
    """The document about a failure.

    Args:
        record: what failed.
        command: what was asked for.
        cause: the name of the error's class.
    """
    return ErrorDocument(
        schema=ERROR_SCHEMA,
        samedge_version=__version__,
        created=created_now(),
        command=command,
        kind=record.kind,
        message=record.message,
        remedy=record.remedy,
        exit_code=record.exit_code,
        error=ErrorField(type=cause, message=record.message, exit_code=record.exit_code),
    )


def error_record(error: BaseException, *, command: str = "") -> ErrorRecord:
    """Describe an exception.

    Args:
        error: anything that ended a command, a request or one image of it.
        command: its name, which decides the extra to install for a missing library.
    """
    kind, message, remedy, code = _described(error, command)
    return ErrorRecord(kind=kind, message=one_line(message), remedy=remedy, exit_code=code)


def _described(error: BaseException, command: str) -> tuple[str, str, str, int]:
    if isinstance(error, SamedgeError):
        return _kind(error), str(error), _remedy(error), error.exit_code
    library = _missing_library(error)
    if library:
        install = f"pip install 'samedge[{_EXTRAS.get(command, 'all')}]'"
        return "missing_library", f"`samedge {command}` needs {library}: {install}", install, 1
    if isinstance(error, MemoryError):
        return "system", f"There is not enough memory. {_SMALLER}", _SMALLER, 1
    if isinstance(error, OSError):
        remedy = _SYSTEM_REMEDIES.get(error.errno or 0, "Check the path and the disk.")
        line = os_error_line(error)
        if line is _NO_FOLDER:
            return "system", line, "Go to another folder.", 1
        return "system", f"{line} {remedy}", remedy, 1
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
    if isinstance(error, UnknownNameError):
        hint = re.search(r"Did you mean .*?\?", message)
        return hint.group() if hint else re.sub(r".*?\bKnown: ", "Name one of: ", message)
    tail = message.rpartition(": ")[2]
    return re.split(r"(?<=[.?!]) (?=[A-Z`])", tail)[-1]


def _has_current_folder() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd() is the same
    except FileNotFoundError:
        return False
    return True


def _missing_library(error: BaseException) -> str:
    """The library of others that is not installed; a missing module of our own is our own bug."""
    if not isinstance(error, ModuleNotFoundError):
        return ""
    library = (error.name or "").partition(".")[0]
    return "" if library == "samedge" else library


def os_error_line(error: OSError) -> str:
    """An error of the system for people, with the file it is about."""
    if error.errno == errno.ENOENT and not error.filename and not _has_current_folder():
        return _NO_FOLDER
    where = f" {error.filename!r}" if error.filename else ""
    return f"{error.strerror or error}:{where} could not be read or written."
