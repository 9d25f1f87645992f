"""Refusals: typed errors with their HTTP status, and how any error is answered."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from samedge.errors import (
    BackendUnavailableError,
    DatasetError,
    ImageError,
    OptionError,
    PromptError,
    SamedgeError,
    UnknownNameError,
)
from samedge.files.error_documents import ErrorDocument, ErrorRecord, error_document, error_record

logger = logging.getLogger(__name__)

CLIENT_GONE = 499
"""Counted for a client that closed the connection; nobody reads the answer."""


class RequestError(SamedgeError):
    """A request that is refused.

    Attributes:
        status: of HTTP.
        headers: that belong to this refusal.
        closes: whether the connection ends with it, such as when a body was left unread.
    """

    status = 400
    headers: Mapping[str, str] = {}
    closes = False


class MalformedError(RequestError):
    """Not JSON, or JSON of another shape than the interface takes."""


class UnauthorizedError(RequestError):
    """No token, or a wrong one."""

    status = 401
    headers: Mapping[str, str] = {"WWW-Authenticate": 'Basic realm="samedge", charset="UTF-8"'}
    closes = True


class ForbiddenError(RequestError):
    """A host, an origin or a path that this server does not serve."""

    status = 403


class NotFoundError(RequestError):
    """No such address, file or kept image."""

    status = 404


class MethodError(RequestError):
    """An address that does not take this method."""

    status = 405


class TooSlowError(RequestError):
    """A request that did not arrive in time."""

    status = 408
    closes = True


class ConflictError(RequestError):
    """Somebody else has what is asked for, or changed it meanwhile."""

    status = 409


class TooLargeError(RequestError):
    """A request that is larger than the server takes."""

    status = 413
    closes = True


class BusyError(RequestError):
    """As much work as the server takes is waiting already."""

    status = 429
    headers: Mapping[str, str] = {"Retry-After": "1"}


class HeadersTooLargeError(RequestError):
    """A request whose head is no HTTP, or too long."""

    status = 400
    closes = True


class StoppingError(RequestError):
    """The server is stopping."""

    status = 503
    headers: Mapping[str, str] = {"Retry-After": "5"}
    closes = True


class TimedOutError(RequestError):
    """The answer was not there in time."""

    status = 504


class ClientGoneError(RequestError):
    """The client closed the connection before the answer."""

    status = CLIENT_GONE
    closes = True


_UNPROCESSABLE = (PromptError, ImageError, DatasetError, OptionError)


def status_of(error: BaseException) -> int:
    """The HTTP status of an error."""
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, UnknownNameError):
        return 404
    if isinstance(error, _UNPROCESSABLE):
        return 422
    if isinstance(error, BackendUnavailableError | MemoryError):
        return 503
    return 500


def described(error: BaseException) -> ErrorRecord:
    """An error for a caller far away: of our own bugs it gets the kind, and the log the rest."""
    record = error_record(error, command="serve")
    if record.kind != "internal":
        return record
    logger.error("a request failed", exc_info=error)
    return ErrorRecord(
        kind="internal",
        message=f"{type(error).__name__}: the server's log says more.",
        remedy="Look into the server's log.",
        exit_code=1,
    )


def document_of(error: BaseException, *, method: str, path: str) -> ErrorDocument:
    """The document about a failed request.

    Args:
        error: what happened.
        method: of the request.
        path: of the request.
    """
    return error_document(
        described(error), command=f"{method} {path}"[:200], cause=type(error).__name__
    )


def refusal(error: BaseException, *, method: str, path: str) -> Response:
    """The answer to a failed request; the arguments are those of :func:`document_of`."""
    document = document_of(error, method=method, path=path)
    headers = dict(error.headers) if isinstance(error, RequestError) else {}
    if isinstance(error, RequestError) and error.closes:
        headers["Connection"] = "close"
    return Response(
        msgspec.json.encode(document),
        status_code=status_of(error),
        headers=headers,
        media_type="application/json",
    )


async def handled(request: Request, error: Exception) -> Response:
    """Answer an error that an endpoint raised."""
    return refusal(error, method=request.method, path=request.url.path)


async def refuse(error: RequestError, *, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request before it gets to an endpoint."""
    response = refusal(error, method=scope["method"], path=scope["path"])
    await response(scope, receive, send)
