"""Four scenes tiled into one: small objects and many masks for one pass of the encoder.

A photo made smaller leaves most of a padded input empty; four of them fill it. After the mosaic of
Bochkovskiy et al., "YOLOv4", 2020, with tiles cut to fit so that no gap shows, and no resampling.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samedge.distill.scenes import Scene
from samedge.types import Array, Size

_Tile = tuple[slice, slice]


def mosaic(scenes: Sequence[Scene]) -> Scene:
    """Tile four scenes in two rows, each row as high as its lower scene, the wider row cut.

    Boxes are cut with their scenes; masks of which nothing is left are dropped.

    Args:
        scenes: four scenes, in reading order.
    """
    tiles, size = _layout([scene.size for scene in scenes])
    boxes, origins = [], []
    for number, (scene, tile) in enumerate(zip(scenes, tiles, strict=True)):
        cut = _cut_boxes(scene.boxes, tile)
        kept = np.flatnonzero((cut[:, 2:] > 0).all(1))
        boxes.append(cut[kept])
        origins += [(number, int(index)) for index in kept]

    def read_image(_scale: float) -> Array:
        canvas = np.empty((*size, 3), np.uint8)
        for scene, tile in zip(scenes, tiles, strict=True):
            _fill(canvas, scene.read_image(1.0), tile)
        return canvas

    def read_mask(index: int) -> Array:
        number, mask = origins[index]
        canvas = np.zeros(size, np.uint8)
        _fill(canvas, scenes[number].read_mask(mask), tiles[number])
        return canvas

    return Scene(size=size, boxes=np.concatenate(boxes), read_image=read_image, read_mask=read_mask)


def _layout(sizes: Sequence[Size]) -> tuple[list[_Tile], Size]:
    """Where the four scenes go, and how large the mosaic is."""
    heights = [min(sizes[0][0], sizes[1][0]), min(sizes[2][0], sizes[3][0])]
    width = min(sizes[0][1] + sizes[1][1], sizes[2][1] + sizes[3][1])
    tiles = []
    for row, top in enumerate((0, heights[0])):
        first = min(sizes[2 * row][1], width)
        for left, right in ((0, first), (first, width)):
            tiles.append((slice(top, top + heights[row]), slice(left, right)))
    return tiles, (sum(heights), width)


def _fill(canvas: Array, pixels: Array, tile: _Tile) -> None:
    height, width = (side.stop - side.start for side in tile)
    canvas[tile] = pixels[:height, :width]


def _cut_boxes(boxes: Array, tile: _Tile) -> Array:
    """(n, 4) ``x, y, width, height`` moved into a tile and cut at its far sides."""
    height, width = (side.stop - side.start for side in tile)
    lows = boxes[:, :2].clip(max=(width, height))
    highs = (boxes[:, :2] + boxes[:, 2:]).clip(max=(width, height))
    origin = np.array([tile[1].start, tile[0].start], boxes.dtype)
    return np.concatenate([lows + origin, highs - lows], 1)
