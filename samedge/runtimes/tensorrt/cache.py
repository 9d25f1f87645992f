"""Engines beside their ONNX files, each named after everything that it depends on.

An engine fits one graph, one TensorRT, one GPU and one way of building; a change of any of these is
another name, so that a stale engine is never opened. The precision and the precision plan stand in
the graph itself, which is strongly typed, and so in its hash. A file is one line of JSON and the
engine: the key is compared in full and the bytes are hashed before TensorRT sees them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

import msgspec

from samedge._cache import cache_folder
from samedge.bundle.manifest import file_hash
from samedge.errors import InferenceError
from samedge.runtimes.tensorrt.builder import Profile

MAGIC = b"samedge-engine/1 "
_DIGEST_LENGTH = 16

logger = logging.getLogger(__name__)


class EngineKey(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an engine depends on.

    Attributes:
        onnx_sha256: of the graph, its precision and plan included.
        flavour: name of the library.
        version: of the library.
        gpu: name of the GPU that kernels were timed on; empty where they are not.
        capability: its compute capability, such as ``"8.7"``.
        profiles: optimization profiles.
        tf32: whether float32 products may be rounded.
    """

    onnx_sha256: str
    flavour: str
    version: str
    gpu: str
    capability: str
    profiles: list[Profile]
    tf32: bool

    @property
    def digest(self) -> str:
        """Short hash of the key."""
        encoded = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(encoded).hexdigest()[:_DIGEST_LENGTH]


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: EngineKey
    sha256: str


def graph_hash(onnx: Path) -> str:
    """Hash of an ONNX file and of its external weights.

    Raises:
        InferenceError: there is no such file.
    """
    try:
        digest = file_hash(onnx)
    except OSError as error:
        raise InferenceError(f"{onnx} cannot be read: {error}.") from error
    weights = onnx.with_name(onnx.name + ".data")
    if weights.is_file():
        digest = hashlib.sha256(f"{digest} {file_hash(weights)}".encode()).hexdigest()
    return digest


def engine_paths(onnx: Path, key: EngineKey) -> tuple[Path, Path]:
    """Where an engine may lie: beside its graph, or in the user's cache if that is read-only."""
    name = f"{onnx.stem}.{key.digest}.engine"
    return onnx.with_name(name), cache_folder("tensorrt") / name


def find_engine(onnx: Path, key: EngineKey) -> tuple[bytes, Path] | None:
    """The engine for a key and its file. A damaged file counts as none and is reported."""
    for path in engine_paths(onnx, key):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        engine = _checked(content, key)
        if engine is not None:
            return engine, path
        logger.warning("%s is damaged or not what its name says; it is built again.", path)
    return None


def _checked(content: bytes, key: EngineKey) -> bytes | None:
    line, separator, engine = content.partition(b"\n")
    if not (separator and line.startswith(MAGIC)):
        return None
    try:
        header = msgspec.json.decode(line[len(MAGIC) :], type=_Header)
    except msgspec.DecodeError:
        return None
    if header.key != key or header.sha256 != hashlib.sha256(engine).hexdigest():
        return None
    return engine


def keep_engine(onnx: Path, key: EngineKey, engine: bytes) -> Path:
    """Write an engine in one step, beside its graph or else into the user's cache.

    Returns:
        Where it lies.

    Raises:
        InferenceError: neither folder can be written.
    """
    header = _Header(key=key, sha256=hashlib.sha256(engine).hexdigest())
    line = MAGIC + msgspec.json.encode(header) + b"\n"
    beside, cached = engine_paths(onnx, key)
    try:
        _write(beside, line + engine)
        return beside
    except OSError as error:
        logger.info("%s cannot be written: %s", beside, error)
    try:
        _write(cached, line + engine)
        return cached
    except OSError as error:
        raise InferenceError(
            f"The engine of {onnx.name} can be kept neither at {beside} nor at {cached}: {error}."
        ) from error


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
