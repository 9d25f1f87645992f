"""``samedge models``: the models that can be exported, with sizes and licences."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from samedge.cli import output

if TYPE_CHECKING:
    from samedge.models.zoo import ModelEntry

EPILOG = """\b
Examples:
  samedge models
  samedge models --json | jq -r '.models[] | select(.is_present) | .name'
"""


@click.command("models", epilog=EPILOG)
@output.standard_options
def models(out: output.Output) -> None:
    """List what `samedge export --model` takes: input, size, licence, and whether it is here.

    A model that is not here is downloaded into the user's cache when it is first exported.
    """
    from samedge.models import zoo

    entries = zoo.models()
    columns = ("Model", "Input px", "Params", "File", "Licence", "Here", "What it is")
    table = output.table(*columns)
    for entry in entries:
        table.add_row(
            entry.name,
            str(entry.image_size),
            _millions(entry.parameters),
            f"{_size_bytes(entry) / 1e6:.0f} MB",
            entry.licence,
            "yes" if entry.is_present else "no",
            entry.summary,
        )
    out.result({"models": [_document(entry) for entry in entries]}, table)


def _millions(parameters: int | None) -> str:
    return "-" if parameters is None else f"{parameters / 1e6:.1f} M"


def _size_bytes(entry: ModelEntry) -> int:
    """Size of the weights' file; an embedded model's is that of the file in the package."""
    return entry.path.stat().st_size if entry.size_bytes is None else entry.size_bytes


def _document(entry: ModelEntry) -> dict[str, Any]:
    return {
        **dataclasses.asdict(entry),
        "size_bytes": _size_bytes(entry),
        "is_embedded": entry.is_embedded,
        "is_present": entry.is_present,
        "path": str(entry.path),
    }


COMMAND = models
