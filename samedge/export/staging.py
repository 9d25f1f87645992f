"""A bundle that is not yet in its place: its graphs, its manifest, and what checks them here."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from samedge import runtimes
from samedge._version import __version__
from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import (
    SCHEMA,
    ArtifactRecord,
    GraphRecord,
    Manifest,
    WordsRecord,
    with_id,
)
from samedge.bundle.words import FILE_NAME as TABLE
from samedge.bundle.writer import BundleWriter
from samedge.export import base
from samedge.export.base import ExportedGraph, ExportRequest
from samedge.export.quantization import plan_of
from samedge.export.word_feeds import words_record
from samedge.files.lines import created_now
from samedge.machine.environment import isa
from samedge.models.decoders import thresholds_of
from samedge.runtimes.base import Backend
from samedge.targets import Target
from samedge.types import TEXT, Options, Precision

MERGES = "merges.txt.gz"


def staged(request: ExportRequest, writer: BundleWriter) -> Bundle:
    """Write a request's graphs into a writer's folder.

    Args:
        request: what to write.
        writer: where; nothing is committed.

    Returns:
        A bundle of those files whose manifest has no figures yet.

    Raises:
        ExportError: the platform's format cannot hold a graph, or a library failed.
    """
    exporter = base.get(request.target.format)
    graphs = exporter.export(request, writer.folder)
    request.steps.step("hashing")
    records = [described(writer, graph, request=request) for graph in graphs]
    remarks = [f"{graph.graph.role}: {note}" for graph in graphs for note in graph.notes]
    words = written_words(request, writer)
    manifest = _manifest(request, records, writer.artifacts, notes=remarks, words=words)
    return Bundle(writer.destination, writer.folder, manifest)


def checking(request: ExportRequest) -> tuple[Backend, str | None, Options]:
    """Backend, device and options that a request's files are checked with here."""
    target, exporter = request.target, base.get(request.target.format)
    backend = runtimes.get(exporter.check_backend(target))
    settings = {**backend.scratch_options, **exporter.check_settings(request)}
    if not is_platform(target):
        return backend, exporter.check_device, settings
    return backend, target.device, {**request.backend_options(), **settings}


def is_platform(target: Target) -> bool:
    """Whether files are checked with the very library and device that the platform has.

    Only then can latency tell precisions apart.
    """
    exporter = base.get(target.format)
    own_device = exporter.check_device in (None, target.device)
    return exporter.check_backend(target) == target.backend and own_device


def described(
    writer: BundleWriter, exported: ExportedGraph, *, request: ExportRequest
) -> GraphRecord:
    """What the manifest says of a graph that lies in a writer's folder."""
    graph = exported.graph
    return writer.graph(
        graph.role,
        exported.path,
        artifact_format=exported.format,
        precision=exported.precision.value,
        inputs=graph.input_records(),
        outputs=graph.output_records(),
        shapes=graph.shapes(request.buckets),
        extra_files=exported.extra_files,
        options=dict(exported.options),
        device=exported.device,
    )


def written_words(request: ExportRequest, writer: BundleWriter) -> WordsRecord | None:
    """Write the words and the tokenizer's merges of a request; ``None`` where it has none."""
    if request.words is None:
        return None
    (writer.folder / TABLE).write_bytes(request.words.table.to_bytes())
    merges = None
    if request.words.merges is not None:
        (writer.folder / MERGES).write_bytes(request.words.merges)
        merges = writer.file(MERGES)
    return words_record(request.words, table=writer.file(TABLE), merges=merges)


def _manifest(
    request: ExportRequest,
    graphs: Sequence[GraphRecord],
    artifacts: Sequence[ArtifactRecord],
    *,
    notes: Sequence[str],
    words: WordsRecord | None,
) -> Manifest:
    exporter, frame = base.get(request.target.format), request.model.frame
    versions = {"python": platform.python_version(), "samedge": __version__}
    manifest = Manifest(
        schema=SCHEMA,
        id="",
        samedge_version=__version__,
        created=created_now(),
        model=request.source,
        target=request.target.name,
        backend=request.target.backend,
        device=request.target.device,
        precision=request.precision.value,
        input_size=frame.target_length,
        frame=frame,
        prompts=[*request.model.prompt_kinds, *([] if words is None else [TEXT])],
        thresholds=thresholds_of(request.model),
        graphs=list(graphs),
        artifacts=list(artifacts),
        versions={**versions, **exporter.versions()},
        options=exporter.options(request),
        plan=_plan_rows(request),
        notes=[*notes, *request.target.notes_for(request.precision, isa())],
        words=words or UNSET,
    )
    return with_id(manifest)


def _plan_rows(request: ExportRequest) -> list[dict[str, Any]]:
    quantizes = request.precision is Precision.INT8 or request.plan is not None
    return plan_of(request).records() if quantizes else []
