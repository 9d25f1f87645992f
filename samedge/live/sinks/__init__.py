"""Where followed frames go: one file a kind of sink, found by its name."""

from __future__ import annotations

from pathlib import Path

from samedge import _discovery
from samedge.errors import OptionError
from samedge.live.sinks.base import Sink


def names() -> tuple[str, ...]:
    """Names of all kinds of sinks."""
    return _discovery.names(__name__)


def get(name: str) -> Sink:
    """One kind of sink.

    Raises:
        UnknownNameError: there is none of this name.
    """
    sink: Sink = _discovery.load(__name__, name, attribute="SINK")
    return sink


def from_path(path: Path) -> str:
    """The kind that a file's ending asks for; no ending is a folder of masks.

    Raises:
        OptionError: an ending that none writes.
    """
    kinds = {name: get(name) for name in names()}
    for name, sink in kinds.items():
        if path.suffix.lower() in sink.endings:
            return name
    endings = ", ".join(ending or "a folder" for sink in kinds.values() for ending in sink.endings)
    raise OptionError(f"{path} has an ending that nothing is written to: expected {endings}.")
