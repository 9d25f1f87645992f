"""``--tiles`` and ``--tile-overlap``: the same for one picture and for a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from samedge.pixels.tiles import Tiling

tiles_option = click.option(
    "--tiles",
    type=click.IntRange(64),
    metavar="PX",
    help="Read and segment the picture in overlapping tiles of so many pixels a side: for pictures "
    "that are too large to be held, and for small things of large ones.",
)

overlap_option = click.option(
    "--tile-overlap",
    type=click.IntRange(0),
    metavar="PX",
    help="Pixels that neighbouring tiles share at least; longer things are joined from their "
    "pieces.  [default: an eighth of the tile]",
)


def tiling_of(tiles: int | None, tile_overlap: int | None) -> Tiling | None:
    """How pictures are cut, or ``None`` where they are not.

    Raises:
        click.UsageError: an overlap without tiles.
        OptionError: there are no such tiles.
    """
    from samedge.pixels.tiles import Tiling

    if tiles is None:
        if tile_overlap is not None:
            raise click.UsageError("--tile-overlap is one of --tiles: give --tiles, too.")
        return None
    return Tiling(tiles, tile_overlap)
