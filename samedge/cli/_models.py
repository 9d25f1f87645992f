"""``samedge models``: the models that can be exported, with sizes and licences."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from samedge.cli import output

if TYPE_CHECKING:
    from rich.table import Table

    from samedge.models.zoo import ModelEntry

EPILOG = """\b
Examples:
  samedge models
  samedge models --json | jq -r '.models[] | select(.is_present) | .name'
"""


@click.command("models", epilog=EPILOG)
@output.standard_options
def models(out: output.Output) -> None:
    """List what `samedge export --model` takes: input, size, licence, source, hash.

    A model that is not here is downloaded into the user's cache when it is first exported. -v
    shows from where.
    """
    from samedge.models import zoo

    entries = zoo.models()
    columns = ("Model", "Input", "Params", "File", "Licence", "Here", "What it is")
    table = output.table(*columns)
    for entry in entries:
        table.add_row(
            entry.name,
            str(entry.image_size),
            _millions(_parameters(entry)),
            f"{_size_bytes(entry) / 1e6:.0f} MB",
            entry.licence,
            "yes" if entry.is_present else "no",
            entry.summary,
        )
    documents = [_document(entry) for entry in entries]
    sources: list[Table | str] = ["", _sources(entries)] if out.verbosity > 0 else []
    out.result({"models": documents}, table, *sources)


def _sources(entries: Sequence[ModelEntry]) -> Table:
    """Where the weights come from, and their hashes; wide."""
    table = output.table("Model", "Weights from", "SHA-256")
    for entry in entries:
        table.add_row(entry.name, entry.address or "this package", _sha256(entry))
    return table


def _millions(parameters: int | None) -> str:
    return "-" if parameters is None else f"{parameters / 1e6:.1f} M"


def _size_bytes(entry: ModelEntry) -> int:
    """Size of the weights' file; an embedded model's is that of the file in the package."""
    return entry.path.stat().st_size if entry.size_bytes is None else entry.size_bytes


def _parameters(entry: ModelEntry) -> int | None:
    """Parameters of a model; an embedded one's are counted in its file."""
    if not entry.is_embedded:
        return entry.parameters
    from samedge.models.zoo import parameters_in

    return parameters_in(entry.path)


def _sha256(entry: ModelEntry) -> str:
    from samedge.bundle.manifest import file_hash

    return entry.sha256 or file_hash(entry.path)


def _document(entry: ModelEntry) -> dict[str, object]:
    return {
        **dataclasses.asdict(entry),
        "parameters": _parameters(entry),
        "sha256": _sha256(entry),
        "size_bytes": _size_bytes(entry),
        "is_embedded": entry.is_embedded,
        "is_present": entry.is_present,
        "path": str(entry.path),
    }


COMMAND = models
