"""Pictures that are too large to be held, streamed from their files by libvips."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samedge.errors import BackendUnavailableError, ImageError
from samedge.files import limits
from samedge.pixels.boxes import Box
from samedge.pixels.part_reading import Parts
from samedge.pixels.sample_range import SampleMeter, SampleRange, eight_bits
from samedge.types import Array, Size

KINDS = {"TIFF": "tiffload_source", "JPEG": "jpegload_source", "PNG": "pngload_source"}
"""What is read, by Pillow's names, and the operation of libvips that reads it."""

INSTALL = "pip install 'samedge[tiles]'"

_TILED = "tile-width"  # TIFF: libvips tells of tiles alone
_NOT_SUPPORTED = "not supported"
_GREY = ("grey16", "b-w", "multiband")  # libvips's names
_HELD_WHOLE = {"jpeg-multiscan": "a progressive JPEG", "interlaced": "interlaced"}
_STRIP_SAMPLES = 1 << 18
_TYPES = {
    "uchar": np.uint8,
    "char": np.int8,
    "ushort": np.uint16,
    "short": np.int16,
    "uint": np.uint32,
    "int": np.int32,
    "float": np.float32,
    "double": np.float64,
}


@dataclasses.dataclass(frozen=True)
class Head:
    """What Pillow says of a file without decoding it.

    Attributes:
        path: of the file.
        kind: one of ``KINDS``.
        mode: Pillow's name for its colours.
        stored_size: ``(height, width)`` as they are stored.
        turn: the orientation in EXIF, 1 to 8.
        white_is_zero: the lowest of its deep samples is white.
        is_apart: its channels lie one after the other.
    """

    path: Path
    kind: str
    mode: str
    stored_size: Size
    turn: int
    white_is_zero: bool = False
    is_apart: bool = False


class Streamed(Parts):
    """A file that is read from the top in rows, or of a tiled TIFF tile by tile.

    Args:
        head: of the file.
        sample_range: which samples become black and white; measuring reads the file once more.

    Raises:
        ImageError: damaged, or of a kind that has to be held whole.
        BackendUnavailableError: libvips is not here.
    """

    def __init__(self, head: Head, sample_range: SampleRange) -> None:
        self._head, self._range = head, sample_range
        height, width = head.stored_size
        self.size = (width, height) if head.turn >= 5 else (height, width)
        self._name = f"{head.path}, {width}x{height} px,"
        if head.mode not in _MODES:
            raise ImageError(
                f"{self._name} has colours of the kind {head.mode}, which are not read by tiles: "
                "save it as RGB or grey."
            )
        self._vips = _library(self._name)
        self._narrow: np.dtype[Any] | None = None
        self._image: Any = None
        self._region: Any = None
        self._band = np.zeros((0, 0, 0), np.uint8)
        self._open()
        if self._dtype != np.uint8 and not isinstance(sample_range, tuple):
            self._measure()
            self._open()

    def close(self) -> None:
        """Let go of the file."""
        self._image = self._region = None
        self._band = np.zeros((0, 0, 0), np.uint8)

    def restart(self) -> None:
        """Open the file once more."""
        self._image = self._region = None  # it is not mapped twice
        self._open()

    def in_order(self, boxes: Sequence[Box]) -> list[Box]:
        """From the top of the file to its end."""

        def place(box: Box) -> tuple[int, int]:
            x0, y0, _, _ = self._stored(box)
            return y0, x0

        if not self._is_tiled:
            self._check_band([self._stored(box) for box in boxes])
        return sorted(boxes, key=place)

    def read(self, box: Box) -> Array:
        """A part, upright."""
        x0, y0, x1, y1 = self._stored(box)
        if self._is_tiled:
            found = self._fetched(x0, y0, x1, y1)
        else:
            self._advance(y0, y1)
            found = self._band[y0 - self._top : y1 - self._top, x0:x1]
        if found.shape[2] == 1:
            found = np.repeat(found, 3, axis=2)
        return np.ascontiguousarray(self._upright(found))

    def _open(self) -> None:
        with self._translated():
            source = self._vips.Source.new_from_file(os.fsencode(self._head.path))
            load = getattr(self._vips.Image, KINDS[self._head.kind])
            image = load(source, access="sequential", fail_on="error")
            self._is_tiled = bool(image.get_typeof(_TILED))
            if self._is_tiled:
                image = load(source, access="random", fail_on="error", revalidate=True)
            self._check(image)
            self._image, self._region = image, self._vips.Region.new(image)
        self._dtype = np.dtype(_TYPES[image.format])
        self._top, self._rows = 0, 0

    def _check(self, image: Any) -> None:
        if (image.height, image.width) != self._head.stored_size or image.format not in _TYPES:
            raise ImageError(f"{self._name} changed while it was opened, or is damaged: try again.")
        if self._head.is_apart and image.interpretation in _GREY and image.bands > 1:
            raise self._unread("channels one after the other that it takes for grey")
        for field, kind in _HELD_WHOLE.items():
            if image.get_typeof(field) and image.get(field):
                raise ImageError(
                    f"{self._name} is {kind}, which nobody can read without holding all of it: "
                    "save it as a tiled TIFF."
                )

    def _unread(self, reason: str) -> ImageError:
        return ImageError(
            f"{self._name} is of a kind that libvips does not read by tiles ({reason}): save it as "
            "a tiled TIFF whose channels lie together, as `gdal_translate -co TILED=YES -co "
            "INTERLEAVE=PIXEL -co PHOTOMETRIC=RGB IN OUT` does."
        )

    def _check_band(self, stored: Sequence[Box]) -> None:
        """Refuse to hold more rows at a time than an image may have pixels."""
        rows = max((y1 - y0 for _, y0, _, y1 in stored), default=0)
        width = self._head.stored_size[1]
        fitting = limits.limit("image_pixels") // width
        limits.check(
            rows * width,
            "image_pixels",
            what=f"{self._name} is read from the top, and a row of its tiles",
            error=ImageError,
            otherwise=f", or save it as a tiled TIFF, or give --tiles {fitting} or less",
        )

    def _measure(self) -> None:
        """The range of the samples of the whole file, as when it is read at once."""
        height, width = self._head.stored_size
        meter = None
        for top, bottom in self._strips(0, height):
            samples = self._samples(0, top, width, bottom)
            meter = meter or SampleMeter(
                height * width * samples.shape[2],
                str(self._head.path),
                white_is_zero=self._head.white_is_zero,
            )
            meter.add(samples)
        assert meter is not None
        self._narrow = _narrowed(self._dtype, meter.minimum, meter.maximum)
        if self._range == "auto":
            self._range = meter.range()

    def _strips(self, top: int, bottom: int) -> Iterator[tuple[int, int]]:
        rows = max(1, _STRIP_SAMPLES // max(self._head.stored_size[1], 1))
        for start in range(top, bottom, rows):
            yield start, min(start + rows, bottom)

    def _advance(self, top: int, bottom: int) -> None:
        """Have these rows in the band, which only moves down, and only when it is full."""
        assert top >= self._top, "parts are read from the top of the file"
        width, end = self._head.stored_size[1], self._top + self._rows
        for start, stop in self._strips(end, top):  # rows that nobody asks for
            self._samples(0, start, width, stop)
        if top > end or bottom - self._top > len(self._band):
            kept = max(end - top, 0)
            if kept and top > self._top:
                self._band[:kept] = self._band[top - self._top : end - self._top].copy()
            self._top, self._rows = top, kept
        for start, stop in self._strips(self._top + self._rows, bottom):
            part = self._fetched(0, start, width, stop)
            if len(self._band) < bottom - self._top:  # the first time, in a grid
                band = np.empty((bottom - self._top, width, part.shape[2]), np.uint8)
                if self._rows:
                    band[: self._rows] = self._band[: self._rows]
                self._band = band
            self._band[start - self._top : stop - self._top] = part
            self._rows = stop - self._top

    def _samples(self, x0: int, y0: int, x1: int, y1: int) -> Array:
        """Stored samples without alpha, (h, w, 1) or (h, w, 3); CMYK as RGB."""
        with self._translated():
            fetched = self._region.fetch(x0, y0, x1 - x0, y1 - y0)
        found = np.frombuffer(fetched, self._dtype).reshape(y1 - y0, x1 - x0, -1)
        if self._head.white_is_zero and self._dtype.kind == "u":  # which libvips has turned
            found = ~found
        if self._head.mode == "CMYK":
            inks = np.ascontiguousarray(found[:, :, :4])
            return np.asarray(Image.frombytes("CMYK", (x1 - x0, y1 - y0), inks).convert("RGB"))
        return found[:, :, :3] if found.shape[2] >= 3 else found[:, :, :1]

    def _fetched(self, x0: int, y0: int, x1: int, y1: int) -> Array:
        """The same in eight bits."""
        found = self._samples(x0, y0, x1, y1)
        if self._narrow is not None:
            found = found.astype(self._narrow, copy=False)
        if found.dtype == np.uint8 and isinstance(self._range, str):
            return found
        return eight_bits(
            found,
            sample_range=self._range,
            name=str(self._head.path),
            white_is_zero=self._head.white_is_zero,
        )

    def _stored(self, box: Box) -> Box:
        """A box of the upright picture among the pixels as they are stored."""
        x0, y0, x1, y1 = box
        if self._head.turn >= 5:
            x0, y0, x1, y1 = y0, x0, y1, x1
        height, width = self._head.stored_size
        if self._head.turn in _MIRRORED_ACROSS:
            x0, x1 = width - x1, width - x0
        if self._head.turn in _MIRRORED_DOWN:
            y0, y1 = height - y1, height - y0
        return x0, y0, x1, y1

    def _upright(self, stored: Array) -> Array:
        if self._head.turn in _MIRRORED_DOWN:
            stored = stored[::-1]
        if self._head.turn in _MIRRORED_ACROSS:
            stored = stored[:, ::-1]
        return stored.transpose(1, 0, 2) if self._head.turn >= 5 else stored

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._vips.Error as error:
            reason = " ".join(str(error).split())
            if _NOT_SUPPORTED in reason:
                raise self._unread(reason) from error
            raise ImageError(
                f"{self._name} is truncated or damaged ({reason}): fetch or save the file again."
            ) from error
        except MemoryError as error:
            raise ImageError(
                f"{self._name} needs more memory by tiles than there is: give smaller --tiles, or "
                "save it as a tiled TIFF."
            ) from error


_MIRRORED_ACROSS, _MIRRORED_DOWN = (2, 3, 7, 8), (3, 4, 6, 7)
_MODES = (
    *("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK"),
    *("I;16", "I;16L", "I;16B", "I;16N", "I", "F"),
)
"""Of Pillow, which calls JPEG's colours RGB; libvips looks palettes up, as Pillow does."""


def _narrowed(dtype: np.dtype[Any], lowest: float, highest: float) -> np.dtype[Any] | None:
    """Samples of 32 bits that fit into 16 have these, as :func:`load_image` takes them."""
    if dtype.kind in "iu" and dtype.itemsize == 4:
        for narrow in (np.uint16, np.int16):
            info = np.iinfo(narrow)
            if lowest >= info.min and highest <= info.max:
                return np.dtype(narrow)
    return None


def _library(name: str) -> Any:
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: without the native library
        raise BackendUnavailableError(
            f"{name} is read by tiles with libvips, which is not here ({error}): {INSTALL}"
        ) from error
    return pyvips
