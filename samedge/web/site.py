"""The static site that a bundle can be: the page, ONNX Runtime Web, and a list of both.

The bundle's own files stay as they are; the page reads ``bundle.json`` and does what that says.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import msgspec

from samedge._version import __version__
from samedge.bundle.bundle import Bundle
from samedge.bundle.canary import FILE_NAME as CANARY_NAME
from samedge.bundle.manifest import MANIFEST_NAME, file_hash
from samedge.errors import BundleError
from samedge.web import PAGE
from samedge.web.runtime import COMPRESSED, FILES, NOTICE, RuntimeFacts

SCHEMA = "samedge.site/1"
LIST_NAME = "site.json"
INDEX, RUNTIME = "index.html", "runtime"
_SAMPLES = PAGE.parents[1] / "data" / "photos"
_LICENCE_NAME = f"{RUNTIME}/LICENSE.txt"


class SiteFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the site beside the bundle's own."""

    bytes: int
    sha256: str


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``site.json``: what the page keeps for use without a network."""

    schema: str = SCHEMA
    samedge_version: str = __version__
    runtime: RuntimeFacts = RuntimeFacts()
    files: dict[str, SiteFile] = {}


def page_files() -> dict[str, Path]:
    """Files of the page by their place in the site, the photos to try it with among them."""
    found = [path for path in sorted(PAGE.rglob("*")) if path.is_file()]
    samples = {f"samples/{path.name}": path for path in sorted(_SAMPLES.glob("*.jpg"))}
    return {path.relative_to(PAGE).as_posix(): path for path in found} | samples


def write_site(folder: Path, runtime: Path) -> Site:
    """Put page and library into a bundle's folder.

    Args:
        folder: of the bundle; its own names are not the page's.
        runtime: as :func:`samedge.web.runtime.runtime_folder` gives it.

    Returns:
        What ``site.json`` says now.
    """
    written = [_copied(path, folder / name, name) for name, path in page_files().items()]
    (folder / RUNTIME).mkdir(exist_ok=True)
    written += [_runtime_file(runtime / name, folder) for name in FILES]
    (folder / _LICENCE_NAME).write_text(NOTICE, encoding="utf-8")
    written.append(_LICENCE_NAME)
    site = Site(files={name: _described(folder / name) for name in sorted(written)})
    text = msgspec.json.format(msgspec.json.encode(site), indent=2)
    (folder / LIST_NAME).write_bytes(text + b"\n")
    return site


def bundle_files(bundle: Bundle) -> dict[str, Path]:
    """Files of the bundle itself by their place in the site.

    Raises:
        BundleError: a browser cannot open its graphs.
    """
    foreign = sorted({graph.format for graph in bundle.manifest.own_graphs} - {"onnx"})
    if foreign:
        raise BundleError(
            f"{bundle.path} holds graphs in format {foreign[0]!r}, and a browser opens onnx: "
            "export the model with `samedge export --target web`."
        )
    names = [MANIFEST_NAME, *(n for record in bundle.manifest.artifacts for n in record.files)]
    if bundle.manifest.canary_sha256 is not None:
        names.append(CANARY_NAME)
    return {name: bundle.folder / name for name in names}


def site_files(bundle: Bundle) -> dict[str, Path]:
    """Every file that a browser may ask for, by its place; nothing else is served.

    Args:
        bundle: of ``--target web``.

    Raises:
        BundleError: it carries no page, or lacks a file of it.
    """
    listed = _read_list(bundle)
    names = [LIST_NAME, *_safe(bundle, listed.files)]
    table = {name: bundle.folder / name for name in names}
    missing = next((name for name, path in table.items() if not path.is_file()), None)
    if missing:
        raise BundleError(f"{bundle.path} lacks {missing}, which its {LIST_NAME} names: {_AGAIN}.")
    return {**table, **bundle_files(bundle)}


def check_site(bundle: Bundle) -> None:
    """Hash every file of the page and compare with ``site.json``.

    Raises:
        BundleError: one was altered.
    """
    for name, expected in _read_list(bundle).files.items():
        path = bundle.folder / name
        if not path.is_file() or file_hash(path) != expected.sha256:
            raise BundleError(f"{path} is not what {LIST_NAME} says: {_AGAIN}.")


_AGAIN = "export the bundle again with `samedge export --target web`"


def _read_list(bundle: Bundle) -> Site:
    path = bundle.folder / LIST_NAME
    try:
        site = msgspec.json.decode(path.read_bytes(), type=Site)
    except FileNotFoundError as error:
        raise BundleError(f"{bundle.path} carries no page: {_AGAIN}.") from error
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"{path} cannot be read ({error}): {_AGAIN}.") from error
    if site.schema != SCHEMA:
        raise BundleError(
            f"{path} has schema {site.schema!r}, and this samedge knows {SCHEMA!r}: upgrade it "
            "with `pip install -U samedge`, or export the bundle again."
        )
    return site


def _safe(bundle: Bundle, names: Mapping[str, SiteFile]) -> Iterator[str]:
    """The names, refusing one that leaves the folder."""
    for name in names:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
            raise BundleError(
                f"{bundle.path}: {LIST_NAME} names {name!r}, which leaves the folder."
            )
        yield name


def _copied(source: Path, target: Path, name: str) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return name


def _runtime_file(source: Path, folder: Path) -> str:
    if source.name not in COMPRESSED:
        return _copied(source, folder / RUNTIME / source.name, f"{RUNTIME}/{source.name}")
    name = f"{RUNTIME}/{source.name}.gz"
    packed = gzip.compress(source.read_bytes(), compresslevel=6, mtime=0)
    (folder / name).write_bytes(packed)
    return name


def _described(path: Path) -> SiteFile:
    return SiteFile(bytes=path.stat().st_size, sha256=file_hash(path))
