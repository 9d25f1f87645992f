"""What a server must refuse: typed, in bounded time, and still answering afterwards."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samedge.predict.predictor import Predictor
from tests.web.server.conftest import (
    Answer,
    call,
    connected,
    everything_from,
    picture,
    raw,
    refused,
    request,
    sent,
)

IMAGES = "/api/v1/images"
PNG = {"Content-Type": "image/png"}
BOUND_S = 20.0  # of a busy machine; the server's own limits are half a second


@pytest.fixture(autouse=True)
def _bounded_and_alive(server: str) -> Iterator[None]:
    """Whatever a test does ends soon, and the server answers the next one."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < BOUND_S
    assert call(server, "GET", "/health").status == 200


def test_a_head_that_never_ends(server: str) -> None:
    with connected(server) as sock:
        sock.sendall(b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert everything_from(sock) == b""


def test_a_client_that_says_nothing(server: str) -> None:
    with connected(server) as sock:
        assert everything_from(sock) == b""


def test_a_body_that_comes_too_slowly(server: str) -> None:
    data = request("POST", IMAGES, body=picture(), headers=PNG)
    with connected(server) as sock:
        sock.sendall(data[:-40])
        refused(Answer(everything_from(sock)), 408, "too_slow")


def test_a_client_that_does_not_read(server: str) -> None:
    """Its answers fill the buffers on both sides, and then it has half a second."""
    asked = request("GET", "/openapi.json", headers={"Connection": "keep-alive"}) * 1000
    with connected(server) as sock:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.sendall(asked)
        time.sleep(2)
        sock.settimeout(10)
        received = everything_from(sock)  # what was in the buffers, and then the end
    assert 0 < received.count(b"HTTP/1.1 200") < 1000


def test_a_body_larger_than_allowed(server: str) -> None:
    data = request("POST", IMAGES, body=b"x" * ((1 << 20) + 1), headers=PNG)
    refused(raw(server, data), 413, "too_large")
    # It is refused by what it says it will be, before it is sent.
    head = request("POST", IMAGES, headers={**PNG, "Content-Length": str(1 << 40)})
    refused(raw(server, head), 413, "too_large")


def test_a_chunked_body_larger_than_allowed(server: str) -> None:
    head = request(
        "POST", IMAGES, headers={**PNG, "Content-Length": "", "Transfer-Encoding": "chunked"}
    )
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    refused(raw(server, head + chunk * 17), 413, "too_large")


def test_half_a_jpeg(server: str) -> None:
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(stream, "JPEG")
    whole = stream.getvalue()
    assert call(server, "POST", IMAGES, body=whole, headers=PNG).status == 200
    answer = call(server, "POST", IMAGES, body=whole[: len(whole) // 2], headers=PNG)
    assert "truncated" in refused(answer, 422, "image")["message"]


def test_a_bomb(server: str) -> None:
    """10,000 x 10,000 px in a few kB: refused by its head, before it is unpacked."""
    stream = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(stream, "PNG", compress_level=1)
    data = stream.getvalue()
    assert len(data) < 1 << 17
    start = time.monotonic()
    answer = call(server, "POST", IMAGES, body=data, headers=PNG)
    assert "too large" in refused(answer, 422, "image")["message"]
    assert time.monotonic() - start < BOUND_S / 4


@pytest.mark.parametrize("data", [b"", b"no image", b"<svg/>", b"\x00" * 100])
def test_what_is_no_image(server: str, data: bytes) -> None:
    refused(call(server, "POST", IMAGES, body=data, headers=PNG), 422, "image")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("../secret.png", 403),
        ("deep/../../secret.png", 403),
        ("up/secret.png", 403),
        ("out", 403),
        ("/etc/passwd", 403),
        ("/proc/self/environ", 403),
        ("..", 403),
        ("missing.png", 404),
        ("deep/\0photo.png", 404),
        ("deep", 422),
        (".", 422),
        ("notes.txt", 422),
    ],
)
def test_a_path_that_leads_out_or_nowhere(server: str, path: str, status: int) -> None:
    answer = call(server, "POST", IMAGES, body={"path": path})
    assert answer.status == status, answer.raw
    assert answer.document["schema"] == "samedge.error/1"


def test_a_pipe_below_a_root_is_not_waited_for(server: str, root: Path) -> None:
    os.mkfifo(root / "pipe")
    try:
        refused(call(server, "POST", IMAGES, body={"path": "pipe"}), 422, "image")
    finally:
        (root / "pipe").unlink()


def test_a_refusal_ends_in_what_to_do(server: str) -> None:
    """The remedy is that alone, without the words of what was wrong."""
    lost = refused(call(server, "POST", IMAGES, body={"path": "gone.png"}), 404, "not_found")
    assert lost["remedy"] == "name it by its path from a root on."
    odd = refused(call(server, "POST", f"{IMAGES}/a/masks", body={"prompt": []}), 400, "malformed")
    assert "unknown field `prompt`" in odd["message"]
    assert odd["remedy"] == "/openapi.json says what it should be."


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1.evil.example", "file://"]
)
def test_a_page_of_another_site(server: str, origin: str) -> None:
    answer = call(server, "POST", IMAGES, body=picture(), headers={**PNG, "Origin": origin})
    refused(answer, 403, "forbidden")
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_of_this_server(server: str) -> None:
    headers = {**PNG, "Host": "localhost:1234", "Origin": "http://localhost:1234"}
    assert call(server, "POST", IMAGES, body=picture(), headers=headers).status == 200


def test_a_picture_tag_of_another_site(server: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    refused(call(server, "GET", "/metrics", headers=headers), 403, "forbidden")
    assert call(server, "GET", "/metrics", headers={"Sec-Fetch-Site": "same-origin"}).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "[::1", "10.0.0.1", "", "localhost.evil"]
)
def test_another_name_for_this_machine(server: str, host: str) -> None:
    answer = call(server, "GET", "/health", headers={"Host": host} if host else {"Host": ""})
    assert answer.status in (400, 403)
    assert answer.document["schema"] == "samedge.error/1"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:80", "LOCALHOST", "[::1]:8188"])
def test_this_machine_s_own_names(server: str, host: str) -> None:
    assert call(server, "GET", "/health", headers={"Host": host}).status == 200


def test_two_hosts(server: str) -> None:
    data = b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert raw(server, data).status in (400, 403)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"prompts":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"prompts": [{"points": [[NaN, 1]]}]}',
        b'{"prompts": [{"points": [[1e999, 1]]}]}',
        b'{"prompts": []}',
        b'{"prompts": [{"points": [[1, 2, 3]]}]}',
        b'{"prompts": [{"points": [[1, 1]]}], "extra": 1}',
        b'{"prompts": [{"points": [[1, 1]], "labels": [7]}]}',
        b'{"prompts": [{"mask": {"size": [-1, 5], "counts": ""}}]}',
        b'{"prompts": "' + b"x" * 1000 + b'"}',
        b"",
    ],
    ids=range(13),
)
def test_json_that_is_none_or_another(server: str, body: bytes) -> None:
    answer = call(server, "POST", f"{IMAGES}/{sent(server)}/masks", body=body)
    assert answer.status in (400, 422), answer.raw
    assert answer.document["schema"] == "samedge.error/1"


def test_huge_json(server: str) -> None:
    path = f"{IMAGES}/{sent(server)}/masks"
    body = b'{"prompts": [' + b'{"points": [[1, 1]]},' * 10_000 + b"]}"
    refused(call(server, "POST", path, body=body), 413, "too_large")


def test_what_is_no_http(server: str) -> None:
    answer = raw(server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n")
    refused(answer, 400, "headers_too_large")


def test_a_head_that_is_too_long(server: str) -> None:
    """It is not read to its end."""
    line = b"X: " + b"x" * 60_000 + b"\r\n"
    head = b"GET /health HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n"
    with connected(server) as sock:
        sock.sendall(head + line)
        time.sleep(0.1)
        refused(Answer(everything_from(sock)), 400, "headers_too_large")


def test_a_connection_closed_in_mid_answer(server: str) -> None:
    """The work for it ends, too: a stream of minutes does not keep the model from the next."""
    image_id = sent(server)
    body = json.dumps({"points_per_side": 128}).encode()
    with connected(server) as sock:
        sock.sendall(request("POST", f"{IMAGES}/{image_id}/everything", body=body))
        received = b""
        while b"started" not in received:
            received += sock.recv(1 << 16)
    start = time.monotonic()
    answer = call(
        server, "POST", f"{IMAGES}/{image_id}/masks", body={"prompts": [{"points": [[5, 5]]}]}
    )
    assert answer.status == 200
    assert time.monotonic() - start < BOUND_S / 2


def test_tokens(predictor: Predictor) -> None:
    from samedge.web.server.running import running
    from samedge.web.server.settings import ServeSettings

    with running(predictor, ServeSettings(port=0, token="s3cret")) as address:
        assert call(address, "GET", "/health").status == 200
        for wrong in (
            {},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer s3cre"},
            {"Authorization": "Bearer s3cret2"},
            {"Authorization": "Bearer \xe9"},
            {"Authorization": "Basic s3cret"},
            {"Authorization": "Basic !!!"},
            {"Token": "S3CRET"},
        ):
            answer = call(address, "GET", "/api/v1/model", headers=wrong)
            refused(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Basic")
        for right in (
            {"Authorization": "Bearer s3cret"},
            {"Authorization": "bearer s3cret"},
            {"Authorization": "Basic YW55Ym9keTpzM2NyZXQ="},
            {"Token": "s3cret"},
        ):
            assert call(address, "GET", "/api/v1/model", headers=right).status == 200


def test_allowed_origins_may_call(predictor: Predictor) -> None:
    from samedge.web.server.running import running
    from samedge.web.server.settings import ServeSettings

    origin = "https://labels.example"
    settings = ServeSettings(port=0, token="t", allowed_origins=(f"{origin}/",))
    with running(predictor, settings) as address:
        ask = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        preflight = call(address, "OPTIONS", IMAGES, headers=ask)
        assert preflight.status == 200
        assert preflight.headers["access-control-allow-origin"] == origin
        refused(
            call(address, "GET", "/api/v1/model", headers={"Origin": origin}), 401, "unauthorized"
        )
        good = {"Origin": origin, "Token": "t"}
        assert call(address, "GET", "/api/v1/model", headers=good).status == 200
        other = {"Origin": "https://evil.example", "Token": "t"}
        refused(call(address, "GET", "/api/v1/model", headers=other), 403, "forbidden")
