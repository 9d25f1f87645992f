"""Who is answered: this machine's own names, pages of this server, and callers with the token.

A page of any other site can make a browser send requests here, and by rebinding its name to this
address even read the answers. Such requests name that site in ``Host`` or ``Origin``.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from samedge.web.server.bodies import Budget, Share
from samedge.web.server.failures import ForbiddenError, RequestError, UnauthorizedError, refuse
from samedge.web.server.metrics import Metrics
from samedge.web.server.settings import ServeSettings, ip_address, is_loopback

OPEN_PATHS = frozenset({"/health"})
"""Answered without a token: what supervisors ask."""

_SAFETY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class HostGuard:
    """Refuses requests that name another host, or that come from another site's page.

    It also ties every request to the server's budget of bytes.

    Args:
        app: what it guards.
        settings: of the server.
        metrics: count what is refused.
    """

    def __init__(self, app: ASGIApp, *, settings: ServeSettings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._budget = Budget(settings.in_flight_bytes)
        self._names = {name.rstrip(".").lower() for name in _own_names(settings)}
        self._origins = frozenset(settings.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sending = _with_safety(send)
        share = Share(self._budget)
        scope["samedge.share"] = share
        try:
            self._check(Headers(scope=scope))
            await self._app(scope, receive, sending)
        except RequestError as error:
            self._metrics.requested("refused", status=error.status, seconds=0.0)
            await refuse(error, scope=scope, receive=receive, send=sending)
        finally:
            share.close()

    def _check(self, headers: Headers) -> None:
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._is_own(_name(host)):
            raise ForbiddenError(
                f"The host {host!r:.100} is none of this server's: call it by its address, or "
                "start it with --allow-host NAME."
            )
        origin = headers.get("origin")
        if origin is not None and not self._may_call(origin, host):
            raise ForbiddenError(
                f"Pages of {origin!r:.100} may not call this server: start it with --allow-origin "
                "if they should."
            )
        site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
        if origin is None and site == "cross-site" and mode != "navigate":
            raise ForbiddenError("Pages of other sites may not load from this server.")

    def _is_own(self, name: str) -> bool:
        if name in self._names:
            return True
        if is_loopback(self._settings.host):
            return is_loopback(name)
        # An address written as numbers cannot be rebound; names can.
        return ip_address(name) is not None or is_loopback(name)

    def _may_call(self, origin: str, host: str) -> bool:
        if origin.lower() in self._origins:
            return True
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


class TokenGuard:
    """Refuses callers who do not show the token.

    It is taken as ``Authorization: Bearer``, as the password of ``Authorization: Basic`` (what
    browsers and Label Studio send), and as ``Token`` (X-AnyLabeling).

    Args:
        app: what it guards.
        token: ``None`` lets everybody in.
    """

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self._app = app
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or pass it on."""
        if scope["type"] != "http" or self._token is None or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        shown = _shown_tokens(Headers(scope=scope))
        if not any(hmac.compare_digest(token, self._token) for token in shown):
            raise UnauthorizedError(
                "The token is missing or wrong: send 'Authorization: Bearer TOKEN'."
            )
        await self._app(scope, receive, send)


def _own_names(settings: ServeSettings) -> Iterable[str]:
    yield from settings.allowed_hosts
    yield settings.host
    if not is_loopback(settings.host):
        yield socket.gethostname()


def _name(host: str) -> str:
    """The name in a ``Host`` header, without port and brackets."""
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        return name.lower() if bracket and (not rest or rest.startswith(":")) else ""
    return host.partition(":")[0].rstrip(".").lower()


def _shown_tokens(headers: Headers) -> list[bytes]:
    shown = [value.encode("latin-1") for value in headers.getlist("token")]
    for value in headers.getlist("authorization"):
        kind, _, rest = value.partition(" ")
        if kind.lower() == "bearer":
            shown.append(rest.strip().encode("latin-1"))
        elif kind.lower() == "basic":
            shown.append(_password(rest.strip()))
    return shown


def _password(credentials: str) -> bytes:
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""


def _with_safety(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _SAFETY.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
