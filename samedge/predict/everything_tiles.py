"""Everything mode by tiles: pictures too large to be held, and small things of large ones.

Each tile goes through everything mode as an image of its own, and
:mod:`samedge.predict.everything_stitched` makes the picture's masks of them. In memory are a row of
tiles at most, one tile's search, and the masks as run lengths.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from samedge.formats.base import Format
from samedge.formats.destination import check_size
from samedge.pixels.boxes import Box
from samedge.pixels.frames import LOW_RES_STRIDE
from samedge.pixels.part_reading import Parts
from samedge.pixels.picture_parts import opened_in_parts
from samedge.pixels.sample_range import SampleRange
from samedge.pixels.tiles import Tiling
from samedge.predict.everything import AutomaticMask, EverythingConfig, segment_everything
from samedge.predict.everything_pieces import TileMasks
from samedge.predict.everything_stitched import stitched
from samedge.predict.predictor import Predictor
from samedge.predict.segmentation import Segmentation, segmented_file
from samedge.types import Array, Progress, Steps


class TileStore(Protocol):
    """Keeps the masks of tiles, so that work that was interrupted goes on."""

    def find(self, box: Box) -> Sequence[AutomaticMask] | None:
        """The masks of a tile that was done, or ``None``."""

    def keep(self, box: Box, masks: Sequence[AutomaticMask]) -> None:
        """Keep the masks of a tile."""


def segment_in_tiles(
    predictor: Predictor,
    source: str | Path | Array,
    *,
    tile: int = 2048,
    overlap: int | None = None,
    config: EverythingConfig | None = None,
    sample_range: SampleRange = "auto",
    progress: Progress | None = None,
) -> list[AutomaticMask]:
    """Find the masks of a picture, however large, part by part.

    Args:
        predictor: an open predictor.
        source: an image file, or an (H, W, 3) uint8 RGB array, which may be a ``numpy.memmap``.
        tile: side of a tile in pixels.
        overlap: pixels that neighbouring tiles share; ``None`` is an eighth of ``tile``.
        config: as of :func:`~samedge.predict.everything.segment_everything`, for each tile.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.
        progress: hears of every tile.

    Returns:
        Masks of distinct things in the picture's frame, the best ranked first. One that a tile's
        edge cuts, and whose rest no neighbour has, has ``is_cut``.

    Raises:
        ImageError: the file is no usable image.
        BackendUnavailableError: it is too large to be held, and the extra ``tiles`` is not here.
        OptionError: no such tiles.
        InferenceError: the backend failed.
    """
    tiling = Tiling(tile, overlap)
    source = Path(source) if isinstance(source, str) else source
    with opened_in_parts(source, sample_range=sample_range) as picture:
        return masks_of(predictor, picture, tiling=tiling, config=config, progress=progress)


def masks_of(
    predictor: Predictor,
    picture: Parts,
    *,
    tiling: Tiling,
    config: EverythingConfig | None = None,
    progress: Progress | None = None,
    store: TileStore | None = None,
) -> list[AutomaticMask]:
    """As :func:`segment_in_tiles`, of a picture that is open.

    Args:
        predictor: an open predictor.
        picture: open, none of its parts read yet.
        tiling: how it is cut.
        config: of everything mode.
        progress: hears of every tile.
        store: has the masks of tiles that were done before, and keeps those of others.
    """
    config = config or EverythingConfig()
    boxes = tiling.boxes(picture.size)
    steps = Steps(len(boxes), progress=progress)
    tiles = []
    for box in picture.in_order(boxes):
        found = store.find(box) if store is not None else None
        if found is None:
            found = segment_everything(predictor, picture.read(box), config=config)
            if store is not None:
                store.keep(box, found)
        tiles.append(TileMasks(box, found))
        steps.step()
    rules = config.rules(predictor.manifest)
    return stitched(
        tiles,
        size=picture.size,
        cell=LOW_RES_STRIDE / predictor.manifest.input_size,
        suppression=rules.crop_nms_threshold,
        stability_weight=rules.stability_weight,
        sigma=rules.soft_nms_sigma,
    )


def everything_in_tiles(
    predictor: Predictor,
    path: Path,
    *,
    tiling: Tiling,
    config: EverythingConfig,
    into: Format | None = None,
    name: str | None = None,
    sample_range: SampleRange = "auto",
    progress: Progress | None = None,
) -> Segmentation:
    """Find the masks of one image file by tiles.

    Args:
        predictor: an open predictor.
        path: the image's file.
        tiling: how it is cut.
        config: of everything mode.
        into: the format that the masks are to be written in.
        name: what files call the image; ``None`` is the file's own name.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.
        progress: hears of every tile.

    Raises:
        ImageError: the file is no usable image.
        BackendUnavailableError: it is too large to be held, and the extra ``tiles`` is not here.
        OptionError: ``into`` would hold masks of a picture that is too large for that.
        InferenceError: the backend failed.
    """
    with opened_for(path, into=into, sample_range=sample_range) as picture:
        start = time.perf_counter()
        masks = masks_of(predictor, picture, tiling=tiling, config=config, progress=progress)
        elapsed_ms = (time.perf_counter() - start) * 1000
        return segmented_file(
            predictor,
            path,
            records=(mask.record() for mask in masks),
            size=picture.size,
            pixels=picture.whole,
            timing_ms={"everything": elapsed_ms},
            name=name,
        )


@contextlib.contextmanager
def opened_for(
    path: Path, *, into: Format | None, sample_range: SampleRange = "auto"
) -> Iterator[Parts]:
    """Open an image file to be read by tiles, whose masks a format has to take.

    Args:
        path: the image's file.
        into: the format that the masks are to be written in.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.

    Raises:
        ImageError: the file is no usable image.
        BackendUnavailableError: it is too large to be held, and the extra ``tiles`` is not here.
        OptionError: ``into`` would hold masks of a picture that is too large for that.
    """
    with opened_in_parts(path, sample_range=sample_range) as picture:
        if into is not None:
            check_size(into, picture.size, name=str(path))
        yield picture
