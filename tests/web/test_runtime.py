"""ONNX Runtime Web: where it comes from, and that nothing else is taken for it."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from samedge.errors import BundleError, DownloadError
from samedge.web import runtime
from tests.toys.web import small_runtime


@pytest.mark.parametrize(
    ("environment", "npmrc", "expected"),
    [
        ({}, None, "https://registry.npmjs.org"),
        ({"npm_config_registry": "https://mirror/npm/"}, None, "https://mirror/npm"),
        ({"NPM_CONFIG_REGISTRY": "https://upper"}, "registry=https://file", "https://upper"),
        ({}, "# a remark\nregistry = https://file/npm/\n", "https://file/npm"),
        ({}, "@scope:registry=https://other\n", "https://registry.npmjs.org"),
    ],
)
def test_the_registry_is_npm_s_own(
    environment: dict[str, str], npmrc: str | None, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / ".npmrc"
    if npmrc is not None:
        path.write_text(npmrc)
    assert runtime.registry({"npm_config_userconfig": str(path), **environment}) == expected


def test_a_folder_of_the_package_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_runtime(monkeypatch, tmp_path)
    assert runtime.runtime_folder(folder) == folder
    package = tmp_path / "package"
    package.mkdir()
    folder.rename(package / "dist")
    assert runtime.runtime_folder(package) == package / "dist"


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_runtime(monkeypatch, tmp_path)
    name = next(iter(runtime.FILES))
    (folder / name).write_text("// another version")
    with pytest.raises(BundleError, match=rf"another {name} than onnxruntime-web .*npm pack"):
        runtime.runtime_folder(folder)
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"has no {name}"):
        runtime.runtime_folder(folder)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """npm's archive of the stand-in, known by its own hashes."""
    folder = small_runtime(monkeypatch, tmp_path)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name in runtime.FILES:
            archive.add(folder / name, f"package/dist/{name}")
    content = stream.getvalue()
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    monkeypatch.setattr(runtime, "INTEGRITY", f"sha512-{digest}")
    monkeypatch.setattr(runtime, "_ARCHIVE_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(runtime, "_ARCHIVE_BYTES", len(content))
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    return content


@pytest.fixture
def asked(package: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A registry on loopback; the paths that it was asked for."""
    paths: list[str] = []

    class Registry(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(package)))
            self.end_headers()
            self.wfile.write(package)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}/npm/")
    yield paths
    server.shutdown()
    server.server_close()


def test_it_is_fetched_once_and_kept(asked: list[str]) -> None:
    first = runtime.runtime_folder()
    assert {path.name for path in first.iterdir()} == set(runtime.FILES)
    assert runtime.runtime_folder() == first
    assert asked == [f"/npm/onnxruntime-web/-/onnxruntime-web-{runtime.VERSION}.tgz"]


def test_what_was_damaged_in_the_cache_is_fetched_again(asked: list[str]) -> None:
    folder = runtime.runtime_folder()
    name = next(iter(runtime.FILES))
    (folder / name).write_text("")
    assert (runtime.runtime_folder() / name).read_text()
    assert len(asked) == 2


def test_another_package_is_an_error(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_ARCHIVE_SHA256", "0" * 64)
    with pytest.raises(DownloadError, match=r"onnxruntime-web-.*SHA-256"):
        runtime.runtime_folder()
