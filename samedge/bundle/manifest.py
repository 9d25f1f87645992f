"""The content of ``bundle.json``: its schema, its strict reading, and the hashes in it.

The manifest decides: how images get into the model, what prompts it understands, which graphs there
are and what they take and give. What a reader does not know it refuses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from samedge.bundle._archive import is_safe_path
from samedge.bundle.thresholds import Logit, Share, Thresholds
from samedge.errors import BundleError, IncompatibleArtifactError
from samedge.pixels.frames import Frame
from samedge.pixels.prompts import Bucket, buckets_from_shapes
from samedge.types import IMAGE, PROMPT_KINDS, TEXT, Role

SCHEMA = "samedge.bundle/2"
MANIFEST_NAME = "bundle.json"
_ID_LENGTH = 12

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Length = Annotated[int, msgspec.Meta(ge=1, le=2**24)]
Enlargement = Annotated[float, msgspec.Meta(ge=1.0, le=8.0)]
Shape = dict[str, list[Length]]
"""Shapes by the names of inputs."""

Options = dict[str, bool | int | float | str | None]
"""Given to ``Backend.open``."""


class TensorRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output; an int axis is fixed, a string names a dynamic one."""

    name: str
    dtype: str
    shape: list[Length | str]


class GraphRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One graph of the bundle.

    Attributes:
        role: what it is for, one of :class:`samedge.types.Role`.
        artifact: path of the file or folder that holds it; several graphs may share one.
        format: name of that file's format.
        precision: what it computes in.
        inputs: its tensors; those of one graph are passed on to the next by their names.
        outputs: see there.
        shapes: every set of shapes that it is run with, by input; none: as ``inputs`` say.
        options: given to ``Backend.open`` beside the bundle's.
        device: where this graph alone runs; ``None``: on the bundle's device.
    """

    role: str
    artifact: str
    format: str
    precision: str
    inputs: list[TensorRecord]
    outputs: list[TensorRecord]
    shapes: list[Shape] = []
    options: Options = {}
    device: str | None = None


class ArtifactRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One exported file, or several that belong together.

    Attributes:
        path: what a backend opens: a file or a folder.
        bytes: of all its files.
        sha256: of the file; of the sorted "sha256  path" lines where it is a folder or several.
        files: every file of it with its own hash.
    """

    path: str
    bytes: Count
    sha256: str
    files: dict[str, str]


class ParityRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The exported graphs against the torch reference, measured at export on these very files."""

    images: int
    prompts: int
    mask_iou_mean: float
    mask_iou_p05: float
    embedding_cosine_min: float
    passed: bool
    logit_error: float | None = None  # over their spread; median of the worst kind of prompt
    gate: dict[str, float] = {}
    decided_iou_mean: float | None = None  # where the reference's logits are not near 0
    decided_iou_p05: float | None = None
    decoder_error: float | None = None  # logit_error of the decoder given its own embeddings
    quality_error: float | None = None  # of the predicted IoUs
    near_ties: int | None = None  # clicks with another best candidate that was as good
    wrong_choices: int | None = None  # ... that was not


class ModelRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the weights come from."""

    name: str
    licence: str
    origin: str
    encoder: str = ""
    checkpoint_sha256: str | None = None


class WordsRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How words are found with this bundle: its region encoder, and the table beside it.

    Attributes:
        table: the artifact that :class:`samedge.bundle.words.WordTable` reads.
        model: where the weights come from that know the words.
        enlarge: side of a region's crop over the longer side of its box.
        outside: the share of its contrast that is left of what is outside of the region.
        threshold: a region is a word's that is asked for where its margin over the background words
            is larger.
        label_threshold: the same of words that nobody asked for, where every region gets its best
            one; left out where it is the same, or nobody measured it.
        suppression: of two regions of a word whose boxes have a larger IoU, the better is kept.
        merges: the artifact with the tokenizer's merges, where there is a text encoder.
        templates: phrases that the text encoder reads a word in, with ``{}`` in its place.
        cosine_min: lowest similarity of each graph with its reference, by role, at export.
    """

    table: str
    model: ModelRecord
    enlarge: Enlargement
    outside: Share
    threshold: Logit
    label_threshold: Logit | UnsetType = UNSET
    suppression: Share = 0.5
    merges: str | None = None
    templates: list[str] = []
    cosine_min: dict[str, float] = {}

    @property
    def own_label_threshold(self) -> float:
        """Where names that nobody asked for are cut."""
        given = self.label_threshold
        return self.threshold if isinstance(given, UnsetType) else given


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of ``bundle.json``."""

    schema: str
    id: str
    samedge_version: str
    created: str
    model: ModelRecord
    target: str
    backend: str
    precision: str
    input_size: int  # S, as the frame says too
    frame: Frame
    prompts: list[str]  # what the model understands
    thresholds: Thresholds
    graphs: list[GraphRecord]
    artifacts: list[ArtifactRecord]
    versions: dict[str, str] = {}
    device: str | None = None  # the backend's own string; None takes the best one there
    options: Options = {}  # given to Backend.open
    canary_sha256: str | None = None
    parity: ParityRecord | None = None
    accuracy: dict[str, Any] | None = None
    plan: list[dict[str, Any]] = []
    gate: str = "passed"  # or "skipped: --no-gate"
    notes: list[str] = []
    words: WordsRecord | UnsetType = UNSET  # how words are found, where it knows any

    @property
    def own_words(self) -> WordsRecord | None:
        """How words are found; ``None`` where the bundle knows none."""
        return self.words if isinstance(self.words, WordsRecord) else None

    @property
    def own_graphs(self) -> tuple[GraphRecord, ...]:
        """The graphs that samedge runs; those in other projects' dialects only come along."""
        return tuple(graph for graph in self.graphs if Role(graph.role).is_own)

    @property
    def prompt_buckets(self) -> tuple[Bucket, ...]:
        """``(B, N)`` of the decoder's fixed shapes; none where it takes any."""
        found = (buckets_from_shapes(graph.shapes) for graph in self.own_graphs)
        return next((buckets for buckets in found if buckets), ())

    def graph(self, role: str) -> GraphRecord | None:
        """The graph with a role; ``None`` where there is none."""
        return next((graph for graph in self.graphs if graph.role == role), None)


_DESCRIPTIVE = frozenset(
    {"id", "samedge_version", "created", "model", "target", "precision", "versions"}
    | {"parity", "accuracy", "plan", "gate", "notes"}
)
"""Fields that change nothing that is computed."""

_EMBEDDED = Thresholds(predicted_iou=0.6, stability=0.75)
_OWN_THRESHOLDS: Mapping[str, Thresholds] = {
    "samedge-nano": _EMBEDDED,
    "samedge-pico": _EMBEDDED,
}


def usual_thresholds(model: str) -> Thresholds:
    """Of bundles that say none, by the model's name: SAM's, or those of the embedded models, which
    rate their own masks lower than SAM does.
    """
    return _OWN_THRESHOLDS.get(model, Thresholds())


def bundle_id(manifest: Manifest) -> str:
    """Short hash over every field of a manifest that changes what is computed."""
    fields = msgspec.to_builtins(manifest)
    computed = {name: value for name, value in fields.items() if name not in _DESCRIPTIVE}
    if "words" in computed:
        for name in ("cosine_min", "model"):
            del computed["words"][name]
    for name in ("graphs", "artifacts"):
        computed[name] = sorted(json.dumps(record, sort_keys=True) for record in computed[name])
    text = json.dumps(computed, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]


def with_id(manifest: Manifest) -> Manifest:
    """The manifest with the id that it should have."""
    return msgspec.structs.replace(manifest, id=bundle_id(manifest))


def check_manifest(manifest: Manifest, path: Path) -> None:
    """Hold the parts of a manifest against one another.

    Args:
        manifest: as it was read or is to be written.
        path: the bundle, for the messages.

    Raises:
        BundleError: they do not fit.
        IncompatibleArtifactError: a word that this samedge does not know.
    """
    _check_words("a graph with role", {graph.role for graph in manifest.graphs}, _ROLES, path)
    _check_words("prompts of kind", set(manifest.prompts), PROMPT_KINDS, path)
    problem = (
        _file_problem(manifest)
        or _graph_problem(manifest)
        or _frame_problem(manifest)
        or _words_problem(manifest)
    )
    if problem is None and not manifest.prompts:
        problem = "understands no kind of prompt"
    if problem:
        raise BundleError(f"{path}: {MANIFEST_NAME} {problem}: export the bundle again.")


_ROLES = tuple(map(str, Role))


def _check_words(what: str, given: set[str], known: Sequence[str], path: Path) -> None:
    for word in sorted(given - set(known)):
        raise IncompatibleArtifactError(
            f"{path}: {MANIFEST_NAME} has {what} {word!r}, and this samedge knows "
            f"{', '.join(known)}: it was written by a newer samedge. Upgrade with "
            "`pip install -U samedge`, or export the bundle again."
        )


def _file_problem(manifest: Manifest) -> str | None:
    paths = [record.path for record in manifest.artifacts]
    names = [name for record in manifest.artifacts for name in (record.path, *record.files)]
    unsafe = [name for name in names if not is_safe_path(name)]
    if len(set(paths)) != len(paths):
        return f"has an artifact twice: {', '.join(paths)}"
    if unsafe:
        return f"names {unsafe[0]!r}, which leaves the folder"
    if any(not record.files for record in manifest.artifacts):
        return "has an artifact without files"
    return None


def _graph_problem(manifest: Manifest) -> str | None:
    roles = [graph.role for graph in manifest.graphs]
    paths = {record.path for record in manifest.artifacts}
    if len(set(roles)) != len(roles):
        return f"has a role twice: {', '.join(roles)}"
    for graph in manifest.graphs:
        if graph.artifact not in paths:
            return f"has a {graph.role} in {graph.artifact!r}, which is none of its artifacts"
        for shapes in graph.shapes:
            problem = _shape_problem(graph, shapes)
            if problem:
                return f"has shapes of the {graph.role} that do not fit: {problem}"
    return None


def _shape_problem(graph: GraphRecord, shapes: Shape) -> str | None:
    known = {tensor.name: tensor.shape for tensor in graph.inputs}
    for name, shape in shapes.items():
        if name not in known:
            return f"{name!r} is no input of it"
        if len(known[name]) != len(shape):
            return f"{name!r} has {len(known[name])} axes and not {len(shape)}"
    return None


def _frame_problem(manifest: Manifest) -> str | None:
    frame = manifest.frame
    if manifest.input_size != frame.target_length:
        return f"has input_size {manifest.input_size}, and its frame {frame.target_length}"
    encoder = manifest.graph(Role.ENCODER)
    for tensor in () if encoder is None else encoder.inputs:
        if tensor.name == IMAGE and tensor.shape != list(frame.input_shape):
            return f"has an encoder for {tensor.shape}, and its frame gives {frame.input_shape}"
    return None


def _words_problem(manifest: Manifest) -> str | None:
    words = manifest.own_words  # a region encoder and the prompt's kind go with them
    if (words is None) == (manifest.graph(Role.REGION_ENCODER) is not None):
        return f"has words and no {Role.REGION_ENCODER}, or the other way round"
    if (words is None) == (TEXT in manifest.prompts):
        return "understands text and has no words, or the other way round"
    if words is None:
        return None
    if (words.merges is None) == (manifest.graph(Role.TEXT_ENCODER) is not None):
        return f"has a {Role.TEXT_ENCODER} and no merges, or the other way round"
    named = {words.table, words.merges or words.table}
    if missing := named - {record.path for record in manifest.artifacts}:
        return f"has words in {missing.pop()!r}, which is none of its artifacts"
    wrong = [template for template in words.templates if template.count("{}") != 1]
    return f"has templates without one {{}}: {wrong}" if wrong else None


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
