"""From the bytes of a ``bundle.json``, of this schema or an older one, to a manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from samedge.bundle.manifest import (
    MANIFEST_NAME,
    SCHEMA,
    ArtifactRecord,
    GraphRecord,
    Manifest,
    ModelRecord,
    Options,
    ParityRecord,
    Shape,
    TensorRecord,
    bundle_id,
    check_manifest,
    usual_thresholds,
)
from samedge.errors import BundleError, IncompatibleArtifactError
from samedge.pixels.frames import Frame
from samedge.types import (
    DRAWN_KINDS,
    HAS_MASK_INPUT,
    MASK_INPUT,
    POINT_COORDS,
    POINT_LABELS,
    Role,
)

SCHEMA_1 = "samedge.bundle/1"
_UPGRADE = "upgrade it with `pip install -U samedge`, or export the bundle again"
_FAMILY = SCHEMA.partition("/")[0]


class _SchemaOnly(msgspec.Struct):
    schema: str


def decode_manifest(data: bytes, path: Path) -> Manifest:
    """Read ``bundle.json`` strictly and check that it holds together.

    Args:
        data: its bytes.
        path: the bundle, for the messages.

    Raises:
        BundleError: not such a document, or a value that this samedge does not know.
        IncompatibleArtifactError: written by a newer samedge.
    """
    try:
        reader = _reader(msgspec.json.decode(data, type=_SchemaOnly).schema)
        manifest = reader(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(error, path) from error
    except BundleError as error:
        raise type(error)(f"{path}: {error}") from error
    check_manifest(manifest, path)
    if reader is _read_2:
        _check_id(manifest.id, bundle_id(manifest), path)
    return manifest


def as_written(manifest: Manifest) -> bytes:
    """The bytes of ``bundle.json``."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _check_id(given: str, expected: str, path: Path) -> None:
    if given != expected:
        raise BundleError(
            f"{path}: {MANIFEST_NAME} has id {given!r}, and its content makes {expected!r}: it was "
            "edited, or belongs to another bundle. Export the bundle again."
        )


def _refusal(error: Exception, path: Path) -> BundleError:
    if isinstance(error.__cause__, BundleError):  # from a value that checks itself
        return type(error.__cause__)(f"{path}: {error.__cause__}")
    if "unknown field" in str(error):
        return IncompatibleArtifactError(
            f"{path}: {MANIFEST_NAME} was written by a newer samedge ({error}): {_UPGRADE}."
        )
    return BundleError(
        f"{path}: {MANIFEST_NAME} is not a manifest ({error}): export the bundle again."
    )


def _reader(schema: str) -> Callable[[bytes], Manifest]:
    if schema in _READERS:
        return _READERS[schema]
    kind, _, version = schema.partition("/")
    if kind == _FAMILY and version.isdecimal():
        raise IncompatibleArtifactError(
            f"It has schema {schema!r}, written by a newer samedge, and this one reads "
            f"{SCHEMA!r}: {_UPGRADE}."
        )
    raise BundleError(f"It has schema {schema!r}, expected {SCHEMA!r}: this is no bundle.")


def _read_2(data: bytes) -> Manifest:
    return msgspec.json.decode(data, type=Manifest)


class _Artifact1(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    role: str
    path: str
    bytes: int
    sha256: str
    format: str
    precision: str
    inputs: list[TensorRecord]
    outputs: list[TensorRecord]
    files: dict[str, str]
    options: Options = {}
    device: str | None = None


class _Preprocessing1(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    layout: str = "NHWC"
    color: str = "RGB"
    resize: str = "longest_side_bilinear"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    pad_value: tuple[int, int, int] = (124, 116, 104)


class _Manifest1(msgspec.Struct, kw_only=True):
    schema: str
    id: str
    samedge_version: str
    created: str
    model: ModelRecord
    target: str
    backend: str
    precision: str
    input_size: int
    preprocessing: _Preprocessing1
    artifacts: list[_Artifact1]
    prompt_buckets: list[tuple[int, int]] = []
    versions: dict[str, str] = {}
    device: str | None = None
    options: Mapping[str, bool | int | float | str | list[Any] | None] = {}
    canary_sha256: str | None = None
    parity: ParityRecord | None = None
    accuracy: dict[str, Any] | None = None
    plan: list[dict[str, Any]] = []
    gate: str = "passed"
    notes: list[str] = []


_MOVED_OPTIONS = ("buckets", "keep_on_device")  # of TensorRT; the table of graphs says them now


def _read_1(data: bytes) -> Manifest:
    """A manifest of schema 1 as one of today; its id stays, so that old records still name it."""
    old = msgspec.json.decode(data, type=_Manifest1)
    expected = _id_1(old.artifacts)
    if old.id != expected:
        raise BundleError(
            f"Its {MANIFEST_NAME} has id {old.id!r}, and its artifacts make {expected!r}: export "
            "the bundle again."
        )
    files = {record.path: record for record in old.artifacts}
    buckets = _checked_buckets(old.prompt_buckets)
    return Manifest(
        schema=SCHEMA,
        id=old.id,
        samedge_version=old.samedge_version,
        created=old.created,
        model=old.model,
        target=old.target,
        backend=old.backend,
        precision=old.precision,
        input_size=old.input_size,
        frame=_frame_1(old),
        prompts=list(DRAWN_KINDS),
        graphs=[_graph_1(record, buckets) for record in old.artifacts],
        artifacts=[_file_1(record) for record in files.values()],
        thresholds=usual_thresholds(old.model.name),
        versions=old.versions,
        device=old.device,
        options=_kept_options(old.options),
        canary_sha256=old.canary_sha256,
        parity=old.parity,
        accuracy=old.accuracy,
        plan=old.plan,
        gate=old.gate,
        notes=old.notes,
    )


def _kept_options(options: Mapping[str, bool | float | str | list[Any] | None]) -> Options:
    return {
        name: value
        for name, value in options.items()
        if name not in _MOVED_OPTIONS and not isinstance(value, list)
    }


def _id_1(artifacts: Sequence[_Artifact1]) -> str:
    lines = sorted(f"{record.role} {record.sha256}" for record in artifacts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def _frame_1(old: _Manifest1) -> Frame:
    rules = old.preprocessing
    return Frame(
        target_length=old.input_size,
        resize=rules.resize,
        color=rules.color,
        layout=rules.layout,
        pad_value=rules.pad_value,
        mean=rules.mean,
        std=rules.std,
    )


def _checked_buckets(buckets: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    if any(min(bucket) < 1 for bucket in buckets):
        raise BundleError(
            f"Its prompt_buckets are {list(map(list, buckets))}, expected [[B, N], ...] of "
            "positive numbers: export the bundle again."
        )
    return buckets


def _graph_1(record: _Artifact1, buckets: Sequence[tuple[int, int]]) -> GraphRecord:
    is_prompted = record.role in (Role.DECODER, Role.PROMPTS)
    return GraphRecord(
        role=record.role,
        artifact=record.path,
        format=record.format,
        precision=record.precision,
        inputs=record.inputs,
        outputs=record.outputs,
        shapes=[_shapes_1(record.inputs, bucket) for bucket in buckets] if is_prompted else [],
        options=record.options,
        device=record.device,
    )


def _shapes_1(inputs: Sequence[TensorRecord], bucket: tuple[int, int]) -> Shape:
    """Shapes of the inputs that follow the number of prompts or points, for one bucket."""
    by_axis: Mapping[str, tuple[int, ...]] = {
        POINT_COORDS: (0, 1),
        POINT_LABELS: (0, 1),
        MASK_INPUT: (0,),
        HAS_MASK_INPUT: (0,),
    }
    found: Shape = {}
    for tensor in inputs:
        axes = by_axis.get(tensor.name, ())
        if axes:
            sizes = dict(zip(axes, bucket, strict=False))
            fixed = [axis if isinstance(axis, int) else 1 for axis in tensor.shape]
            found[tensor.name] = [sizes.get(i, size) for i, size in enumerate(fixed)]
    return found


def _file_1(record: _Artifact1) -> ArtifactRecord:
    return ArtifactRecord(
        path=record.path, bytes=record.bytes, sha256=record.sha256, files=record.files
    )


_READERS: Mapping[str, Callable[[bytes], Manifest]] = {SCHEMA: _read_2, SCHEMA_1: _read_1}
