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
    from samedge.targets import TARGETS

    table = output.table("Target", "Backend", "Device", "Precisions", "What it is")
    for row in TARGETS.values():
        precisions = ", ".join(precision.value for precision in row.precisions)
        table.add_row(row.name, row.backend, row.device, precisions, row.summary)
    notes = [f"{row.name}: {note}." for row in TARGETS.values() for note in row.notes]
    document = {"targets": [_document(row) for row in TARGETS.values()]}
    out.result(document, table, *notes)


def _document(row: Target) -> dict[str, object]:
    return {
        "name": row.name,
        "summary": row.summary,
        "backend": row.backend,
        "device": row.device,
        "format": row.format,
        "precisions": row.precisions,
        "default_precision": row.default_precision,
        "prompt_buckets": row.prompt_buckets,
        "notes": row.notes,
    }


COMMAND = targets
