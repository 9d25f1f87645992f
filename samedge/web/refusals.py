"""What :class:`samedge.Client` makes of a server's refusals."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

import msgspec

from samedge.errors import ImageError, InferenceError, PromptError, SamedgeError
from samedge.web.wire import Problem

_RETRY_S = 1.0
_MOST_RETRY_S = 10.0


class ServerError(SamedgeError):
    """A server that refused, or that cannot be reached.

    Attributes:
        status: of HTTP; ``None`` where there was no answer.
        kind: of ``samedge.error/1``, such as ``prompt`` or ``busy``.
        remedy: what to do.
    """

    def __init__(
        self, message: str, *, status: int | None = None, kind: str = "system", remedy: str = ""
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.remedy = status, kind, remedy


def problem_of(response: http.client.HTTPResponse) -> Problem:
    """What a refusal says."""
    text = response.read()
    try:
        return msgspec.json.decode(text, type=Problem)
    except (msgspec.DecodeError, ValueError):
        return Problem(message=f"The server answered {response.status} {response.reason}.")


def retry_after(response: http.client.HTTPResponse) -> float:
    """Seconds to wait before a request is sent again."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), _MOST_RETRY_S) if text.isdecimal() else _RETRY_S


_OWN: Mapping[str, type[SamedgeError]] = {
    "image": ImageError,
    "prompt": PromptError,
    "inference": InferenceError,
}


def error_of(problem: Problem, status: int) -> SamedgeError:
    """The error that a refusal is."""
    own = _OWN.get(problem.kind)
    if own is not None:
        return own(problem.message)
    return ServerError(problem.message, status=status, kind=problem.kind, remedy=problem.remedy)
