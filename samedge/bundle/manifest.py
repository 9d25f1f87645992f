"""The content of ``bundle.json``: its schema, its strict reading, and the hashes in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from samedge.bundle._archive import is_safe_path
from samedge.errors import BundleError, IncompatibleArtifactError

SCHEMA = "samedge.bundle/1"
MANIFEST_NAME = "bundle.json"
_ID_LENGTH = 12


class TensorRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output; an int axis is fixed, a string names a dynamic one."""

    name: str
    dtype: str
    shape: list[int | str]


class ArtifactRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One graph of the bundle. ``files`` holds every file of it with its own hash."""

    role: str  # "encoder", "decoder", "meta_decoder", ...
    path: str
    bytes: int
    sha256: (
        str  # of the file; of the sorted "sha256  path" lines where it is a folder or several files
    )
    format: str
    precision: str
    inputs: list[TensorRecord]
    outputs: list[TensorRecord]
    files: dict[str, str]
    options: dict[str, Any] = {}  # given to Backend.open beside the bundle's
    device: str | None = None  # where this file alone runs; None: on the bundle's device


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an image becomes the encoder's input. The normalisation is inside the graph.

    The longest side is resized to ``input_size`` (Pillow bilinear, as SAM does), the rest is filled
    at the right and the bottom with ``pad_value``, the rounded mean, which the graph maps to zero.
    """

    layout: str = "NHWC"
    color: str = "RGB"
    resize: str = "longest_side_bilinear"
    mean: list[float] = msgspec.field(default_factory=lambda: [123.675, 116.28, 103.53])
    std: list[float] = msgspec.field(default_factory=lambda: [58.395, 57.12, 57.375])
    pad_value: list[int] = msgspec.field(default_factory=lambda: [124, 116, 104])


class ParityRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The exported graphs against the torch reference, measured at export on these very files."""

    images: int
    prompts: int
    mask_iou_mean: float
    mask_iou_p05: float
    embedding_cosine_min: float
    passed: bool
    logit_error: float | None = None  # relative; median of the worst kind of prompt
    gate: dict[str, float] = {}


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Where the weights come from."""

    name: str
    licence: str
    origin: str
    encoder: str = ""
    checkpoint_sha256: str | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``bundle.json``."""

    schema: str
    id: str
    samedge_version: str
    created: str
    model: ModelRecord
    target: str
    backend: str
    precision: str
    input_size: int
    preprocessing: Preprocessing
    artifacts: list[ArtifactRecord]
    prompt_buckets: list[list[int]] = []  # [[B, N], ...] where the decoder's shapes are fixed
    versions: dict[str, str] = {}
    device: str | None = None  # the backend's own string; None takes the best one there
    options: dict[str, Any] = {}  # given to Backend.open
    canary_sha256: str | None = None
    parity: ParityRecord | None = None
    accuracy: dict[str, Any] | None = None
    plan: list[dict[str, Any]] = []
    gate: str = "passed"  # or "skipped: --no-gate"
    notes: list[str] = []


class _SchemaOnly(msgspec.Struct):
    schema: str


def bundle_id(artifacts: Iterable[ArtifactRecord]) -> str:
    """Short hash over the artifacts' hashes, in any order."""
    lines = sorted(f"{record.role} {record.sha256}" for record in artifacts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_ID_LENGTH]


def decode_manifest(data: bytes, path: Path) -> Manifest:
    """Read ``bundle.json`` strictly and check that it holds together.

    Args:
        data: its bytes.
        path: the bundle, for the messages.

    Raises:
        BundleError: not such a document.
        IncompatibleArtifactError: written by a newer samedge.
    """
    try:
        schema = msgspec.json.decode(data, type=_SchemaOnly).schema
        _check_schema(schema, path)
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise BundleError(
            f"{path}: {MANIFEST_NAME} is not a manifest ({error}): export the bundle again."
        ) from error
    problem = _inconsistency(manifest)
    if problem:
        raise BundleError(f"{path}: {MANIFEST_NAME} {problem}: export the bundle again.")
    return manifest


def _check_schema(schema: str, path: Path) -> None:
    if schema == SCHEMA:
        return
    kind, _, version = schema.partition("/")
    if kind == SCHEMA.partition("/")[0] and version.isdecimal():
        raise IncompatibleArtifactError(
            f"{path} has schema {schema!r}, and this samedge reads {SCHEMA!r}: upgrade it with "
            "`pip install -U samedge`, or export the bundle again."
        )
    raise BundleError(f"{path} has schema {schema!r}, expected {SCHEMA!r}: this is no bundle.")


def _inconsistency(manifest: Manifest) -> str | None:
    """What is wrong with a manifest by itself, or ``None``."""
    roles = [record.role for record in manifest.artifacts]
    names = [name for record in manifest.artifacts for name in (record.path, *record.files)]
    unsafe = [name for name in names if not is_safe_path(name)]
    if len(set(roles)) != len(roles):
        return f"has a role twice: {', '.join(roles)}"
    if unsafe:
        return f"names {unsafe[0]!r}, which leaves the folder"
    if any(not record.files for record in manifest.artifacts):
        return "has an artifact without files"
    if manifest.id != bundle_id(manifest.artifacts):
        return f"has id {manifest.id!r}, and its artifacts make {bundle_id(manifest.artifacts)!r}"
    if manifest.input_size < 16 or manifest.input_size % 16:
        return f"has input_size {manifest.input_size}, expected a multiple of 16"
    if any(len(bucket) != 2 or min(bucket) < 1 for bucket in manifest.prompt_buckets):
        return f"has prompt_buckets {manifest.prompt_buckets}, expected [[B, N], ...]"
    if len(manifest.preprocessing.pad_value) != 3:
        return f"has pad_value {manifest.preprocessing.pad_value}, expected three"
    return None


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def combined_hash(path: str, files: Mapping[str, str]) -> str:
    """The one file's hash, or the hash of the sorted ``sha256  path`` lines."""
    if list(files) == [path]:
        return files[path]
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()
