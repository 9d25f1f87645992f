"""``samedge verify``: hashes, canary and parity of a bundle again, on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output

if TYPE_CHECKING:
    from samedge.proof.verification import Verification

EPILOG = """\b
Examples:
  samedge verify out/intel
  samedge verify out/intel --backend openvino --device GPU
  samedge verify out/intel --key maker.pub
  samedge verify vit-b.samedge --checkpoint sam_vit_b.pth --json
"""

_VERDICTS = {True: "passed", False: "FAILED", None: "left out"}


@click.command("verify", epilog=EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--backend", metavar="B", help="Library that runs it. [default: the bundle's own]")
@click.option("--device", metavar="D", help="Device of that library, such as cpu, GPU or NPU.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The weights that it was exported from, to compare with. [default: the named model's]",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="PEM",
    help="Public key of whoever should have signed it; checked before anything is run.",
)
@click.option(
    "--signature",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The signature. [default: BUNDLE.sig]",
)
@output.standard_options
def verify(
    out: output.Output,
    *,
    bundle: Path,
    backend: str | None,
    device: str | None,
    checkpoint: Path | None,
    key: Path | None,
    signature: Path | None,
) -> None:
    """Check that BUNDLE is unaltered and computes here what it computed at the export.

    BUNDLE is a folder, a `.samedge` file or the name of an embedded model.

    Exit code 1: altered, not signed by the owner of --key, or wrong answers to the canary. Exit
    code 3: its masks drift from the model's. Parity needs torch and the weights, and is left out
    where they are not at hand.
    """
    from samedge.bundle.bundle import bundle_path
    from samedge.proof.verification import verify_bundle

    if signature is not None and key is None:
        raise click.UsageError("--signature needs --key, the public key to check it with.")
    with out.progress("Verifying", total=3 if key is None else 4) as bar:
        found = verify_bundle(
            bundle_path(str(bundle)),
            backend=backend,
            device=device,
            checkpoint=checkpoint,
            progress=bar.progress,
            stage=bar.stage,
            key=key,
            signature=signature,
        )
    table = output.table("Check", "Result", "What was found")
    for check in found.checks:
        table.add_row(check.name, _VERDICTS[check.passed], check.detail)
    manifest, active = found.manifest, found.backend
    where = f"{active.name} {active.version}, device {active.device}"
    footer = f"bundle {manifest.id} ({manifest.model.name}, {manifest.precision}) on {where}"
    out.result(_document(found), table, footer)


def _document(found: Verification) -> dict[str, object]:
    manifest = found.manifest
    return {
        "bundle": {
            "path": str(found.path),
            "id": manifest.id,
            "model": manifest.model.name,
            "target": manifest.target,
            "precision": manifest.precision,
        },
        "backend": dataclasses.asdict(found.backend),
        "checks": [dataclasses.asdict(check) for check in found.checks],
    }


COMMAND = verify
