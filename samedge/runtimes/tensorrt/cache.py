"""Engines beside their ONNX files, each named after everything that it depends on.

An engine fits one graph, one TensorRT, one GPU and one way of building; a change of any of these is
another name, so that a stale engine is never opened. The precision and the precision plan stand in
the graph itself, which is strongly typed, and so in its hash. A file is one line of JSON, the
engine and the cache's seal: the key is compared in full and the bytes are hashed before TensorRT
sees them.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import msgspec

from samedge import _cache
from samedge.bundle.manifest import file_hash
from samedge.errors import InferenceError
from samedge.runtimes.onnx_files import external_files
from samedge.runtimes.tensorrt.builder import Profile

_KIND = "tensorrt"
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


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: str = "samedge-engine/2"
    key: EngineKey


def graph_hash(onnx: Path) -> str:
    """Hash of an ONNX file and of its external weights.

    Raises:
        InferenceError: there is no such file.
    """
    try:
        digest = file_hash(onnx)
    except OSError as error:
        raise InferenceError(f"{onnx} cannot be read: {error}.") from error
    for name in _weights(onnx):
        digest = hashlib.sha256(f"{digest} {file_hash(onnx.parent / name)}".encode()).hexdigest()
    return digest


def _weights(onnx: Path) -> tuple[str, ...]:
    try:
        return external_files(onnx)
    except InferenceError:  # then the builder's parser says what is wrong with it
        return ()


def engine_paths(onnx: Path, key: EngineKey) -> tuple[Path, Path]:
    """Where an engine may lie: beside its graph, or in the user's cache if that is read-only."""
    name = f"{onnx.stem}.{key.digest}.engine"
    return onnx.with_name(name), _cache.cache_file(_KIND, name)


def find_engine(onnx: Path, key: EngineKey) -> tuple[bytes, Path] | None:
    """The engine for a key and its file. A damaged file counts as none and is reported.

    An engine is native code. One beside a graph is loaded only if the user's cache says that it was
    built here: a bundle from elsewhere may bring any file.
    """
    beside, cached = engine_paths(onnx, key)
    if beside.exists() and not _was_built_here(beside):
        logger.warning(
            "%s is damaged or was not built here: it is not loaded, and built again.", beside
        )
    elif (engine := _checked(beside, key)) is not None:
        return engine, beside
    engine = _checked(cached, key)
    return None if engine is None else (engine, cached)


def _checked(path: Path, key: EngineKey) -> bytes | None:
    content = _cache.kept(path)
    if content is None:
        return None
    line, separator, engine = bytes(content).partition(b"\n")
    try:
        is_fitting = bool(separator) and msgspec.json.decode(line, type=_Header).key == key
    except msgspec.DecodeError:
        is_fitting = False
    if not is_fitting:
        logger.warning("%s is not what its name says; it is built again.", path)
    return engine if is_fitting else None


def _note(beside: Path) -> Path:
    """What the user's cache holds of an engine that was built here."""
    place = hashlib.sha256(str(beside.resolve()).encode()).hexdigest()[:_DIGEST_LENGTH]
    return _cache.cache_file(_KIND, f"{place}.built")


def _was_built_here(beside: Path) -> bool:
    note = _cache.kept(_note(beside))
    return note is not None and bytes(note).decode() == _cache.seal(beside)


def keep_engine(onnx: Path, key: EngineKey, *, engine: bytes) -> Path | None:
    """Write an engine in one step, beside its graph or else into the user's cache.

    Returns:
        Where it lies; ``None`` if neither can be written.
    """
    content = msgspec.json.encode(_Header(key=key)) + b"\n" + engine
    beside, cached = engine_paths(onnx, key)
    if _cache.keep(beside, content):
        if _cache.keep(_note(beside), _cache.seal(beside).encode()):
            return beside
        beside.unlink(missing_ok=True)
    if _cache.keep(cached, content):
        return cached
    logger.warning(
        "The engine of %s can be kept neither at %s nor at %s: the next start builds it again.",
        onnx.name,
        beside,
        cached,
    )
    return None
