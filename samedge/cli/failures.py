"""How a command ends that could not do its work: one line, an exit code and one JSON document."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Any

import click

from samedge.files.lines import created_now, one_line, printable_line

if TYPE_CHECKING:
    from samedge.files.error_documents import ErrorDocument, ErrorRecord

__all__ = [
    "BROKEN_PIPE",
    "INTERRUPTED",
    "Failure",
    "complain",
    "created_now",
    "error_document",
    "error_record",
    "one_line",
]

INTERRUPTED = 130  # 128 + SIGINT, as shells count
BROKEN_PIPE = 141  # 128 + SIGPIPE


class Failure(click.ClickException):
    """An error that ends a command with one line on stderr and an exit code of its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # one class, several codes

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message to stderr, on one line."""
        complain(one_line(self.format_message()), file=file)


def complain(message: str, *, file: IO[Any] | None = None) -> None:
    """Write ``samedge: message`` to stderr, on one line, coloured where a terminal shows it."""
    color = False if os.environ.get("NO_COLOR") else None  # empty: as if it were not there
    prefix = click.style("samedge:", fg="red", bold=True)
    click.echo(f"{prefix} {printable_line(message)}", file=file, err=True, color=color)


def error_record(error: BaseException, *, command: str = "") -> ErrorRecord:
    """Describe an exception of a command.

    Args:
        error: anything that ended a command or one image of it.
        command: its name, which decides the extra to install for a missing library.
    """
    if isinstance(error, click.UsageError):
        message, remedy = error.format_message(), _usage_remedy(error)
        return _record("usage", one_line(message), remedy=remedy, exit_code=error.exit_code)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        remedy = "Run the command again."
        return _record("interrupted", "Interrupted.", remedy=remedy, exit_code=INTERRUPTED)
    from samedge.files import error_documents

    return error_documents.error_record(error, command=command)


def _record(kind: str, message: str, *, remedy: str, exit_code: int) -> ErrorRecord:
    from samedge.files.error_documents import ErrorRecord

    return ErrorRecord(kind=kind, message=message, remedy=remedy, exit_code=exit_code)


def _usage_remedy(error: click.UsageError) -> str:
    own = getattr(error, "remedy", None)
    if isinstance(own, str):
        return own
    ctx = error.ctx or click.get_current_context(silent=True)  # a command's own has none yet
    return f"Try '{'samedge' if ctx is None else ctx.command_path} --help'."


def error_document(error: BaseException, *, command: str) -> ErrorDocument:
    """The one document of a command that failed."""
    from samedge.files import error_documents

    record = error_record(error, command=command)
    return error_documents.error_document(record, command=command, cause=type(error).__name__)
