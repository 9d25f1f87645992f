"""A server over the toy bundle, and ways to speak to it that a well-behaved client has not."""

from __future__ import annotations

import contextlib
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from samedge.predict.predictor import Predictor

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

HEIGHT, WIDTH = 48, 64


def picture(seed: int = 0, *, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    """A PNG of noise."""
    rng = np.random.default_rng(seed)
    stream = io.BytesIO()
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def predictor(toy_bundle: Path) -> Iterator[Predictor]:
    with Predictor.from_bundle(toy_bundle) as opened:
        opened.load()
        yield opened


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that images may be named in, with a secret beside it and links out of it."""
    home = tmp_path_factory.mktemp("server")
    (home / "secret.png").write_bytes(picture(7))
    root = home / "images"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "photo.png").write_bytes(picture(1))
    (root / "notes.txt").write_text("no image")
    (root / "out").symlink_to(home / "secret.png")
    (root / "up").symlink_to(home)
    (root / "in").symlink_to(root / "deep" / "photo.png")
    return root


@pytest.fixture(scope="session")
def server(predictor: Predictor, root: Path) -> Iterator[str]:
    """The address of a server whose limits are low enough to be met by tests."""
    from samedge.web.server.running import running
    from samedge.web.server.settings import ServeSettings

    settings = ServeSettings(
        port=0,
        roots=(root,),
        body_bytes=1 << 20,
        document_bytes=1 << 16,
        header_s=0.5,
        body_s=0.5,
        write_s=0.5,
        stop_s=5,
    )
    with running(predictor, settings) as address:
        yield address


class Answer:
    """What came back over a raw socket."""

    def __init__(self, data: bytes) -> None:
        self.raw = data
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1]) if data else 0
        self.headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines[1:])
        }

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


def place(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@contextlib.contextmanager
def connected(address: str, *, seconds: float = 10) -> Iterator[socket.socket]:
    with socket.create_connection(place(address), timeout=seconds) as sock:
        yield sock


def request(
    method: str, path: str, *, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """The bytes of a request; a header of value "" is left out."""
    fields = {
        "Host": "127.0.0.1",
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items() if v)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def everything_from(sock: socket.socket) -> bytes:
    """All bytes until the server closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def raw(address: str, data: bytes) -> Answer:
    """Send bytes, read until the server closes."""
    with connected(address) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        return Answer(everything_from(sock))


def call(
    address: str,
    method: str,
    path: str,
    *,
    body: bytes | object = b"",
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request; a body that is no bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return raw(address, request(method, path, body=data, headers=headers))


def sent(address: str, data: bytes | None = None) -> str:
    """The id of an image after sending it."""
    kind = {"Content-Type": "image/png"}
    answer = call(address, "POST", "/api/v1/images", body=data or picture(), headers=kind)
    assert answer.status == 200, answer.raw
    found: str = answer.document["image"]["id"]
    return found


def refused(answer: Answer, status: int, kind: str) -> dict[str, Any]:
    """Check that an answer is a typed refusal, and return its document."""
    assert answer.status == status, answer.raw
    document = answer.document
    assert document["schema"] == "samedge.error/1"
    assert document["kind"] == kind
    assert document["message"]
    assert document["remedy"]
    return document
