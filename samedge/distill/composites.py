"""Synthetic pictures with exact masks: cut-outs pasted on photos or on procedural textures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from samedge.distill import cutout_effects
from samedge.distill.limits import check_range
from samedge.distill.scenes import Scene, read_rgb
from samedge.errors import DatasetError
from samedge.pixels.folder_listing import image_files
from samedge.pixels.picture_files import opened_picture
from samedge.types import Array, Size

OPAQUE = 127
"""A pixel belongs to a cut-out where its alpha is above this."""


@dataclasses.dataclass(frozen=True)
class CompositeConfig:
    """How pictures are composed. Shares are probabilities, 0..1.

    Attributes:
        size: side of a picture, px.
        objects: smallest and largest number of cut-outs.
        extent: smallest and largest longest side of a cut-out, as a share of the picture's side,
            drawn log-uniformly.
        texture_share: share of pictures on a texture, when there are photos too.
        rotation: largest rotation, degrees.
        colour: largest relative change of a cut-out's colour channels.
        blur: share of cut-outs that are blurred together with their alpha.
        min_visible: a cut-out is no longer marked when less than this share of it is visible.
        feather: share of cut-outs whose edge alone is softened over a few pixels.
        motion: share of cut-outs that are blurred along a line.
        match_light: share of cut-outs whose colour and contrast come near the picture's there.
        shadow: share of cut-outs that throw a soft shadow on what is below them.
        uneven_light: share of pictures under light that falls off to one side.
        chains: share of pictures in which every cut-out lies on an edge of the one before.

    The last six are 0: see ``docs/training-experiments.md``.
    """

    size: int = 512
    objects: tuple[int, int] = (3, 8)
    extent: tuple[float, float] = (0.04, 0.6)
    texture_share: float = 0.25
    rotation: float = 45.0
    colour: float = 0.3
    blur: float = 0.2
    min_visible: float = 0.25
    feather: float = 0.0
    motion: float = 0.0
    match_light: float = 0.0
    shadow: float = 0.0
    uneven_light: float = 0.0
    chains: float = 0.0

    def __post_init__(self) -> None:
        check_range(self, "texture_share", "colour", "blur", "min_visible", low=0, high=1)
        check_range(self, "feather", "motion", "match_light", low=0, high=1)
        check_range(self, "shadow", "uneven_light", "chains", low=0, high=1)
        check_range(self, "size", low=8, high=2**14)
        check_range(self, "objects", low=1, high=1000)
        check_range(self, "extent", low=0.001, high=4)
        check_range(self, "rotation", low=0, high=180)


class Composites:
    """Cut-outs with an alpha channel on photos or textures; later ones hide earlier ones.

    Args:
        cutouts: folder of RGBA pictures, each cropped to its object.
        backgrounds: folders of photos; textures only when empty.
        length: how many scenes count as one round.
        config: how pictures are composed.

    Raises:
        DatasetError: a folder is missing or holds no pictures.
    """

    def __init__(
        self,
        cutouts: Path,
        *,
        backgrounds: tuple[Path, ...] = (),
        length: int | None = None,
        config: CompositeConfig | None = None,
    ) -> None:
        self.cutouts = image_files(Path(cutouts))
        self.backgrounds = tuple(f for folder in backgrounds for f in image_files(Path(folder)))
        self.length = length or len(self.cutouts)
        self.config = config or CompositeConfig()

    def __len__(self) -> int:
        return self.length

    def scene(self, index: int, rng: np.random.Generator, /) -> Scene:
        """A picture composed from ``rng``; cut-out ``index`` is one of those in it.

        Raises:
            DatasetError: a picture cannot be read, or a cut-out has no alpha channel.
        """
        canvas = self._background(rng)
        count = int(rng.integers(self.config.objects[0], self.config.objects[1] + 1))
        numbers = [index % len(self.cutouts), *rng.integers(len(self.cutouts), size=count - 1)]
        owner = np.full(canvas.shape[:2], -1, np.int16)
        config, areas = self.config, []
        chained, before = _drawn(rng, config.chains), None
        for place, number in enumerate(numbers):
            cutout = self._varied(read_cutout(self.cutouts[int(number)]), rng)
            top, left = _corner(canvas, cutout, rng, before=before if chained else None)
            before = _Placed(top, left, *cutout.shape[:2])
            if _drawn(rng, config.match_light):
                under = canvas[cutout_effects.overlap(canvas, cutout, top=top, left=left)]
                cutout = cutout_effects.matched(cutout, under, rng=rng)
            if _drawn(rng, config.shadow):
                cutout_effects.cast_shadow(canvas, cutout, top=top, left=left, rng=rng)
            areas.append(paste(canvas, cutout, owner=owner, place=place, corner=(top, left)))
        if _drawn(rng, config.uneven_light):
            canvas = cutout_effects.unevenly_lit(canvas, rng)
        return _scene(canvas, owner, np.array(areas), min_visible=config.min_visible)

    def _background(self, rng: np.random.Generator) -> Array:
        size = self.config.size
        textured = rng.random() < self.config.texture_share
        if textured or not self.backgrounds:
            return texture((size, size), rng)
        path = self.backgrounds[int(rng.integers(len(self.backgrounds)))]
        photo = read_rgb(path, upright=True)
        height, width = photo.shape[:2]
        scale = size / max(height, width)
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        if shape == (width, height):
            return photo
        return np.asarray(cv2.resize(photo, shape, interpolation=cv2.INTER_AREA))

    def _varied(self, cutout: Array, rng: np.random.Generator) -> Array:
        """Scale, turn, mirror, recolour and blur a cut-out; (h, w, 4) uint8, premultiplied."""
        config = self.config
        low, high = np.log(config.extent)
        side = float(np.exp(rng.uniform(low, high))) * config.size
        angle = rng.uniform(-config.rotation, config.rotation)
        varied = turned(cutout, scale=side / max(cutout.shape[:2]), angle=angle)
        if rng.random() < 0.5:
            varied = varied[:, ::-1]
        varied = _recoloured(varied, rng, strength=config.colour)
        if rng.random() < config.blur:
            sigma = float(rng.uniform(0.4, 1.5))
            margin = int(np.ceil(2 * sigma))
            framed = np.pad(varied, ((margin, margin), (margin, margin), (0, 0)))
            varied = cv2.GaussianBlur(framed, (0, 0), sigma)
        if _drawn(rng, config.feather):
            varied = cutout_effects.feathered(varied, rng)
        if _drawn(rng, config.motion):
            varied = cutout_effects.moved(varied, rng)
        return varied


def read_cutout(path: Path) -> Array:
    """Decode a cut-out; (h, w, 4) uint8 RGBA with its colours multiplied by alpha.

    Premultiplied colours can be resized, turned and blurred without dark or bright fringes.

    Raises:
        DatasetError: not a picture, or one without an alpha channel.
    """
    try:
        with opened_picture(path) as (picture, _):
            if "A" not in picture.getbands() and "transparency" not in picture.info:
                raise DatasetError(f"{path} has mode {picture.mode}, expected an alpha channel.")
            return np.array(picture.convert("RGBA").convert("RGBa"))
    except (OSError, ValueError, SyntaxError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path} is not a readable picture ({error}): replace it.") from error


def turned(cutout: Array, *, scale: float, angle: float) -> Array:
    """Scale and rotate about the middle, on a canvas that holds all of it."""
    if scale < 1:
        shape = [max(1, round(side * scale)) for side in cutout.shape[1::-1]]
        cutout = cv2.resize(cutout, shape, interpolation=cv2.INTER_AREA)
        scale = 1.0
    height, width = cutout.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale)
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    columns = int(np.ceil(width * cosine + height * sine))
    rows = int(np.ceil(width * sine + height * cosine))
    matrix[:, 2] += (columns - width) / 2, (rows - height) / 2
    return np.asarray(cv2.warpAffine(cutout, matrix, (columns, rows), flags=cv2.INTER_LINEAR))


def _recoloured(cutout: Array, rng: np.random.Generator, *, strength: float) -> Array:
    """Multiply and shift the colour channels alike at every pixel; alpha stays."""
    gain = 1 + rng.uniform(-strength, strength, 3) * rng.random()
    shift = rng.uniform(-40, 40) * strength / 255
    matrix = np.diag([*gain, 1.0])
    matrix[:3, 3] = shift
    varied = cv2.transform(cutout, matrix)
    return np.asarray(np.minimum(varied, varied[..., 3:]))  # no colour is brighter than its alpha


class _Placed(NamedTuple):
    """Where a cut-out lies in its picture, px; it may hang over the border."""

    top: int
    left: int
    height: int
    width: int


def _drawn(rng: np.random.Generator, share: float) -> bool:
    """Whether something that happens to a share of them happens; draws nothing where none do."""
    return bool(share) and rng.random() < share


def _corner(
    canvas: Array, cutout: Array, rng: np.random.Generator, *, before: _Placed | None
) -> tuple[int, int]:
    """Top and left of a cut-out whose middle lies in the canvas, or on the edge of another.

    Up to three quarters of it may hang over the border.
    """
    height, width = cutout.shape[:2]
    if before is None:
        row, column = int(rng.integers(canvas.shape[0])), int(rng.integers(canvas.shape[1]))
    else:
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0)
        row = round(before.top + before.height / 2 * (1 + reach * np.sin(angle)))
        column = round(before.left + before.width / 2 * (1 + reach * np.cos(angle)))
        row = min(max(row, 0), canvas.shape[0] - 1)
        column = min(max(column, 0), canvas.shape[1] - 1)
    return row - height // 2, column - width // 2


def paste(
    canvas: Array, cutout: Array, *, owner: Array, place: int, corner: tuple[int, int]
) -> int:
    """Blend a cut-out into ``canvas`` and mark its pixels in ``owner``; returns its whole area."""
    top, left = corner
    rows, columns = cutout_effects.overlap(canvas, cutout, top=top, left=left)
    part = cutout[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    under = canvas[rows, columns]
    through = (255 - part[..., 3:]).astype(np.uint16)
    under[:] = part[..., :3] + ((under * through + 127) // 255).astype(np.uint8)
    owner[rows, columns][part[..., 3] > OPAQUE] = place
    return int((cutout[..., 3] > OPAQUE).sum())


def _scene(canvas: Array, owner: Array, areas: Array, *, min_visible: float) -> Scene:
    """A scene of the cut-outs that are still visible enough."""
    visible = np.bincount(owner[owner >= 0], minlength=len(areas))
    kept = np.flatnonzero((visible > 0) & (visible >= min_visible * areas))
    masks = [(owner == place).astype(np.uint8) for place in kept]
    boxes = np.array([cv2.boundingRect(mask) for mask in masks], np.float32).reshape(-1, 4)
    return Scene(
        size=(canvas.shape[0], canvas.shape[1]),
        boxes=boxes,
        read_image=lambda _scale: canvas,
        read_mask=lambda number: masks[number],
    )


def texture(size: Size, rng: np.random.Generator) -> Array:
    """A procedural texture: a colour gradient with smooth noise of several scales and stripes.

    Returns:
        (h, w, 3) uint8.
    """
    height, width = size
    corners = rng.uniform(0, 255, (2, 2, 3)).astype(np.float32)
    picture = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    for cells in (4, 16, 64):
        noise = rng.normal(0, rng.uniform(4, 24), (cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        angle, period = rng.uniform(0, np.pi), rng.uniform(6, 60)
        rows = np.arange(height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
        columns = np.arange(width, dtype=np.float32) * np.float32(np.cos(angle))
        stripes = np.sin((rows + columns) * np.float32(2 * np.pi / period))
        picture += stripes[..., None] * np.float32(rng.uniform(5, 40))
    grain = rng.standard_normal((height, width, 1), np.float32)
    picture += grain * np.float32(rng.uniform(0, 6))
    return np.asarray(picture.clip(0, 255).astype(np.uint8))
