"""A server for one site on loopback: the headers that threads need, and no other file."""

from __future__ import annotations

import contextlib
import http.server
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from samedge.files.addresses import address_named
from samedge.web.site import INDEX

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}
_OTHER = "application/octet-stream"

HEADERS: Mapping[str, str] = {
    # Only an isolated page may share memory between threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Sent with every file of a page; another host may send the same."""

_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")


class StaticServer:
    """Serves a table of files on 127.0.0.1 until it is closed; a context manager.

    Args:
        files: by their place in the site.
        port: 0 takes a free one.

    Raises:
        OptionError: the port is taken or forbidden.
    """

    def __init__(self, files: Mapping[str, Path], *, port: int = 0) -> None:
        with address_named("127.0.0.1", port):
            self._server = _Server(("127.0.0.1", port), _handler(dict(files)))
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="samedge-web", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def wait(self) -> None:
        """Block until the server is closed or the process interrupted."""
        while self._thread.is_alive():
            self._thread.join(1.0)

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has gone: it may, at any time."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def serving(files: Mapping[str, Path], *, port: int = 0) -> Iterator[StaticServer]:
    """A server for as long as the context lasts; arguments as of :class:`StaticServer`."""
    server = StaticServer(files, port=port)
    try:
        yield server
    finally:
        server.close()


def content_type(name: str) -> str:
    """MIME type of a file by its name's ending; the system's own table is not asked."""
    return _KINDS.get(Path(name).suffix.lower(), _OTHER)


def _handler(files: dict[str, Path]) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        """Answers from the table; what is not in it does not exist."""

        protocol_version = "HTTP/1.1"
        timeout = 30.0

        def do_GET(self) -> None:
            """Send a file."""
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            """Send a file's headers."""
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            if not self._is_local():
                self._refuse(403, "This page answers only under the name of this machine.")
                return
            name = unquote(urlsplit(self.path).path).lstrip("/") or INDEX
            path = files.get(name)
            try:
                body = None if path is None else path.read_bytes()
            except OSError:
                body = None
            if body is None:
                self._refuse(404, "There is no such file.")
                return
            self.send_response(200)
            self._send(content_type(name), body, with_body=with_body)

        def _is_local(self) -> bool:
            host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
            return host in _LOCAL_NAMES  # another site's name for this machine is refused

        def _refuse(self, status: int, text: str) -> None:
            self.send_response(status)
            self._send(_KINDS[".txt"], f"{text}\n".encode(), with_body=self.command != "HEAD")

        def _send(self, kind: str, body: bytes, *, with_body: bool) -> None:
            for header, value in HEADERS.items():
                self.send_header(header, value)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                with contextlib.suppress(ConnectionError):  # the browser has gone
                    self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing: stderr is the command's."""

    return Handler
