"""``samedge targets``: the platforms that a model can be exported for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from samedge.cli import output

if TYPE_CHECKING:
    from samedge.targets import Target

EPILOG = """\b
Examples:
  samedge targets
  samedge targets --json | jq -r '.targets[].name'
"""


@click.command("targets", epilog=EPILOG)
@output.standard_options
def targets(out: output.Output) -> None:
    """List what `samedge export --target` takes, with backend, device, format and precisions."""
    from samedge.machine.environment import isa
    from samedge.targets import TARGETS

    table = output.table("Target", "Backend", "Device", "Precisions", "What it is")
    for row in TARGETS.values():
        precisions = ", ".join(precision.value for precision in row.precisions)
        table.add_row(row.name, row.backend, row.device, precisions, row.summary)
    here = isa()
    notes = [f"{row.name}: {note}." for row in TARGETS.values() for note in _notes(row, here)]
    others = [f"{', '.join(row.aliases)}: {row.name}" for row in TARGETS.values() if row.aliases]
    document = {"targets": [_document(row, here) for row in TARGETS.values()]}
    out.result(document, table, f"Also taken: {'; '.join(others)}.", *notes)


def _notes(row: Target, isa: list[str] | None) -> list[str]:
    """Of every precision, each once."""
    found = (note for precision in row.precisions for note in row.notes_for(precision, isa))
    return list(dict.fromkeys(found))


def _document(row: Target, isa: list[str] | None) -> dict[str, object]:
    return {
        "name": row.name,
        "aliases": row.aliases,
        "summary": row.summary,
        "backend": row.backend,
        "device": row.device,
        "format": row.format,
        "precisions": row.precisions,
        "default_precision": row.default_precision,
        "prompt_buckets": row.prompt_buckets,
        "notes": _notes(row, isa),
    }


COMMAND = targets
