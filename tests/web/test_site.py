"""The static site in a bundle's folder, and the server for loopback."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import GraphRecord, Manifest, WordsRecord
from samedge.bundle.thresholds import EverythingRecord, Thresholds
from samedge.errors import BundleError, OptionError
from samedge.pixels.frames import Frame
from samedge.types import PROMPT_KINDS, Role
from samedge.web import PAGE, runtime
from samedge.web.site import check_site, page_files, site_files, write_site
from samedge.web.static import HEADERS, StaticServer, content_type, serving
from tests.toys.web import small_runtime


@pytest.fixture
def bundle(toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A toy bundle with the page in its folder."""
    folder = tmp_path / "site"
    shutil.copytree(toy_bundle, folder)
    write_site(folder, small_runtime(monkeypatch, tmp_path))
    return Bundle.open(folder)


def test_every_file_has_its_hash(bundle: Bundle) -> None:
    check_site(bundle)
    listed = json.loads((bundle.folder / "site.json").read_text())
    assert listed["runtime"]["integrity"].startswith("sha512-")
    assert listed["runtime"]["licence"] == "MIT"
    assert set(page_files()) < set(listed["files"])
    packed = bundle.folder / "runtime" / "ort-wasm-simd-threaded.asyncify.wasm.gz"
    assert b"asyncify.wasm" in gzip.decompress(packed.read_bytes())
    assert "Microsoft" in (bundle.folder / "runtime" / "LICENSE.txt").read_text()


def known_to_the_page(name: str) -> set[str]:
    """A list of words in the page's reader of manifests."""
    text = (PAGE / "modules" / "manifest.js").read_text()
    found = re.search(rf"(?:\b{name}: |const {name} = )\[(.*?)\]", text, re.DOTALL)
    assert found is not None
    return set(re.findall(r'"(\w+)"', found[1]))


def test_the_page_knows_every_word_of_a_manifest() -> None:
    assert known_to_the_page("manifest") == set(Manifest.__struct_fields__)
    assert known_to_the_page("frame") == set(Frame.__struct_fields__)
    assert known_to_the_page("graph") == set(GraphRecord.__struct_fields__)
    assert known_to_the_page("thresholds") == set(Thresholds.__struct_fields__)
    assert known_to_the_page("words") == set(WordsRecord.__struct_fields__)
    assert known_to_the_page("everything") == set(EverythingRecord.__struct_fields__)
    assert known_to_the_page("PROMPTS") == set(PROMPT_KINDS)
    assert known_to_the_page("ROLES") == set(Role)


def imported(path: Path) -> set[Path]:
    """Modules that one imports before it runs, and theirs."""
    names = re.findall(r'^import .*? from "(\./[^"]+)"', path.read_text(), re.MULTILINE)
    found = {(path.parent / name).resolve() for name in names}
    return found.union(*map(imported, found))


def test_modules_come_at_once_and_not_one_after_another() -> None:
    asked = re.findall(
        r'<link rel="modulepreload" href="([^"]+)">', (PAGE / "index.html").read_text()
    )
    needed = imported(PAGE / "app.js") | {PAGE / "modules" / "engine-local.js"}
    assert sorted(asked) == sorted(path.relative_to(PAGE).as_posix() for path in needed)


def test_a_changed_page_is_found(bundle: Bundle) -> None:
    (bundle.folder / "app.js").write_text("// something else")
    with pytest.raises(BundleError, match=r"app\.js is not what site\.json says"):
        check_site(bundle)


def test_a_bundle_without_a_page_says_how_to_make_one(toy_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"carries no page: export .* --target web"):
        site_files(Bundle.open(toy_bundle))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "c:\\x"])
def test_a_list_that_leaves_the_folder_is_refused(bundle: Bundle, name: str) -> None:
    path = bundle.folder / "site.json"
    listed = json.loads(path.read_text())
    listed["files"][name] = {"bytes": 1, "sha256": "0"}
    path.write_text(json.dumps(listed))
    with pytest.raises(BundleError, match="leaves the folder"):
        site_files(bundle)


def test_the_page_s_files_name_nothing_outside(bundle: Bundle) -> None:
    """No CDN, no tracking: no address of another site stands in the page's own code."""
    for name, path in page_files().items():
        if path.suffix in {".html", ".js", ".css", ".svg", ".webmanifest"}:
            text = path.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
            assert "http://" not in text, name
            assert "https://" not in text, name


@pytest.fixture
def server(bundle: Bundle) -> Iterator[StaticServer]:
    with serving(site_files(bundle)) as running:
        yield running


def answer(
    server: StaticServer, path: str, *, host: str | None = None, method: str = "GET"
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=10)
    connection.putrequest(method, path, skip_host=host is not None)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.html?threads=1", "text/html; charset=utf-8"),
        ("/modules/engine.js", "text/javascript; charset=utf-8"),
        ("/runtime/ort-wasm-simd-threaded.wasm", "application/wasm"),
        ("/runtime/ort-wasm-simd-threaded.mjs", "text/javascript; charset=utf-8"),
        ("/bundle.json", "application/json"),
        ("/encoder.onnx", "application/octet-stream"),
    ],
)
def test_files_come_with_their_type_and_isolation(
    server: StaticServer, path: str, kind: str
) -> None:
    response, body = answer(server, path)
    assert response.status == 200
    assert response.headers["Content-Type"] == kind
    assert int(response.headers["Content-Length"]) == len(body) > 0
    for header, value in HEADERS.items():
        assert response.headers[header] == value
    response, body = answer(server, path, method="HEAD")
    assert (response.status, body) == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        *("/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/modules/"),
        *("/modules/../../secret.txt", "/..%5csecret.txt", "/secret.txt", "/bundle.json%00.txt"),
    ],
)
def test_nothing_else_is_served(server: StaticServer, bundle: Bundle, path: str) -> None:
    (bundle.folder / "secret.txt").write_text("a secret")
    (bundle.folder.parent / "secret.txt").write_text("a secret")
    response, body = answer(server, path)
    assert response.status == 404
    assert b"secret" not in body


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", ""])
def test_another_name_for_this_machine_is_refused(server: StaticServer, host: str) -> None:
    response, _ = answer(server, "/", host=host)
    assert response.status == 403


def test_a_taken_port_is_an_error_of_its_own(server: StaticServer) -> None:
    port = urlsplit(server.address).port
    with (
        pytest.raises(OptionError, match=rf"Port {port} .*another port"),
        serving({}, port=port or 0),
    ):
        pass


def test_types_do_not_hang_on_the_system() -> None:
    assert content_type("a.MJS") == "text/javascript; charset=utf-8"
    assert content_type("a.unknown") == "application/octet-stream"


def test_the_pinned_files_are_in_the_pinned_package() -> None:
    assert runtime.INTEGRITY.startswith("sha512-")
    assert all(len(digest) == 64 for digest in runtime.FILES.values())


def test_a_browser_that_is_gone_is_not_told_of(
    server: StaticServer, capfd: pytest.CaptureFixture[str]
) -> None:
    place = urlsplit(server.address)
    before = threading.active_count()
    gone = socket.create_connection((place.hostname or "", place.port or 0))
    gone.send(b"GET / HT")
    wait_for(lambda: threading.active_count() > before)
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.close()  # with a reset
    wait_for(lambda: threading.active_count() == before)
    assert capfd.readouterr().err == ""


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
