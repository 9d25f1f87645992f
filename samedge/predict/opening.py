"""Opening a bundle's graphs: with which backend, and with what each file needs beside its options.

Where a bundle keeps the arithmetic on points in a graph of its own, the two decode as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.errors import BackendUnavailableError, IncompatibleArtifactError
from samedge.pixels.prompts import usual_shapes
from samedge.runtimes.base import Backend, Session
from samedge.runtimes.chained import ChainedSession

PROMPTS = "prompts"
"""Role of a graph that makes some of the decoder's inputs from points and labels."""


def open_graph(
    bundle: Bundle,
    role: str,
    backend: Backend,
    *,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Session:
    """Open the graph with a role.

    Args:
        bundle: where it lies.
        role: ``encoder`` or ``decoder``; a decoder comes with the ``prompts`` graph before it.
        backend: what opens it.
        device: the backend's own string; a file that names its own device keeps to that.
        options: for the backend, beside the file's own.

    Raises:
        BundleError: the bundle has none, or its files changed.
        InferenceError: the backend cannot open it.
    """
    session = _open(bundle, role, backend, device, options)
    has_prompts = any(record.role == PROMPTS for record in bundle.manifest.artifacts)
    if role != "decoder" or not has_prompts:
        return session
    try:
        return ChainedSession(_open(bundle, PROMPTS, backend, device, options), session)
    except BaseException:
        session.close()
        raise


def best_backend(bundle: Bundle) -> str:
    """Name of the backend to open a bundle with here: its own, or one that opens the same format.

    Raises:
        BackendUnavailableError: none is here; ends in the command that installs the bundle's own.
    """
    own = bundle.manifest.backend
    probe = runtimes.get(own).probe()
    if probe.available:  # then the other libraries are not even imported
        return own
    here = runtimes.available(bundle.artifact("decoder").format)
    if here:
        return here[0]
    raise BackendUnavailableError(
        f"No backend here opens {bundle.path}: {probe.detail} Fix: {probe.fix}"
    )


def check_backend(bundle: Bundle, backend: Backend) -> None:
    """Refuse a backend that does not open a bundle's format.

    Raises:
        IncompatibleArtifactError: it does not.
    """
    foreign = [
        record
        for record in bundle.manifest.artifacts
        if record.role in ("encoder", "decoder") and record.format not in backend.formats
    ]
    if foreign:
        raise IncompatibleArtifactError(
            f"Backend {backend.name!r} opens {', '.join(backend.formats)}, and {foreign[0].path} "
            f"of {bundle.path} is {foreign[0].format}: use backend {bundle.manifest.backend!r}, or "
            "export for another target."
        )


def _open(
    bundle: Bundle,
    role: str,
    backend: Backend,
    device: str | None,
    options: Mapping[str, Any] | None,
) -> Session:
    record = bundle.artifact(role)
    own = {**(options or {}), **record.options}
    if role == "decoder" and backend.has_usual_shapes:
        own.setdefault("usual_shapes", usual_shapes(bundle.manifest.input_size))
    return backend.open(bundle.artifact_path(role), device=record.device or device, options=own)
