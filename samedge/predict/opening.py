"""What opens a bundle's graphs, and where and how: backend, device and options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import GraphRecord
from samedge.errors import BackendUnavailableError, IncompatibleArtifactError, OptionError
from samedge.pixels.frames import Frame
from samedge.pixels.resizing import PREPROCESSES
from samedge.runtimes.base import Backend, Probe

Preprocess = Literal["exact", "fast"]
"""How images are made smaller."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """What a backend is told when it opens a bundle's graphs."""

    device: str | None
    options: Mapping[str, Any]


def placement(
    bundle: Bundle, backend: Backend, *, device: str | None, threads: int | None
) -> Placement:
    """The bundle's own device and options on its own backend, and what the caller wishes.

    Raises:
        IncompatibleArtifactError: the backend does not open the bundle's format.
        OptionError: ``threads`` is not positive, or ``device`` no text.
    """
    check_backend(bundle, backend)
    if not isinstance(device, str | None):
        raise OptionError(f"device is {device!r}, expected the backend's own text, such as 'CPU'.")
    is_own = backend.name == bundle.manifest.backend
    options = {**(bundle.manifest.options if is_own else {}), **_thread_option(threads)}
    return Placement(device or (bundle.manifest.device if is_own else None), options)


def frame_with(frame: Frame, preprocess: Preprocess | None) -> Frame:
    """A bundle's frame, with the caller's rule where there is one.

    Raises:
        OptionError: there is no such rule.
    """
    if preprocess is None:
        return frame
    if preprocess not in PREPROCESSES:
        known = " or ".join(map(repr, PREPROCESSES))
        raise OptionError(f"preprocess is {preprocess!r}, expected {known}.")
    return frame.with_rule(preprocess)


def _thread_option(threads: object) -> dict[str, int]:
    if threads is None:
        return {}
    if not isinstance(threads, int) or threads < 1:
        raise OptionError(f"threads is {threads!r}, expected a whole number of 1 or more.")
    return {"threads": threads}


def best_backend(bundle: Bundle) -> tuple[Backend, Probe]:
    """The backend to open a bundle with here, and what it found: the bundle's own, or one that
    opens the same formats.

    Raises:
        BackendUnavailableError: none is here; ends in the command that installs the bundle's own.
    """
    own = runtimes.get(bundle.manifest.backend)
    probe = own.probe()
    if probe.available:  # then the other libraries are not even imported
        return own, probe
    for name in runtimes.names():
        other = runtimes.get(name)
        if name != own.name and not _foreign(bundle, other):
            found = other.probe()
            if found.available:
                return other, found
    raise BackendUnavailableError(
        f"No backend here opens {bundle.path}: {probe.detail} Fix: {probe.fix}"
    )


def opens(backend: Backend, bundle: Bundle) -> bool:
    """Whether a backend opens the formats of all of a bundle's graphs."""
    return not _foreign(bundle, backend)


def check_backend(bundle: Bundle, backend: Backend) -> None:
    """Refuse a backend that does not open the format of one of a bundle's graphs.

    Raises:
        IncompatibleArtifactError: it does not.
    """
    for graph in _foreign(bundle, backend)[:1]:
        raise IncompatibleArtifactError(
            f"Backend {backend.name!r} opens {', '.join(backend.formats)}, and {graph.artifact} "
            f"of {bundle.path} is {graph.format}: use backend {bundle.manifest.backend!r}, or "
            "export for another target."
        )


def _foreign(bundle: Bundle, backend: Backend) -> list[GraphRecord]:
    return [g for g in bundle.manifest.own_graphs if g.format not in backend.formats]
