"""A bundle: the folder (or stored-only zip) that holds a model for one device, with its proof.

This module owns the verified load, :mod:`samedge.bundle.manifest` the schema,
:mod:`samedge.bundle.reading` its versions, and :mod:`samedge.bundle.writer` the one-rename commit.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from samedge import _cache, _discovery
from samedge.bundle import _archive, _commit, foreign
from samedge.bundle.canary import FILE_NAME as CANARY_NAME
from samedge.bundle.canary import Canary
from samedge.bundle.manifest import (
    MANIFEST_NAME,
    ArtifactRecord,
    GraphRecord,
    Manifest,
    combined_hash,
    file_hash,
)
from samedge.bundle.reading import decode_manifest
from samedge.errors import BundleError, nearest_name
from samedge.files.reading import read_bytes

_UNPACKED = "bundles"


class Bundle:
    """An opened bundle, its hashes verified.

    Attributes:
        path: what was opened: a folder or a ``.samedge`` file.
        folder: where the artifacts lie.
        manifest: the content of ``bundle.json``.
    """

    def __init__(self, path: Path, folder: Path, manifest: Manifest) -> None:
        self.path, self.folder, self.manifest = path, folder, manifest
        self._stamps = {name: _stamp(folder, name, opened=path) for name in _all_files(manifest)}

    def __repr__(self) -> str:
        known = self.manifest
        return f"Bundle({known.model.name} {known.precision} for {known.target}, {self.path})"

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Bundle:
        """Open a bundle.

        A ``.samedge`` file is unpacked into the user's cache once; its hashes are verified there
        every time, as a folder's are.

        Args:
            path: the folder or the ``.samedge`` file.
            verify: hash every artifact and compare with the manifest. Without it only the
                manifest is checked, and that the files exist.

        Raises:
            BundleError: missing, incomplete, altered, or a manifest that does not hold together.
            IncompatibleArtifactError: written by a newer samedge.
        """
        if not isinstance(path, str | os.PathLike):
            raise BundleError(
                f"The bundle is a {type(path).__name__}, expected its path; samedge.load_default() "
                "opens the embedded model."
            )
        path = Path(path)
        if path.is_dir():
            return cls._open_folder(path, path, verify=verify)
        if not path.is_file():
            raise BundleError(f"There is no bundle at {path}: {_remedy_for_none(path)}.")
        if path.suffix != _archive.SUFFIX and (path.parent / MANIFEST_NAME).is_file():
            raise BundleError(f"{path} is one file of a bundle: name its folder, {path.parent}.")
        return cls._open_archive(path, verify=verify)

    @classmethod
    def _open_folder(cls, path: Path, folder: Path, *, verify: bool) -> Bundle:
        data = _read_manifest(path, folder)
        while True:
            manifest = decode_manifest(data, path)
            try:
                bundle = cls(path, folder, manifest)
                if verify:
                    verify_files(bundle)
                return bundle
            except (BundleError, OSError) as error:
                # A writer may have exchanged the folder between the manifest and the artifacts:
                # then there is a new manifest, and its bundle is whole.
                again = _read_manifest(path, folder)
                if again != data:
                    data = again
                elif isinstance(error, BundleError):
                    raise
                else:
                    raise BundleError(f"{path} cannot be read: {error}.") from error

    @classmethod
    def _open_archive(cls, path: Path, *, verify: bool) -> Bundle:
        data = _archive.read_member(path, MANIFEST_NAME)
        manifest = decode_manifest(data, path)
        key = f"{manifest.id}-{hashlib.sha256(data).hexdigest()[:16]}"
        kept = _cache.cache_file(_UNPACKED, key)
        if kept.is_dir():
            try:
                return cls._unpacked_before(path, kept, data, verify=verify)
            except BundleError:
                _cache.drop(kept, reason="is damaged")
        try:
            return cls._unpacked(path, data, _cache.cache_folder(_UNPACKED) / key)
        except OSError as error:
            private = _cache.private_folder(
                f"{path.name} cannot be unpacked into the cache ({error})"
            )
            return cls._unpacked(path, data, private / _UNPACKED / key)

    @classmethod
    def _unpacked(cls, path: Path, data: bytes, folder: Path) -> Bundle:
        """Unpack an archive, verified, into a folder that is there in one step."""
        names = [MANIFEST_NAME, *_all_files(decode_manifest(data, path))]
        with _commit.temporary_beside(folder) as temporary:
            _archive.unpack(path, temporary, names=names)
            cls._unpacked_before(path, temporary, data, verify=True)
            _commit.commit(temporary, folder)
        return cls._unpacked_before(path, folder, data, verify=False)

    @classmethod
    def _unpacked_before(cls, path: Path, folder: Path, data: bytes, *, verify: bool) -> Bundle:
        """What was unpacked of the archive with this manifest, and of no other."""
        bundle = cls._open_folder(path, folder, verify=verify)
        if _read_manifest(path, folder) != data:
            raise BundleError(f"{path} changed while it was read: open it again.")
        return bundle

    @property
    def id(self) -> str:
        """Short hash over all that changes what is computed: same id, same masks."""
        return self.manifest.id

    def graph(self, role: str) -> GraphRecord:
        """The graph with a role, such as ``encoder``.

        Raises:
            BundleError: the bundle has none; the message lists what it has.
        """
        found = self.manifest.graph(role)
        if found is not None:
            return found
        roles = ", ".join(graph.role for graph in self.manifest.graphs) or "nothing"
        raise BundleError(
            f"{self.path} has no {role}, only {roles}: export the bundle again with samedge."
        )

    def artifact(self, role: str) -> ArtifactRecord:
        """The files that hold the graph with a role.

        Raises:
            BundleError: the bundle has none; the message lists what it has.
        """
        path = self.graph(role).artifact
        return next(record for record in self.manifest.artifacts if record.path == path)

    def artifact_path(self, role: str) -> Path:
        """Where the graph with a role lies, to be opened now.

        Raises:
            BundleError: there is none, or its files changed since the bundle was opened.
        """
        record = self.artifact(role)
        self._check_unchanged(record.files)
        return self.folder / record.path

    def _check_unchanged(self, names: Iterable[str]) -> None:
        for name in names:
            if _stamp(self.folder, name) != self._stamps[name]:
                raise BundleError(
                    f"{self.folder / name} changed since the bundle was opened: open it again."
                )

    def file(self, path: str) -> Path:
        """Where an artifact lies that is no graph, to be read now.

        Args:
            path: of the artifact, as the manifest names it.

        Raises:
            BundleError: there is none, or its file changed since the bundle was opened.
        """
        found = next((record for record in self.manifest.artifacts if record.path == path), None)
        if found is None:
            raise BundleError(f"{self.path} has no artifact {path!r}: export the bundle again.")
        self._check_unchanged(found.files)
        return self.folder / path

    def check_named(self, role: str, files: Iterable[Path]) -> None:
        """Refuse a graph that would make its backend open what the manifest does not name.

        Args:
            role: of the graph.
            files: that opening it reads; of those, none may lie elsewhere either.

        Raises:
            BundleError: the manifest has no hash of one.
        """
        named = {self.folder / name for name in self.artifact(role).files}
        for path in files:
            if path not in named:
                raise BundleError(
                    f"The {role} of {self.path} would open {path}, which its manifest does not "
                    "name: do not trust this bundle, or export it again."
                )

    @property
    def size_bytes(self) -> int:
        """Bytes of all graphs that samedge runs; they may share a file."""
        own = {graph.artifact for graph in self.manifest.own_graphs}
        return sum(record.bytes for record in self.manifest.artifacts if record.path in own)

    def canary(self) -> Canary | None:
        """The two pictures with known answers; ``None`` where the bundle has none.

        Raises:
            BundleError: the file is damaged, or changed since the bundle was opened.
        """
        if self.manifest.canary_sha256 is None:
            return None
        self._check_unchanged([CANARY_NAME])
        data = read_bytes(
            self.folder / CANARY_NAME,
            limit="document_bytes",
            expected="a canary",
            error=BundleError,
        )
        return Canary.from_bytes(data)


DEFAULT_MODEL = "samedge-nano"
"""The embedded model that serves where none is named."""

_PREFIX, _SUFFIX = "samedge-", "-cpu"


def _remedy_for_none(path: Path) -> str:
    known = embedded_models()
    if str(path) in known:
        return f"samedge.load_default(model={str(path)!r}) opens the embedded model"
    export = f"export one with `samedge export --target TARGET -o {path}`"
    near = nearest_name(str(path), known)
    return f"the embedded model is called {near!r}; otherwise {export}" if near else export


def embedded_path(name: str = DEFAULT_MODEL) -> Path:
    """A bundle that comes inside the samedge package, for the plain processor.

    Args:
        name: of :func:`embedded_models`.

    Raises:
        BundleError: this installation carries none of that name; the message lists those it has.
    """
    folder = _embedded_folder() / f"{str(name).removeprefix(_PREFIX)}{_SUFFIX}"
    if (folder / MANIFEST_NAME).is_file():
        return folder
    _discovery.check_unpacked()
    known = embedded_models()
    carried = f" It carries {' and '.join(known)}." if known else ""
    raise BundleError(
        f"This installation of samedge carries no embedded model {name!r}.{carried} Name a bundle "
        "(--bundle DIR), or export one with `samedge export --target cpu --checkpoint FILE`."
    )


def embedded_models() -> tuple[str, ...]:
    """Names of the models whose bundles come inside the samedge package."""
    manifests = _embedded_folder().glob(f"*{_SUFFIX}/{MANIFEST_NAME}")
    names = (f"{_PREFIX}{path.parent.name.removesuffix(_SUFFIX)}" for path in manifests)
    return tuple(sorted(names))


def is_embedded(path: Path) -> bool:
    """Whether a bundle is one of those inside the samedge package."""
    return path.parent == _embedded_folder()


def _embedded_folder() -> Path:
    return Path(__file__).parents[1] / "data"


def bundle_path(name: str | None) -> Path:
    """Where a bundle lies that is named by its path or, as ``samedge-nano``, by an embedded model.

    Args:
        name: a path goes before a model's name; ``None`` is the embedded model.

    Raises:
        BundleError: this installation carries no such model.
    """
    if name is None:
        return embedded_path()
    path = Path(name)
    return path if path.exists() or not name.startswith(_PREFIX) else embedded_path(name)


def _all_files(manifest: Manifest) -> list[str]:
    files = [name for record in manifest.artifacts for name in record.files]
    return files + [CANARY_NAME] * (manifest.canary_sha256 is not None)


def _read_manifest(path: Path, folder: Path) -> bytes:
    try:
        return read_bytes(
            folder / MANIFEST_NAME,
            limit="document_bytes",
            expected="a manifest",
            error=BundleError,
        )
    except BundleError as error:
        raise BundleError(
            f"{path} holds no readable {MANIFEST_NAME}, so it is no bundle "
            f"({str(error).rstrip('.')}): {_remedy_for_folder(folder)}."
        ) from error


def _remedy_for_folder(folder: Path) -> str:
    with contextlib.suppress(OSError):
        inside = sorted(file.parent for file in folder.glob(f"*/{MANIFEST_NAME}"))
        if inside:
            more = "" if len(inside) == 1 else f", or another of the {len(inside)} in it"
            return f"name {inside[0]}{more}"
        if found := foreign.in_folder(folder):
            return found
    return "check the path, or export it again"


def _stamp(folder: Path, name: str, *, opened: Path | None = None) -> tuple[int, ...]:
    """What changes when a file is replaced.

    The file may be a link, as caches and volumes lay them out: what it leads to is hashed. A folder
    on the way may not, for then the manifest's name says nothing of where the file lies.

    Raises:
        BundleError: it is missing or no file.
    """
    path = folder / name
    steps = [step for step in path.parents if step != folder and step.is_relative_to(folder)]
    if not path.is_file() or any(step.is_symlink() for step in steps):
        named = path if opened in (None, folder) else f"{opened}: {name}"
        raise BundleError(
            f"{named} is missing or not a plain file, and the manifest names it: fetch or export "
            "the bundle again."
        )
    state = path.stat()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def verify_files(bundle: Bundle) -> None:
    """Hash every file of a bundle and compare with its manifest.

    Raises:
        BundleError: a file was altered.
    """
    _verify(bundle, lambda name: file_hash(bundle.folder / name))


def verify_archive(bundle: Bundle) -> None:
    """Hash what a ``.samedge`` file itself holds: it is opened from what was unpacked of it before.

    Raises:
        BundleError: it is damaged, or a file in it was altered.
    """
    if bundle.path.is_file():
        _verify(bundle, lambda name: _archive.hash_member(bundle.path, name))


def _verify(bundle: Bundle, hash_of: Callable[[str], str]) -> None:
    for record in bundle.manifest.artifacts:
        measured = {name: hash_of(name) for name in record.files}
        for name, digest in measured.items():
            _compare_hash(bundle.path, name, digest, record.files[name])
        _compare_hash(bundle.path, record.path, combined_hash(record.path, measured), record.sha256)
    if bundle.manifest.canary_sha256 is not None:
        digest = hash_of(CANARY_NAME)
        _compare_hash(bundle.path, CANARY_NAME, digest, bundle.manifest.canary_sha256)


def _compare_hash(path: Path, name: str, measured: str, expected: str) -> None:
    if measured != expected:
        raise BundleError(
            f"{path}: {name} has SHA-256 {measured[:16]}..., the manifest says {expected[:16]}...: "
            "the file was altered, cut short, or belongs to another bundle. Fetch or export the "
            "bundle again."
        )
