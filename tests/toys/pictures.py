"""Picture files that Pillow does not write, and what differs from release to release of it."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import PIL
from PIL import Image

from samedge.types import Size

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def png16(samples: np.ndarray, *, exif: bytes | None = None) -> bytes:
    """A PNG of 16 bits a sample.

    Args:
        samples: (H, W, C) uint16; grey, grey and alpha, RGB or RGBA.
        exif: as in JPEG, with or without its ``Exif`` mark.
    """
    height, width, channels = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [(b"IHDR", header)]
    if exif is not None:
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def tiff(samples: np.ndarray, *, photometric: int = 1) -> bytes:
    """An uncompressed grey TIFF in the byte order and type of the samples.

    Args:
        samples: (H, W) of an integer or floating-point type.
        photometric: 1, black is zero, or 0, white is.
    """
    order = ">" if samples.dtype.byteorder == ">" else "<"
    height, width = samples.shape
    fields = {
        256: width,
        257: height,
        258: 8 * samples.itemsize,
        259: 1,  # not compressed
        262: photometric,
        273: 8 + 2 + 10 * 12 + 4,  # where the samples are
        277: 1,
        278: height,
        279: samples.nbytes,
        339: {"u": 1, "i": 2, "f": 3}[samples.dtype.kind],
    }
    entries = b"".join(
        struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in fields.items()
    )
    mark = b"MM\0*" if order == ">" else b"II*\0"
    start = struct.pack(f"{order}I", 8) + struct.pack(f"{order}H", len(fields))
    return mark + start + entries + bytes(4) + samples.tobytes()


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def resizing_slack(size: Size) -> int:
    """Levels by which the installed Pillow may resize otherwise than we do, who follow Pillow 13.

    Before, the passes of tall pictures came the other way round.

    Args:
        size: ``(height, width)`` of the picture.
    """
    return int(int(PIL.__version__.split(".")[0]) < 13 and size[0] > size[1])
