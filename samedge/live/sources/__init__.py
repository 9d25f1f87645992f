"""Where frames come from: one file a kind of source, found by its name."""

from __future__ import annotations

import os
import re
from pathlib import Path

from samedge import _discovery
from samedge.errors import SourceError
from samedge.live.sources.base import Source


def names() -> tuple[str, ...]:
    """Names of all kinds of sources."""
    return _discovery.names(__name__)


def get(name: str) -> Source:
    """One kind of source.

    Raises:
        UnknownNameError: there is none of this name.
    """
    source: Source = _discovery.load(__name__, name, attribute="SOURCE")
    return source


def find(spec: str) -> tuple[str, Source]:
    """The kind of source that reads ``spec``.

    Args:
        spec: what the user typed: a path, an address, a camera's number.

    Raises:
        SourceError: no kind does, or what it names is not there.
    """
    kinds = {name: get(name) for name in names()}
    for name, source in kinds.items():
        if source.claims(spec):
            return name, source
    forms = "; ".join(source.form for source in kinds.values())
    raise SourceError(f"{spec!r} is no source of video that is here{_why(spec)}. Expected {forms}.")


def _why(spec: str) -> str:
    if spec.startswith("file://"):
        return ": it is a file's address, give the path alone"
    if os.path.lexists(spec):
        is_broken = not os.path.exists(spec)  # noqa: PTH110 - any text is asked about
        return f": it is {'a broken link' if is_broken else 'a pipe or a device'}, give a file"
    if re.search(r"%0?\d*d|[*?]", Path(spec).name) and "://" not in spec:
        return ": it is a pattern of names, give the folder of the pictures"
    is_path = "://" not in spec and (os.sep in spec or "." in spec)
    return ": there is no such file or folder, check the path" if is_path else ""
