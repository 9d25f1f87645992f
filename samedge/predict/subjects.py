"""Opens what is measured, and writes down exactly what it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from samedge import runtimes
from samedge.bundle.bundle import Bundle, bundle_path, is_embedded
from samedge.predict.focus import FocusMode
from samedge.predict.opening import Preprocess, opens
from samedge.predict.predictor import Predictor
from samedge.records import OpenedSubject, Subject

BundleNames = str | Path | Sequence[str | Path]
"""One bundle or several: paths, or names of embedded models."""


def bundle_names(bundles: BundleNames) -> tuple[str, ...]:
    """Bundles as the commands name them, each once."""
    several = [bundles] if isinstance(bundles, str | Path) else bundles
    return tuple(dict.fromkeys(map(str, several)))


def named_predictor(
    bundle: str | None,
    *,
    backend: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    focus: FocusMode = "never",
    refine: int | None = None,
    preprocess: Preprocess | None = None,
) -> Predictor:
    """A bundle as the commands name it; its graphs are loaded when they are needed.

    Args:
        bundle: its path, or an embedded model's name; ``None`` is the embedded model.
        backend: ``None`` is the bundle's own, or for an embedded model the best one here.
        device: the backend's own device string; ``None`` is the bundle's.
        threads: processor threads; ``None`` leaves it to the backend.
        focus: when small things get a second look.
        refine: how many times boxes are asked about again; ``None``: once with ``focus``.
        preprocess: how large images are made smaller; ``None`` as the bundle says.

    Raises:
        BundleError, BackendUnavailableError, InferenceError: as ``Predictor.from_bundle``.
    """
    path = bundle_path(bundle)
    return Predictor.from_bundle(
        path,
        backend=backend,
        device=device,
        threads=threads,
        any_backend=is_embedded(path),
        focus=focus,
        refine=refine,
        preprocess=preprocess,
    )


def open_predictor(
    bundle: str | None,
    *,
    backend: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    focus: FocusMode = "never",
    refine: int | None = None,
    preprocess: Preprocess | None = None,
) -> tuple[Predictor, OpenedSubject]:
    """Open a bundle with both graphs loaded; the arguments are those of :func:`named_predictor`.

    Returns:
        The predictor, and what it is.

    Raises:
        BundleError, BackendUnavailableError, InferenceError: as ``Predictor.from_bundle``.
    """
    predictor = named_predictor(
        bundle,
        backend=backend,
        device=device,
        threads=threads,
        focus=focus,
        refine=refine,
        preprocess=preprocess,
    )
    try:
        predictor.load()
        opened = OpenedSubject(
            subject=subject(predictor, name=bundle),
            artifact_bytes=artifact_bytes(predictor),
            residency=predictor.residency(),
        )
    except BaseException:
        predictor.close()
        raise
    return predictor, opened


def backends_for(bundle: str | None, backends: Sequence[str | None]) -> list[str | None]:
    """Those of some backends that open a bundle's formats, so that both can be measured together.

    Args:
        bundle: as for ``open_predictor``; it is opened once, without a look at its hashes.
        backends: names; ``None`` is the bundle's own, which always does.

    Raises:
        BundleError: the bundle is missing.
        UnknownNameError: there is no backend of such a name.
    """
    if all(name is None for name in backends):
        return list(backends)
    found = Bundle.open(bundle_path(bundle), verify=False)
    return [name for name in backends if name is None or opens(runtimes.get(name), found)]


def subject(predictor: Predictor, *, name: str | None = None) -> Subject:
    """Who a predictor's figures belong to.

    Args:
        predictor: an open one.
        name: the bundle as the user named it; ``None`` takes the model's name.
    """
    manifest, active = predictor.manifest, predictor.active_backend()
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
        preprocess=predictor.frame.rule,
        artifact_sha256=artifact_sha256(predictor.bundle),
    )


def artifact_sha256(bundle: Bundle) -> str:
    """One hash of the files of all graphs that samedge runs, in the manifest's order."""
    hashes = [bundle.artifact(graph.role).sha256 for graph in bundle.manifest.own_graphs]
    return hashlib.sha256("".join(hashes).encode("ascii")).hexdigest()


def artifact_bytes(predictor: Predictor) -> int:
    """Bytes of the files of all graphs that samedge runs."""
    return predictor.bundle.size_bytes
