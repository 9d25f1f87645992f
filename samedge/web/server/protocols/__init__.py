"""Interfaces of other programs on the same server: one file a program, ``PROTOCOL`` in it."""

from __future__ import annotations

from samedge import _discovery
from samedge.web.server.protocols.base import Protocol


def names() -> tuple[str, ...]:
    """Names of all protocols; nothing is imported."""
    return _discovery.names(__name__)


def get(name: str) -> Protocol:
    """The protocol of a name; ``-`` and ``_`` are the same.

    Raises:
        UnknownNameError: there is none; lists the known ones.
    """
    found = _discovery.load(__name__, name.replace("-", "_"), attribute="PROTOCOL")
    assert isinstance(found, Protocol)
    return found
