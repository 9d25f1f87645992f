"""Make a trained student the embedded model: its weights and its ready `cpu` bundle.

    python tools/embed.py runs/nano/last.safetensors --name samedge-nano --bundle
    python tools/embed.py --words samedge/data/nano-cpu
    python tools/embed.py --manifest samedge/data/nano-cpu

Writes `samedge/models/weights/NAME.safetensors` with the licence and origin of an embedded model;
with --bundle it also exports the `cpu` bundle in `samedge/data`, with the embedded model of words
where the bundle there has it: a first run needs no torch. The package carries weights twice, for
export and to run; to keep the wheel small the former are rounded to half precision, and the bundle
is made of the rounded ones.
With --words only the model of words is added to a bundle that is there. With --manifest it brings
the `bundle.json` of an embedded bundle to today's schema, to the fast preprocessing, and to the
thresholds that its decoder's plug-in and the embedded model of words have today, and its words to
those of that model (`tools/refit_words.py` fits them, and leaves the region encoder as it is).
Every other file stays.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click
import msgspec

import samedge
from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import MANIFEST_NAME, Manifest, with_id
from samedge.bundle.reading import as_written, decode_manifest
from samedge.export import export
from samedge.export.word_addition import add_words
from samedge.export.words import words_request
from samedge.models.checkpoints import load_checkpoint, save_checkpoint
from samedge.models.decoders import thresholds_of
from samedge.models.promptable import PromptableModel
from samedge.models.words.head import EMBEDDED, WordHead, load_head
from samedge.models.zoo import WEIGHTS, load_model

LICENCE = "Apache-2.0"
ORIGIN = "trained by samedge from ImageNet weights; data and recipe in docs/model-card.md"


@click.command()
@click.argument(
    "weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False
)
@click.option("--name", default="samedge-nano", show_default=True)
@click.option("--bundle", is_flag=True, help="Also export the bundle that the package carries.")
@click.option(
    "--words",
    "wordless",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Only put the embedded model of words into this bundle.",
)
@click.option(
    "--manifest",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Only rewrite this embedded bundle's manifest: today's schema and thresholds.",
)
def main(
    weights: Path | None, name: str, *, bundle: bool, wordless: Path | None, folder: Path | None
) -> None:
    """Embed WEIGHTS, a file that `samedge distill` wrote."""
    if folder is not None:
        rewritten(folder)
    elif wordless is not None:
        found = add_words(Bundle.open(wordless), words_request(EMBEDDED))
        click.echo(f"{wordless}: bundle {found.id}", err=True)
    elif weights is not None:
        embedded(weights, name, bundle=bundle)
    else:
        raise click.UsageError("Give WEIGHTS, --words FOLDER, or --manifest FOLDER.")


def rewritten(folder: Path) -> None:
    """Bring an embedded bundle's manifest to today's schema and thresholds."""
    manifest = Bundle.open(folder).manifest
    thresholds = thresholds_of(load_model(manifest.model.name))
    words = manifest.own_words
    if words is not None and words.model.name == EMBEDDED:
        manifest = with_words_of(load_head(), manifest, folder)
    manifest = with_id(msgspec.structs.replace(manifest, thresholds=thresholds))
    text = as_written(manifest)
    assert decode_manifest(text, folder) == manifest
    (folder / MANIFEST_NAME).write_bytes(text)
    click.echo(f"{folder}: bundle {Bundle.open(folder).id}", err=True)


def with_words_of(head: WordHead, manifest: Manifest, folder: Path) -> Manifest:
    """The manifest with a model's table of words, which is written, and with its threshold."""
    words = manifest.own_words
    assert words is not None, "the caller asks for bundles with words"
    content = head.table.to_bytes()
    (folder / words.table).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    artifacts = [
        one
        if one.path != words.table
        else msgspec.structs.replace(
            one, bytes=len(content), sha256=digest, files={words.table: digest}
        )
        for one in manifest.artifacts
    ]
    label = head.spec.label_threshold
    words = msgspec.structs.replace(
        words,
        threshold=head.spec.threshold,
        label_threshold=msgspec.UNSET if label is None else label,
    )
    return msgspec.structs.replace(manifest, artifacts=artifacts, words=words)


def embedded(weights: Path, name: str, *, bundle: bool) -> None:
    """Write the weights of an embedded model, and its bundle."""
    model = load_checkpoint(weights)
    assert model.spec is not None, "a file of `samedge distill` describes its model"
    spec = msgspec.structs.replace(model.spec, name=name, licence=LICENCE, origin=ORIGIN)
    halve(model)
    WEIGHTS.mkdir(exist_ok=True)
    target = WEIGHTS / f"{name}.safetensors"
    save_checkpoint(model, target, spec=spec)
    click.echo(f"{target}: {target.stat().st_size} bytes", err=True)
    if bundle:
        folder = Path(samedge.__file__).parent / "data" / f"{name.removeprefix('samedge-')}-cpu"
        has_words = Bundle.open(folder).manifest.own_words is not None
        words = words_request(EMBEDDED) if has_words else None
        result = export(name, "cpu", output=folder, words=words)
        click.echo(f"{folder}: bundle {result.bundle.manifest.id}", err=True)


def halve(model: PromptableModel) -> None:
    """Round products' weights to half precision, as they are stored; loading makes them fp32.

    Biases and batch norms stay: they are few, and a variance may be out of fp16's range.
    """
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data = parameter.data.half()


if __name__ == "__main__":
    main()
