"""Where and how a bundle's graphs are opened: device and options of a backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from samedge.bundle.bundle import Bundle
from samedge.errors import OptionError
from samedge.pixels.frames import Frame
from samedge.pixels.resizing import PREPROCESSES
from samedge.predict.graphs import check_backend
from samedge.runtimes.base import Backend

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
        OptionError: ``threads`` is not positive.
    """
    check_backend(bundle, backend)
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


def _thread_option(threads: int | None) -> dict[str, int]:
    if threads is None:
        return {}
    if threads < 1:
        raise OptionError(f"threads is {threads}, expected 1 or more.")
    return {"threads": threads}
