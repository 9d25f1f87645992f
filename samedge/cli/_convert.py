"""``samedge convert``: annotations from one format to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge import _discovery
from samedge.cli import output
from samedge.cli.failures import error_record
from samedge.cli.name_types import OneOf

if TYPE_CHECKING:
    from samedge.formats.convert import Conversion

EPILOG = """\b
Examples:
  samedge convert instances.json labels/ --to yolo
  samedge convert masks/ masks.json --from png
  samedge convert annotations.xml instances.json
  samedge convert yolo/ outlines/ --to labelme --images photos/
  samedge convert instances.json drawings/ --to overlay --images photos/
"""

FORMATS = _discovery.names("samedge.formats")


@click.command("convert", epilog=EPILOG)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "source_format",
    type=OneOf("format", FORMATS),
    metavar="FORMAT",
    help=f"What IN is: {', '.join(FORMATS)}. [default: by its content]",
)
@click.option(
    "--to",
    "target_format",
    type=OneOf("format", FORMATS),
    metavar="FORMAT",
    help="What OUT is to be. [default: by its ending: .json coco, .xml cvat, .svg, .geojson]",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the images, for formats that do not say how large they are, and for drawings.",
)
@output.standard_options
def convert(
    out: output.Output,
    *,
    source: Path,
    target: Path,
    source_format: str | None,
    target_format: str | None,
    images: Path | None,
) -> None:
    """Convert masks and annotations between formats, and say what is lost.

    A file or folder is read image by image. What the new format has no place for, what becomes
    something else in it, and entries that could not be read are counted. An image whose masks
    cannot be read at all is listed at the end; the others are converted. Outlines are exact to the
    pixel for the programs that read them.
    """
    from samedge.formats.convert import convert as library

    with out.progress("Converting") as bar:
        made = library(
            source,
            target,
            source_format=source_format,
            target_format=target_format,
            images=images,
            progress=bar.progress,
        )
    document = {
        "source": {"path": source, "format": made.source_format},
        "target": {"path": target, "format": made.target_format},
        "images": made.images,
        "masks": made.masks,
        "files": made.files,
        "lost": made.lost,
        "changed": made.changed,
        "left_out": made.left_out,
        "failures": [
            {"image": one.name, "error": error_record(one.error, command=out.command)}
            for one in made.unread
        ],
    }
    out.result(document, *_lines(made, target))
    out.failed([(one.name, one.error) for one in made.unread])


def _lines(made: Conversion, target: Path) -> list[str]:
    lines = [
        f"{made.masks} masks of {made.images} images, {made.source_format} to "
        f"{made.target_format}: wrote {target}"
    ]
    for title, counts in (
        (f"lost, as {made.target_format} has no place for it", made.lost),
        ("changed", made.changed),
        ("left out", made.left_out),
    ):
        lines += [f"{title}: {count} {what}" for what, count in counts.items()]
    return lines


COMMAND = convert
