"""Opens what is measured, and writes down exactly what it is."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from samedge import runtimes
from samedge.bundle.bundle import Bundle, bundle_path, embedded_path
from samedge.evaluation import baselines
from samedge.evaluation.evaluate import Candidate
from samedge.predict.opening import best_backend
from samedge.predict.predictor import Predictor
from samedge.records import Subject

MEASURED_ROLES = ("encoder", "decoder")


def open_predictor(
    bundle: str | None,
    *,
    backend: str | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> tuple[Predictor, dict[str, Any]]:
    """Open a bundle with both graphs loaded.

    Args:
        bundle: its path, or an embedded model's name; ``None`` is the embedded model.
        backend: ``None`` is the bundle's own, or for an embedded model the best one here.
        device: the backend's own device string; ``None`` is the bundle's.
        threads: processor threads; ``None`` leaves it to the backend.

    Returns:
        The predictor, and the fields of its ``records.Subject`` with ``artifact_bytes`` and
        ``residency``.

    Raises:
        BundleError, BackendUnavailableError, InferenceError: as ``Predictor.from_bundle``.
    """
    path = bundle_path(bundle)
    if backend is None and path == embedded_path():
        backend = best_backend(Bundle.open(path, verify=False))
    predictor = Predictor.from_bundle(path, backend=backend, device=device, threads=threads)
    predictor.load()
    described = msgspec.to_builtins(subject(predictor, name=bundle))
    facts = {"artifact_bytes": artifact_bytes(predictor), "residency": predictor.residency()}
    return predictor, {**described, **facts}


def runs_on(bundle: str | None, backend: str | None) -> bool:
    """Whether a backend opens a bundle's format, so that the two can be measured together.

    Args:
        bundle: as for ``open_predictor``.
        backend: ``None`` is the bundle's own, which always does.

    Raises:
        BundleError: the bundle is missing.
        UnknownNameError: there is no backend of such a name.
    """
    if backend is None:
        return True
    formats = runtimes.get(backend).formats
    found = Bundle.open(bundle_path(bundle), verify=False)
    return all(found.artifact(role).format in formats for role in MEASURED_ROLES)


def subject(predictor: Predictor, *, name: str | None = None) -> Subject:
    """Who a predictor's figures belong to.

    Args:
        predictor: an open one.
        name: the bundle as the user named it; ``None`` takes the model's name.
    """
    manifest, active = predictor.manifest, predictor.active_backend()
    hashes = [predictor.bundle.artifact(role).sha256 for role in MEASURED_ROLES]
    return Subject(
        bundle=name or manifest.model.name,
        backend=active.name,
        device=active.device,
        backend_version=active.version,
        bundle_id=manifest.id,
        model=manifest.model.name,
        target=manifest.target,
        precision=manifest.precision,
        input_size=manifest.input_size,
        artifact_sha256=hashlib.sha256("".join(hashes).encode("ascii")).hexdigest(),
    )


def artifact_bytes(predictor: Predictor) -> int:
    """Bytes of the encoder's and the decoder's files."""
    records = [predictor.bundle.artifact(role) for role in MEASURED_ROLES]
    return sum({record.path: record.bytes for record in records}.values())  # may share a file


def open_candidate(
    bundle: str | None, *, backend: str | None = None, device: str | None = None
) -> Candidate:
    """What ``samedge eval`` evaluates: a bundle or a baseline.

    Args:
        bundle: a path, ``baseline:box``, ``baseline:grabcut``, or ``None`` for the embedded model.
        backend: ``None`` is the bundle's own; a baseline has only one.
        device: the backend's own device string.

    Raises:
        UnknownNameError: no such baseline.
        BundleError, BackendUnavailableError, InferenceError: as ``Predictor.from_bundle``.
    """
    if bundle is not None and bundle.startswith(baselines.PREFIX):
        library = {"box": "numpy", "grabcut": "opencv"}
        segmenter = baselines.baseline(bundle)
        named = Subject(bundle=bundle, backend=library[segmenter.name], device="cpu")
        return Candidate(named, segmenter, boxes_only=True)
    predictor, _ = open_predictor(bundle, backend=backend, device=device)
    return Candidate(subject(predictor, name=bundle), predictor)
