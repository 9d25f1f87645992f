"""Downloads against a local server that breaks off, lies and ignores what it is asked."""

from __future__ import annotations

import hashlib
import http.server
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from samedge.errors import DownloadError
from samedge.models.download import download

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves ``CONTENT``; ``behaviour`` decides how badly."""

    def __init__(self) -> None:
        self.behaviour: Callable[[http.server.BaseHTTPRequestHandler, int], None] = honest
        self.requests: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                outer.requests.append(asked)
                match = re.match(r"bytes=(\d+)-", asked or "")
                outer.behaviour(self, int(match.group(1)) if match else 0)

            def log_message(self, *args: object) -> None:
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            def handle_error(self, *args: object) -> None:
                pass  # clients that hang up are part of these tests

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}/weights.pth"


def answer(
    handler: http.server.BaseHTTPRequestHandler,
    body: bytes,
    *,
    start: int = 0,
    length: int | None = None,
    status: int | None = None,
) -> None:
    handler.send_response(status or (206 if start else 200))
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
    handler.end_headers()
    handler.wfile.write(body)


def honest(handler: http.server.BaseHTTPRequestHandler, start: int) -> None:
    answer(handler, CONTENT[start:], start=start)


def breaks_off(handler: http.server.BaseHTTPRequestHandler, start: int) -> None:
    rest = CONTENT[start:]
    answer(handler, rest[:1_100_000], start=start, length=len(rest))


def ignores_range(handler: http.server.BaseHTTPRequestHandler, start: int) -> None:
    answer(handler, CONTENT)


def breaks_off_and_ignores_range(handler: http.server.BaseHTTPRequestHandler, start: int) -> None:
    body = CONTENT if start else CONTENT[:1_100_000]
    answer(handler, body, length=len(CONTENT))


def says_too_little(handler: http.server.BaseHTTPRequestHandler, start: int) -> None:
    answer(handler, CONTENT[:1000], length=1000)


def sends_too_much(handler: http.server.BaseHTTPRequestHandler, start: int) -> None:
    answer(handler, CONTENT + b"x" * 5_000_000)


def wrong_bytes(handler: http.server.BaseHTTPRequestHandler, start: int) -> None:
    answer(handler, bytes(len(CONTENT))[start:], start=start)


def other_place(handler: http.server.BaseHTTPRequestHandler, start: int) -> None:
    answer(handler, CONTENT[start + 1 :], start=start + 1) if start else honest(handler, 0)


def nothing_after(handler: http.server.BaseHTTPRequestHandler, start: int) -> None:
    answer(handler, b"", status=416) if start else honest(handler, 0)


def absent(handler: http.server.BaseHTTPRequestHandler, start: int) -> None:
    handler.send_error(404)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    running = Server()
    thread = threading.Thread(target=running.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield running
    running.http.shutdown()
    running.http.server_close()
    thread.join()


def fetch(server: Server, target: Path, **options: object) -> Path:
    expected: dict[str, object] = {"sha256": SHA256, "size_bytes": len(CONTENT), "pause_s": 0.0}
    return download(server.address, target, **{**expected, **options})  # type: ignore[arg-type]


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_a_good_server(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "new" / "weights.pth"
    seen: list[tuple[int, int | None]] = []
    assert fetch(server, target, progress=lambda done, total: seen.append((done, total))) == target
    assert target.read_bytes() == CONTENT
    assert leftovers(target.parent) == {"weights.pth"}
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_file_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path / "weights.pth")
    fetch(server, tmp_path / "weights.pth")
    assert len(server.requests) == 1


def test_a_damaged_file_is_reported_and_fetched_again(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "weights.pth"
    target.write_bytes(CONTENT[:-1] + b"?")
    assert fetch(server, target).read_bytes() == CONTENT
    assert "it is downloaded again" in caplog.text


def test_a_damaged_file_stays_where_nothing_better_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "weights.pth"
    target.write_bytes(b"placed by hand")
    with pytest.raises(DownloadError, match="Without network"):
        download("http://127.0.0.1:9/x", target, sha256="0" * 64, pause_s=0)
    assert target.read_bytes() == b"placed by hand"


def test_a_broken_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.behaviour = breaks_off
    assert fetch(server, tmp_path / "weights.pth").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1100000-", "bytes=2200000-"]


def test_an_earlier_part_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(CONTENT[:2_000_000])
    assert fetch(server, tmp_path / "weights.pth").read_bytes() == CONTENT
    assert server.requests == ["bytes=2000000-"]


def test_a_whole_part_needs_no_server(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path / "weights.pth").read_bytes() == CONTENT
    assert not server.requests


@pytest.mark.parametrize("behaviour", [ignores_range, breaks_off_and_ignores_range])
def test_a_server_without_ranges(
    server: Server, tmp_path: Path, behaviour: Callable[..., None]
) -> None:
    server.behaviour = behaviour
    (tmp_path / "weights.pth.part").write_bytes(CONTENT[:500_000])
    assert fetch(server, tmp_path / "weights.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("behaviour", [honest, nothing_after])
def test_a_part_of_another_file_is_dropped(
    server: Server, tmp_path: Path, behaviour: Callable[..., None]
) -> None:
    server.behaviour = behaviour
    (tmp_path / "weights.pth.part").write_bytes(b"z" * 1_000_000)
    assert fetch(server, tmp_path / "weights.pth").read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_dropped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(CONTENT + b"more")
    assert fetch(server, tmp_path / "weights.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (wrong_bytes, "has SHA-256"),
        (says_too_little, "broke off after 1000 of 3072000 bytes"),
        (sends_too_much, "more than the expected 3072000 bytes"),
        (absent, "answered 404"),
    ],
)
def test_bad_servers(
    server: Server, tmp_path: Path, behaviour: Callable[..., None], said: str
) -> None:
    server.behaviour = behaviour
    with pytest.raises(DownloadError, match=said) as caught:
        fetch(server, tmp_path / "weights.pth")
    message = str(caught.value)
    assert f"put it at {tmp_path / 'weights.pth'} (3072000 bytes, SHA-256 {SHA256})" in message
    assert not (tmp_path / "weights.pth").exists()


def test_wrong_bytes_are_not_kept_to_be_resumed(server: Server, tmp_path: Path) -> None:
    server.behaviour = wrong_bytes
    with pytest.raises(DownloadError):
        fetch(server, tmp_path / "weights.pth")
    assert leftovers(tmp_path) == set()
    server.behaviour = honest
    assert fetch(server, tmp_path / "weights.pth").read_bytes() == CONTENT


def test_a_wrong_place_is_refused(server: Server, tmp_path: Path) -> None:
    server.behaviour = other_place
    (tmp_path / "weights.pth.part").write_bytes(CONTENT[:500_000])
    with pytest.raises(DownloadError, match="sent bytes from 500001, expected from 500000"):
        fetch(server, tmp_path / "weights.pth")


def test_too_much_never_fills_the_disk(server: Server, tmp_path: Path) -> None:
    server.behaviour = sends_too_much
    with pytest.raises(DownloadError):
        fetch(server, tmp_path / "weights.pth")
    assert (tmp_path / "weights.pth.part").stat().st_size <= len(CONTENT)


def test_without_expectations_the_length_counts(server: Server, tmp_path: Path) -> None:
    server.behaviour = breaks_off
    path = fetch(server, tmp_path / "weights.pth", sha256=None, size_bytes=None)
    assert path.read_bytes() == CONTENT


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as probe:  # a port on which nobody listens
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}/weights.pth"
        with pytest.raises(DownloadError, match=r"refused.*put it at .*weights\.pth\.$"):
            download(address, tmp_path / "weights.pth", pause_s=0.0)


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="is not http or https"):
        download("file:///etc/passwd", tmp_path / "weights.pth")


def test_two_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    paths: list[Path] = []
    target = tmp_path / "weights.pth"
    threads = [
        threading.Thread(target=lambda: paths.append(fetch(server, target))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [target] * 3
    assert len(server.requests) == 1
