"""What another room puts beside the server's own operations: further ones, and files of a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from samedge.web.server.operations import Operation
from samedge.web.server.service import Service


@dataclasses.dataclass(frozen=True)
class Extension:
    """Operations and files of one server; guards, limits and the model's thread are the server's.

    Attributes:
        operations: on addresses that the server has none for.
        files: of a page by their place in the site; one of the server's own names takes its place.
    """

    operations: tuple[Operation, ...] = ()
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict)


Extend = Callable[[Service], Extension]
"""Makes the extension of a server from its service."""
