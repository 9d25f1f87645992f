"""A bundle that is not yet in its place: its graphs, its manifest, and what checks them here."""

from __future__ import annotations

import datetime
import platform
from typing import Any

from samedge import runtimes
from samedge._version import __version__
from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import SCHEMA, ArtifactRecord, Manifest, Preprocessing, bundle_id
from samedge.bundle.writer import BundleWriter
from samedge.export import base
from samedge.export.base import ExportedGraph, ExportRequest
from samedge.export.quantization import plan_of
from samedge.runtimes.base import Backend
from samedge.targets import Target
from samedge.types import Precision


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
    request.progress(note="hashing")
    records = [_artifact(writer, graph) for graph in graphs]
    remarks = [f"{graph.graph.role}: {note}" for graph in graphs for note in graph.notes]
    manifest = _manifest(request, records, exporter.versions(), remarks)
    return Bundle(writer.destination, writer.folder, manifest)


def checking(request: ExportRequest) -> tuple[Backend, str | None, dict[str, Any]]:
    """Backend, device and options that a request's files are checked with here."""
    target, exporter = request.target, base.get(request.target.format)
    backend = runtimes.get(exporter.check_backend(target))
    if not is_platform(target):
        return backend, exporter.check_device, dict(exporter.check_settings(request))
    options = {**request.backend_options(), **exporter.check_settings(request)}
    return backend, target.device, options


def is_platform(target: Target) -> bool:
    """Whether files are checked with the very library and device that the platform has.

    Only then can latency tell precisions apart.
    """
    exporter = base.get(target.format)
    own_device = exporter.check_device in (None, target.device)
    return exporter.check_backend(target) == target.backend and own_device


def _artifact(writer: BundleWriter, exported: ExportedGraph) -> ArtifactRecord:
    return writer.artifact(
        exported.graph.role,
        exported.path,
        artifact_format=exported.format,
        precision=exported.precision.value,
        inputs=exported.graph.input_records(),
        outputs=exported.graph.output_records(),
        extra_files=exported.extra_files,
        options=exported.options,
        device=exported.device,
    )


def _manifest(
    request: ExportRequest,
    records: list[ArtifactRecord],
    versions: dict[str, str],
    remarks: list[str],
) -> Manifest:
    now = datetime.datetime.now(datetime.timezone.utc)
    normalize = request.model.normalize
    return Manifest(
        schema=SCHEMA,
        id=bundle_id(records),
        samedge_version=__version__,
        created=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        model=request.source,
        target=request.target.name,
        backend=request.target.backend,
        device=request.target.device,
        precision=request.precision.value,
        input_size=request.model.image_size,
        preprocessing=Preprocessing(
            mean=[round(value, 4) for value in normalize.mean.flatten().tolist()],
            std=[round(value, 4) for value in normalize.std.flatten().tolist()],
        ),
        artifacts=records,
        prompt_buckets=[list(bucket) for bucket in request.buckets],
        versions={"python": platform.python_version(), "samedge": __version__, **versions},
        options=base.get(request.target.format).options(request),
        plan=_plan_rows(request),
        notes=[*remarks, *request.target.notes],
    )


def _plan_rows(request: ExportRequest) -> list[dict[str, Any]]:
    quantizes = request.precision is Precision.INT8 or request.plan is not None
    return plan_of(request).records() if quantizes else []
