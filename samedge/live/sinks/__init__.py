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


def from_path(path: Path, kind: str | None = None) -> str:
    """The kind that a file's ending asks for; no ending is a folder of masks.

    Args:
        path: of the file or folder.
        kind: what somebody named, which an ending of another kind contradicts.

    Raises:
        OptionError: an ending that none writes, or that is another kind's.
        UnknownNameError: there is no such kind.
    """
    kinds = {name: get(name) for name in names()}
    ending = path.suffix.lower()
    found = next((name for name, sink in kinds.items() if ending in sink.endings), None)
    if kind is not None:
        wanted = get(kind).endings
        if found not in (None, kind) and ending:
            raise OptionError(
                f"{path} is not written: {kind} goes to {_words(wanted)}, and its ending means "
                f"{found}. Change the ending, or name --format {found}."
            )
        return kind
    if found is None:
        every = tuple(one for sink in kinds.values() for one in sink.endings)
        raise OptionError(
            f"{path} has an ending that nothing is written to: expected {_words(every)}."
        )
    return found


def _words(endings: tuple[str, ...]) -> str:
    return ", ".join(ending or "a folder" for ending in endings)
