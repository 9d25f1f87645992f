"""Building a bundle under a temporary name, and putting it in place by one rename."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import msgspec

from samedge.bundle import _archive, _commit
from samedge.bundle.bundle import Bundle, verify_files
from samedge.bundle.canary import FILE_NAME as CANARY_NAME
from samedge.bundle.canary import Canary
from samedge.bundle.manifest import (
    MANIFEST_NAME,
    SCHEMA,
    ArtifactRecord,
    GraphRecord,
    Manifest,
    Options,
    Shape,
    TensorRecord,
    combined_hash,
    file_hash,
    with_id,
)
from samedge.bundle.reading import as_written, decode_manifest
from samedge.errors import BundleError
from samedge.files.writing import check_output

_HEAD_BYTES = 512


class BundleWriter:
    """Builds a bundle under a temporary name and puts it in place by one rename.

    A context manager: leaving it without :meth:`commit`, by an error or an interrupt, leaves
    nothing behind, and what was at the destination stays.

    Attributes:
        destination: the folder, or the ``.samedge`` file, to be.
        folder: where the files of the new bundle go; valid inside the ``with`` block.
        artifacts: the files that :meth:`graph` described.
    """

    def __init__(self, destination: str | Path) -> None:
        self.destination = Path(destination)
        self.folder = self.destination  # replaced on entry
        self.artifacts: list[ArtifactRecord] = []
        self._stack = ExitStack()

    def __enter__(self) -> BundleWriter:
        check_destination(self.destination)
        self.folder = self._stack.enter_context(_commit.temporary_beside(self.destination))
        self.folder.mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def graph(
        self,
        role: str,
        path: str,
        *,
        artifact_format: str,
        precision: str,
        inputs: Sequence[TensorRecord],
        outputs: Sequence[TensorRecord],
        shapes: Sequence[Shape] = (),
        extra_files: Iterable[str] = (),
        options: Options | None = None,
        device: str | None = None,
    ) -> GraphRecord:
        """Describe a graph that lies in :attr:`folder`, and its files in :attr:`artifacts`.

        Args:
            role: one of :class:`samedge.types.Role`.
            path: what the backend opens, relative to :attr:`folder`: a file, or a folder such as
                an ``.mlpackage``. Several graphs may lie in one.
            artifact_format: name of the format.
            precision: what it computes in.
            inputs: specs of the graph's inputs.
            outputs: specs of the graph's outputs.
            shapes: every set of shapes that it is run with; none: as ``inputs`` say.
            extra_files: files that belong to it, such as the ``.bin`` beside an ``.xml``.
            options: given to ``Backend.open`` beside the bundle's.
            device: where this graph alone runs; ``None``: on the bundle's device.

        Raises:
            BundleError: a file is missing.
        """
        if all(record.path != path for record in self.artifacts):
            self.artifacts.append(self._artifact(path, extra_files))
        return GraphRecord(
            role=str(role),
            artifact=path,
            format=artifact_format,
            precision=precision,
            inputs=list(inputs),
            outputs=list(outputs),
            shapes=list(shapes),
            options=dict(options or {}),
            device=device,
        )

    def file(self, path: str) -> str:
        """Describe an artifact of one file that is no graph.

        Args:
            path: of the file, relative to :attr:`folder`.

        Returns:
            The path, for the manifest.

        Raises:
            BundleError: the file is missing.
        """
        self.artifacts.append(self._artifact(path, ()))
        return path

    def _artifact(self, path: str, extra_files: Iterable[str]) -> ArtifactRecord:
        files = _hashed_files(self.folder, [path, *extra_files])
        return ArtifactRecord(
            path=path,
            bytes=sum((self.folder / name).stat().st_size for name in files),
            sha256=combined_hash(path, files),
            files=files,
        )

    def commit(self, manifest: Manifest, *, canary: Canary | None = None) -> Bundle:
        """Write manifest and canary, check the whole bundle, and put it in place.

        Args:
            manifest: its ``id`` and ``canary_sha256`` are filled in here.
            canary: the two pictures with known answers.

        Raises:
            BundleError: the manifest does not fit the files, or the destination is something else
                than a bundle.
        """
        digest = None
        if canary is not None:
            data = canary.to_bytes()
            (self.folder / CANARY_NAME).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
        complete = with_id(msgspec.structs.replace(manifest, canary_sha256=digest))
        text = as_written(complete)
        (self.folder / MANIFEST_NAME).write_bytes(text)
        verify_files(Bundle(self.destination, self.folder, decode_manifest(text, self.destination)))
        _check_replaceable(self.destination)
        if self.destination.suffix == _archive.SUFFIX:
            with _commit.temporary_beside(self.destination) as packed:
                _archive.pack(self.folder, packed)
                _commit.commit(packed, self.destination)
        else:
            _commit.commit(self.folder, self.destination)
        return Bundle.open(self.destination, verify=False)


def _hashed_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Hash by relative path, of files and of everything in folders."""
    hashes: dict[str, str] = {}
    for name in names:
        path = folder / name
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in inside:
            if not file.is_file():
                raise BundleError(f"{file} is missing: write it before describing the artifact.")
            hashes[file.relative_to(folder).as_posix()] = file_hash(file)
    return hashes


def check_destination(destination: Path) -> None:
    """Refuse to put a bundle over something that is none, or where nothing can be written.

    Raises:
        BundleError: there is such a thing.
        WriteError: a folder on the way is a file, or may not be written to.
    """
    check_output(destination)
    _check_replaceable(destination)


def _check_replaceable(destination: Path) -> None:
    if destination.suffix == _archive.SUFFIX:
        if destination.is_dir():
            raise BundleError(f"{destination} is a folder, expected a file: name another one.")
        return
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise BundleError(f"{destination} exists and is no folder: name another one.")
    if destination.is_dir() and any(destination.iterdir()) and not _holds_a_bundle(destination):
        raise BundleError(
            f"{destination} holds other files and no {MANIFEST_NAME} of samedge, and is not "
            "overwritten: name a new folder."
        )


def _holds_a_bundle(folder: Path) -> bool:
    """Whether a folder's manifest is one of ours, of any schema; others use the name, too."""
    try:
        with (folder / MANIFEST_NAME).open("rb") as file:
            return SCHEMA.partition("/")[0].encode() in file.read(_HEAD_BYTES)
    except OSError:
        return False
