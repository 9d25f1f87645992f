"""Make a trained student the embedded model: its weights and its ready `cpu` bundle.

    python tools/embed.py runs/nano/last.safetensors --name samedge-nano --bundle

Writes `samedge/models/weights/NAME.safetensors` with the licence and origin of an embedded model;
with --bundle it also exports the `cpu` bundle in `samedge/data`: a first run needs no torch.
"""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

import samedge
from samedge.export import export
from samedge.models.checkpoints import load_checkpoint, save_checkpoint
from samedge.models.zoo import WEIGHTS

LICENCE = "Apache-2.0"
ORIGIN = "trained by samedge from ImageNet weights; data and recipe in docs/model-card.md"


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", default="samedge-nano", show_default=True)
@click.option("--bundle", is_flag=True, help="Also export the bundle that the package carries.")
def main(weights: Path, name: str, *, bundle: bool) -> None:
    """Embed WEIGHTS, a file that `samedge distill` wrote."""
    model = load_checkpoint(weights)
    assert model.spec is not None, "a file of `samedge distill` describes its model"
    spec = msgspec.structs.replace(model.spec, name=name, licence=LICENCE, origin=ORIGIN)
    WEIGHTS.mkdir(exist_ok=True)
    target = WEIGHTS / f"{name}.safetensors"
    save_checkpoint(model, target, spec=spec)
    click.echo(f"{target}: {target.stat().st_size} bytes", err=True)
    if bundle:
        folder = Path(samedge.__file__).parent / "data" / f"{name.removeprefix('samedge-')}-cpu"
        result = export(name, "cpu", output=folder)
        click.echo(f"{folder}: bundle {result.bundle.manifest.id}", err=True)


if __name__ == "__main__":
    main()
