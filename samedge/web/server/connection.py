"""One client's connection, which it cannot keep by being slow or by sending what is no HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

from samedge.web.server.failures import HeadersTooLargeError, document_of
from samedge.web.server.settings import ServeSettings

_LINGER_S = 2.0
"""How long the rest of a refused request is still read, so that its sender sees the answer."""


class BoundedConnection(H11Protocol):
    """uvicorn's connection with time limits for a request's head and for reading an answer.

    Attributes:
        settings: of the server; set by :func:`connection_class`.
    """

    settings: ServeSettings

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a client, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.connections:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        for timer in (self._head_timer, self._write_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and time the head of the next request."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._forget_head()
        elif self.conn.their_state is h11.IDLE and self._head_timer is None:
            self._await_head()  # the first bytes of the next request of a kept connection

    def on_response_complete(self) -> None:
        """End the connection where the client is still sending what nobody reads."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._linger_timer = self.loop.call_later(_LINGER_S, self.transport.abort)

    def pause_writing(self) -> None:
        """The client does not read: it has a while to."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.settings.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a typed document."""
        error = HeadersTooLargeError(f"{msg.rstrip('.')}: send HTTP/1.1 with a shorter head.")
        body = msgspec.json.encode(document_of(error, method="?", path="?"))
        headers = [("content-type", "application/json"), ("connection", "close")]
        headers.append(("content-length", str(len(body))))
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.settings.header_s, self._head_is_late)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.conn.their_state is h11.IDLE:
            self.transport.abort()


def connection_class(settings: ServeSettings) -> type[BoundedConnection]:
    """The class of a server's connections."""
    return type("Connection", (BoundedConnection,), {"settings": settings})
