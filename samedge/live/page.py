"""A page on loopback that shows the newest overlay: MJPEG, which every browser plays."""

from __future__ import annotations

import contextlib
import http.server
import io
import threading
from collections.abc import Iterator

import msgspec
from PIL import Image

from samedge.files.addresses import address_named
from samedge.live.sinks.base import Drawn, FrameRecord, frame_record

_BOUNDARY = "samedge"
_JPEG_QUALITY = 80
_WAIT_S = 1.0
_PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>samedge camera</title>
<style>body{margin:0;background:#111}img{display:block;margin:auto;max-width:100%;max-height:100vh}
</style><img src="/stream.mjpg" alt="The camera's newest frame with its masks">"""


class Page:
    """The newest drawn frame, and a server that shows it.

    A frame is compressed when somebody looks, once for all who do.

    Raises:
        OptionError: the port is taken or forbidden.
    """

    def __init__(self, port: int) -> None:
        self._changed = threading.Condition()
        self._drawn: Drawn | None = None
        self._jpeg: bytes | None = None
        self._closed = False
        with address_named("127.0.0.1", port):
            self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="samedge-page", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def show(self, drawn: Drawn) -> bool:
        """Show a frame from now on."""
        with self._changed:
            self._drawn, self._jpeg = drawn, None
            self._changed.notify_all()
        return True

    def close(self) -> None:
        """End the server."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def latest(self) -> FrameRecord | None:
        """The newest frame as JSON."""
        with self._changed:
            return None if self._drawn is None else frame_record(self._drawn.followed)

    def pictures(self) -> Iterator[bytes]:
        """JPEGs, the newest each time, until the page is closed."""
        shown: Drawn | None = None
        while True:
            with self._changed:
                if self._closed:
                    return
                if self._drawn is None or self._drawn is shown:
                    self._changed.wait(_WAIT_S)
                    continue
                shown = self._drawn
                jpeg = self._jpeg = self._jpeg or _jpeg(shown)
            yield jpeg

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """Answers for one page."""

            def do_GET(self) -> None:
                """Answer the page, its stream and the newest record."""
                host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
                if host not in ("127.0.0.1", "localhost"):  # another site's name for this machine
                    self.send_error(403, "Only this machine may look.")
                elif self.path == "/":
                    self._send("text/html; charset=utf-8", _PAGE)
                elif self.path == "/latest.json":
                    self._send("application/json", msgspec.json.encode(page.latest()))
                elif self.path == "/stream.mjpg":
                    self._stream()
                else:
                    self.send_error(404)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing: stderr is the command's."""

            def _send(self, kind: str, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                with contextlib.suppress(ConnectionError):  # the browser has gone
                    self.end_headers()
                    self.wfile.write(body)

            def _stream(self) -> None:
                self.send_response(200)
                kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
                self.send_header("Content-Type", kind)
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                with contextlib.suppress(OSError):  # the browser has gone
                    for jpeg in page.pictures():
                        head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                        length = f"Content-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(f"{head}{length}".encode() + jpeg + b"\r\n")

        return Handler


def _jpeg(drawn: Drawn) -> bytes:
    assert drawn.overlay is not None
    stream = io.BytesIO()
    Image.fromarray(drawn.overlay).save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()


@contextlib.contextmanager
def serving(port: int) -> Iterator[Page]:
    """A page for as long as the context lasts.

    Args:
        port: on loopback; 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    page = Page(port)
    try:
        yield page
    finally:
        page.close()
