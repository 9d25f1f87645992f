"""Names as people type them: one of a few, else an error that names the nearest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from samedge.errors import UnknownNameError

if TYPE_CHECKING:
    _StringType = click.ParamType[str]
else:
    _StringType = click.ParamType  # generic since click 8.4 only


class OneOf(_StringType):
    """One of some names; another is an ``UnknownNameError``, as everywhere in samedge.

    Args:
        kind: what they name, for the message.
        names: all of them.
    """

    name = "name"

    def __init__(self, kind: str, names: Sequence[str]) -> None:
        self.kind, self.names = kind, tuple(names)

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,  # noqa: ARG002
    ) -> str:
        """Check the name.

        Raises:
            UnknownNameError: it is none of them.
        """
        if value not in self.names:
            raise UnknownNameError(self.kind, str(value), self.names)
        return str(value)
