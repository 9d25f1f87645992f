"""Opening picture files with Pillow: bounded, its exceptions as ours, upright."""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from samedge.errors import ImageError, SamedgeError
from samedge.files import kinds, limits
from samedge.files.reading import opened
from samedge.pixels import (
    bmp_masks,
    fits_samples,
    image_kinds,
    png_chunks,
    tiff_directories,
    tiff_kinds,
)
from samedge.pixels.deep_colours import as_described

Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image
"""What a picture is opened from."""

BY_TILES = (
    ", or have it read by tiles: `samedge everything` and `samedge annotate --auto` do with "
    "--tiles 2048"
)
"""What to do about a picture that is too large to be held whole."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_UNKNOWN = re.compile("unsupported|not supported|unknown raw mode|not implemented", re.IGNORECASE)
_BIG_ENDIAN_BIGTIFF = b"MM\0+"
_REFUSED = ("EPS", "MPEG", "WMF", "BUFR", "GRIB", "HDF5")
"""What Pillow recognises and hands to other programs, or cannot decode."""


@contextlib.contextmanager
def opened_picture(
    source: Source,
) -> Iterator[tuple[Image.Image, str]]:
    """Open a picture whose size and format are acceptable; its pixels are not decoded yet.

    Args:
        source: a path, the bytes of a file, a binary file that is open, which is read from where it
            stands, or a Pillow image, which stays open.

    Yields:
        The picture, and its name for messages.

    Raises:
        ImageError: missing, too large, not an image, or the body meets damaged data.
    """
    if not isinstance(source, Image.Image) and hasattr(source, "read"):
        source = _content(source)
    if isinstance(source, Image.Image):
        with _translated("The Pillow image", b""):
            yield _acceptable(source, "The Pillow image"), "The Pillow image"
    elif isinstance(source, bytes | bytearray | memoryview):
        limits.check(len(source), "image_bytes", what="The image", error=ImageError)
        with _decoded(io.BytesIO(source), f"The image of {len(source)} bytes") as picture:
            yield picture, f"The image of {len(source)} bytes"
    else:
        path = _path(source)
        with (
            opened(
                path,
                limit="image_bytes",
                expected="an image file",
                error=ImageError,
                otherwise=BY_TILES,
            ) as stream,
            _decoded(stream, str(path)) as picture,
        ):
            yield picture, str(path)


@contextlib.contextmanager
def opened_head(path: Path) -> Iterator[Image.Image]:
    """Open a picture to be read in tiles, whatever its file's size; of its pixels none is decoded.

    Raises:
        ImageError: missing, too large even for that, or not an image.
    """
    with (
        opened(path, limit=None, expected="an image file", error=ImageError) as stream,
        _decoded(stream, str(path), limit="tiled_pixels") as picture,
    ):
        yield picture


def _path(source: object) -> Path:
    if not isinstance(source, str | os.PathLike):
        raise ImageError(
            f"The image is a {type(source).__name__}, expected a path, the bytes of a file, an "
            "open file, a Pillow image or a NumPy array; samedge.image_from_tensor takes tensors."
        )
    is_address = re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", os.fspath(source))  # a Path has one slash
    if is_address and not Path(source).exists():
        raise ImageError(f"{source} is an address, expected a file: download it first.")
    return Path(source)


def _content(file: Any) -> bytes:
    """The bytes of an open file, from where it stands."""
    most = limits.limit("image_bytes")
    try:
        data = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise ImageError(f"The image's file cannot be read ({error}): open it again.") from error
    if not isinstance(data, bytes):
        raise ImageError("The image's file is open as text: open it with mode 'rb'.")
    limits.check(len(data), "image_bytes", what="The image", error=ImageError)
    return data


def orientation(picture: Image.Image) -> int:
    """The picture's orientation in EXIF, 1 to 8; 1 is upright and what has none counts as it."""
    try:
        found = _exif(picture).get(_ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - damaged EXIF, of which Pillow raises whatever it likes
        return 1
    return found if found in _TURNS else 1


def _exif(picture: Image.Image) -> Image.Exif:
    """As Pillow reads it, which decodes a PNG to see whether there is some behind its pixels."""
    file = getattr(picture, "fp", None)
    is_stored = picture.format == "PNG" and bool(getattr(picture, "tile", None))
    if not is_stored or file is None or "exif" in picture.info:
        return picture.getexif()
    with Image.open(io.BytesIO(png_chunks.without_pixels(file))) as told:
        return Image.Image.getexif(told)


def decode(picture: Image.Image) -> None:
    """Decode the pixels; what is damaged in a PNG behind its pixels takes none of them away."""
    try:
        picture.load()
    except (ValueError, SyntaxError, struct.error):
        if picture.format != "PNG" or getattr(picture, "tile", None):
            raise


def upright(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture turned as its EXIF says; itself where there is nothing to turn."""
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)


@contextlib.contextmanager
def _decoded(stream: BinaryIO, name: str, *, limit: str = "image_pixels") -> Iterator[Image.Image]:
    head = stream.read(kinds.HEAD_BYTES)
    stream.seek(0)
    if image_kinds.is_raw(head):  # of which Pillow reads a preview, of another size
        kind, remedy = image_kinds.RAW
        raise ImageError(f"{name} is {kind}: {remedy}.")
    with (
        _translated(name, head, stream),
        _PILLOW_LIMIT.lifted(limit),
        _opened(stream, head, name) as picture,
    ):
        yield _acceptable(picture, name, limit=limit)


def _opened(stream: BinaryIO, head: bytes, name: str) -> Image.Image:
    """As Pillow opens it, and phones' HEIC photos where the extra ``heic`` is installed.

    Its decoder turns them upright. It is not registered with Pillow, which is the whole program's.
    """
    if kinds.is_heic(head):
        with contextlib.suppress(ImportError):
            from pi_heif import HeifImageFile

            heic: Image.Image = HeifImageFile(stream)
            return heic
    is_small = stream.seek(0, os.SEEK_END) <= limits.limit("image_bytes")
    stream.seek(0)
    if is_small and head.startswith(fits_samples.START):
        with contextlib.suppress(ValueError, LookupError, OverflowError):  # damaged cards
            fits = fits_samples.opened(stream, name)
            if fits is not None:
                return fits
        stream.seek(0)
    try:
        picture = Image.open(stream)
        if tiff_directories.hides_colours(picture):
            raise UnidentifiedImageError
        return as_described(picture)
    except UserWarning:  # of damaged EXIF, where warnings are errors
        stream.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return as_described(Image.open(stream))
    except (ValueError, OSError):  # of a text, a profile, a resolution; what Pillow cannot name
        is_tiff = head.startswith(tiff_directories.STARTS)
        colours = tiff_directories.colours(stream) if is_tiff else None
        if colours is not None:
            return as_described(colours)
        found = _opened_anew(stream, head) if is_small else None
        if found is None:
            raise
        return found


def _opened_anew(stream: BinaryIO, head: bytes) -> Image.Image | None:
    """What Pillow refuses and can decode, or we can; ``None`` for all else."""
    if head.startswith(png_chunks.START):
        return Image.open(io.BytesIO(png_chunks.pixels_alone(stream)))
    if head.startswith(tiff_directories.STARTS):
        tiff = tiff_directories.redescribed(stream)
        return None if tiff is None else as_described(tiff)
    return bmp_masks.opened(stream) if head.startswith(bmp_masks.START) else None


def _acceptable(picture: Image.Image, name: str, *, limit: str = "image_pixels") -> Image.Image:
    width, height = picture.size
    what = f"{name}, {width}x{height} px,"
    otherwise = BY_TILES if limit == "image_pixels" else ""
    limits.check(width * height, limit, what=what, error=ImageError, otherwise=otherwise)
    if picture.format in _REFUSED:
        raise ImageError(
            f"{name} is {picture.format}, which is not decoded here: save it as JPEG, PNG, WebP or "
            "TIFF."
        )
    missing = tiff_directories.missing_rows(picture)
    if missing:
        raise ImageError(
            f"{name} is truncated or damaged (there is nothing for its last {missing} rows): fetch "
            "or save the file again."
        )
    if tiff_directories.is_reduced(picture):
        raise ImageError(
            f"{name} begins with a reduced picture of {width}x{height} px, as cameras' raw files "
            "(DNG, NEF, ARW) do: develop it, or save the full one, as JPEG or a 16-bit TIFF."
        )
    return picture


@contextlib.contextmanager
def _translated(name: str, head: bytes, stream: BinaryIO | None = None) -> Iterator[None]:
    """Pillow's exceptions as ours."""
    try:
        yield
    except SamedgeError:
        raise
    except UnidentifiedImageError as error:
        told = _refused_tiff(head, stream, is_unknown=True)
        kind, remedy = told or image_kinds.description(head)
        raise ImageError(f"{name} is {kind}: {remedy}.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"\((\d+) pixels\)", str(error))  # Pillow names a limit of its own, too
        count = "too many" if found is None else found.group(1)
        allowed = limits.limit("image_pixels")
        raise ImageError(
            f"{name} is too large, {count} pixels, limit {allowed}: downscale it first, or raise "
            f"the limit by {limits.VARIABLE}=image_pixels=COUNT."
        ) from error
    except MemoryError as error:
        raise ImageError(
            f"{name} needs more memory than there is, or is damaged: give a smaller image, or "
            "fetch it again."
        ) from error
    except Exception as error:  # a decoder meeting broken bytes raises whatever it likes
        reason = " ".join(str(error).split())
        # Pillow stumbles at the head of a BigTIFF of the highest byte first.
        is_unknown = head.startswith(_BIG_ENDIAN_BIGTIFF) or bool(_UNKNOWN.search(reason))
        told = _refused_tiff(head, stream, is_unknown=is_unknown)
        if told is not None:
            raise ImageError(f"{name} is {told[0]}: {told[1]}.") from error
        if _UNKNOWN.search(reason):
            raise ImageError(
                f"{name} is of a kind that Pillow does not decode ({reason}): save it as JPEG, "
                "PNG, WebP or TIFF."
            ) from error
        raise ImageError(
            f"{name} is truncated or damaged ({reason}): fetch or save the file again."
        ) from error


def _refused_tiff(
    head: bytes, stream: BinaryIO | None, *, is_unknown: bool
) -> tuple[str, str] | None:
    """What kind of TIFF it is, and what to do, where that is why Pillow did not decode it."""
    if stream is None or not head.startswith(tiff_directories.STARTS):
        return None
    if is_unknown:
        return tiff_kinds.description(stream)
    return tiff_kinds.unknown_compression(stream)


class _PillowLimit:
    """Pillow's own limit, a global: lifted as long as somebody needs more, in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users, self._own = 0, 0

    @contextlib.contextmanager
    def lifted(self, limit: str) -> Iterator[None]:
        """Have Pillow take as many pixels as one of our own limits allows."""
        if not self._enter(limits.limit(limit)):
            yield
            return
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    Image.MAX_IMAGE_PIXELS = self._own

    def _enter(self, allowed: int) -> bool:
        with self._lock:
            now = Image.MAX_IMAGE_PIXELS
            if now is None or (not self._users and allowed <= now):
                return False
            if not self._users:
                self._own = now
            self._users += 1
            Image.MAX_IMAGE_PIXELS = max(now, allowed)
            return True


_PILLOW_LIMIT = _PillowLimit()
