"""ONNX Runtime Web: the files that compute in a page, from npm or from a folder, verified.

They are no part of samedge: an export takes them from the npm package, once, into the user's cache.
The version is pinned, and every file by its hash, so that a page computes with what was tested.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from samedge import _cache
from samedge.bundle.manifest import file_hash
from samedge.errors import BundleError
from samedge.models.download import download

PACKAGE, VERSION, LICENCE = "onnxruntime-web", "1.30.0", "MIT"
INTEGRITY = "sha512-" + (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
"""Of the package's archive, as npm gives it."""

PUBLIC_REGISTRY = "https://registry.npmjs.org"
_ARCHIVE_SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
_ARCHIVE_BYTES = 33_106_585
_IN_ARCHIVE = "package/dist/"

FILES: Mapping[str, str] = MappingProxyType(
    {
        "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
        "ort-wasm-simd-threaded.mjs": (
            "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
        ),
        "ort-wasm-simd-threaded.wasm": (
            "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
        ),
        "ort.webgpu.min.mjs": "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
        "ort-wasm-simd-threaded.asyncify.mjs": (
            "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28"
        ),
        "ort-wasm-simd-threaded.asyncify.wasm": (
            "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da"
        ),
    }
)
"""What a page needs, with SHA-256: the processor's build, and the one for WebGPU."""

COMPRESSED = frozenset({"ort-wasm-simd-threaded.asyncify.wasm"})
"""Files that a site carries as ``.gz`` and the page unpacks: only some visitors load them."""

NOTICE = f"""{PACKAGE} {VERSION}
https://www.npmjs.com/package/{PACKAGE}
{INTEGRITY}

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""

Heard = Callable[[int, "int | None"], None]


class RuntimeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a site says of the library that computes in it."""

    name: str = PACKAGE
    version: str = VERSION
    licence: str = LICENCE
    integrity: str = INTEGRITY


def runtime_folder(given: Path | None = None, *, progress: Heard | None = None) -> Path:
    """A folder that holds :data:`FILES`, each with its hash.

    Args:
        given: where they lie; ``None`` takes the user's cache, and fills it from npm once.
        progress: called with the bytes so far and in all, while they are fetched.

    Raises:
        BundleError: ``given`` lacks one, or has another version's.
        DownloadError: npm's registry did not give the package; says where to put it by hand.
    """
    if given is not None:
        folder = _dist(given)
        problem = _problem(folder)
        if problem:
            raise BundleError(
                f"{given} {problem}: give the folder of {PACKAGE} {VERSION}, as "
                f"`npm pack {PACKAGE}@{VERSION}` holds it, or leave it out."
            )
        return folder
    kept = _cache.cache_file("web", f"{PACKAGE}-{VERSION}")
    if not kept.is_dir() or _problem(kept):
        kept = _fetched(_cache.cache_folder("web"), progress)
    return kept


def registry(environment: Mapping[str, str] = os.environ) -> str:
    """Address of npm's registry as npm is told: by its variable or ``.npmrc``, or the public one.

    Args:
        environment: the variables.
    """
    by_name = {name.lower(): value for name, value in environment.items()}
    given = by_name.get("npm_config_registry", "").strip() or _from_npmrc(by_name)
    return (given or PUBLIC_REGISTRY).rstrip("/")


def _from_npmrc(by_name: Mapping[str, str]) -> str:
    path = Path(by_name.get("npm_config_userconfig") or Path.home() / ".npmrc")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(r"^\s*registry\s*=\s*(\S+)\s*$", text, re.MULTILINE)
    return found.group(1).strip("\"'") if found else ""


def archive_address() -> str:
    """Where the package's archive is."""
    name = urllib.parse.quote(PACKAGE)
    return f"{registry()}/{name}/-/{name}-{VERSION}.tgz"


def _fetched(home: Path, progress: Heard | None) -> Path:
    archive = download(
        archive_address(),
        home / f"{PACKAGE}-{VERSION}.tgz",
        sha256=_ARCHIVE_SHA256,
        size_bytes=_ARCHIVE_BYTES,
        progress=progress,
    )
    target = home / f"{PACKAGE}-{VERSION}"
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        fresh = Path(scratch, "dist")
        _unpack(archive, fresh)
        if target.exists():
            shutil.rmtree(target, ignore_errors=True)
        try:
            fresh.rename(target)
        except OSError:  # another process was faster
            if _problem(target):
                raise
    archive.unlink(missing_ok=True)
    return target


def _unpack(archive: Path, folder: Path) -> None:
    """Write :data:`FILES` of an archive into a new folder."""
    digest = hashlib.sha512(archive.read_bytes()).digest()
    if f"sha512-{base64.b64encode(digest).decode()}" != INTEGRITY:
        raise BundleError(f"{archive} is not {PACKAGE} {VERSION}: delete it and export again.")
    folder.mkdir()
    with tarfile.open(archive, "r:gz") as content:
        for name in FILES:
            member = content.extractfile(f"{_IN_ARCHIVE}{name}")
            assert member is not None, "the archive's hash is right"
            (folder / name).write_bytes(member.read())


def _dist(given: Path) -> Path:
    """The folder itself, or the ``dist`` of a package, unpacked or in ``node_modules``."""
    places = (
        *(given, given / "dist", given / "package" / "dist"),
        given / "node_modules" / PACKAGE / "dist",
    )
    return next((place for place in places if (place / next(iter(FILES))).is_file()), given)


def _problem(folder: Path) -> str | None:
    for name, expected in FILES.items():
        path = folder / name
        if not path.is_file():
            return f"has no {name}"
        if file_hash(path) != expected:
            return f"has another {name} than {PACKAGE} {VERSION}"
    return None
