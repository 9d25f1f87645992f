"""What a TIFF is that Pillow refuses, by its first directory, and what to do about it."""

from __future__ import annotations

from typing import BinaryIO

from samedge.pixels import image_kinds, tiff_directories

_BITS, _COMPRESSION, _PHOTOMETRIC, _CHANNELS, _FORMAT, _DNG = 258, 259, 262, 277, 339, 50706
_RAW = (32803, 34892)  # photometric: a mosaic of colours, and the same without the mosaic
_FORMATS = {2: ", signed", 3: ", floating-point", 5: ", complex", 6: ", complex"}
_NOT_HERE = {
    34661: "JBIG",
    34887: "LERC",
    34933: "PNG",
    50001: "WebP",
    **dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000"),
    **dict.fromkeys((34676, 34677), "LogLuv"),
    **dict.fromkeys((22610, 34934), "JPEG XR"),
    **dict.fromkeys((50002, 52546), "JPEG XL"),
}
"""Ways to compress that libtiff has no decoder for as Pillow's wheels bring it."""

_UNPACK = "save it with LZW or deflate, as `gdal_translate -co COMPRESS=LZW IN OUT` does"
_HIGHEST_FIRST = b"MM\0+"
_TURN = (
    "save it with the lowest byte first, as `gdal_translate -co BIGTIFF=YES -co ENDIANNESS=LITTLE "
    "IN OUT` does"
)
_TAKE = (
    "take three of its channels for red, green and blue, as `gdal_translate -b 3 -b 2 -b 1 -co "
    "PHOTOMETRIC=RGB IN OUT` does of a satellite's"
)


def description(stream: BinaryIO) -> tuple[str, str] | None:
    """What it is, and what to do; ``None`` where its directory does not tell."""
    stream.seek(0)
    if stream.read(len(_HIGHEST_FIRST)) == _HIGHEST_FIRST:
        return "a BigTIFF of a kind that Pillow does not read (big-endian)", _TURN
    try:
        tags = tiff_directories.all_tags(stream)
        channels = int(tags.get(_CHANNELS, (1,))[0])
        bits = int(max(tags.get(_BITS, (1,))))
        form = _FORMATS.get(tags.get(_FORMAT, (1,))[0], "")
        photometric = tags.get(_PHOTOMETRIC, (0,))[0]
    except tiff_directories.DAMAGE:
        return None
    if _DNG in tags or photometric in _RAW:
        return image_kinds.RAW
    compression = _compression(tags)
    if compression is not None:
        return f"a TIFF compressed as {compression}, which Pillow does not read", _UNPACK
    plural = "" if channels == 1 else "s"
    what = f"{channels} channel{plural} of {bits} bits{form}"
    remedy = _TAKE if channels > 3 else image_kinds.TIFF_REMEDY
    return f"a TIFF of a kind that Pillow does not read ({what})", remedy


def unknown_compression(stream: BinaryIO) -> tuple[str, str] | None:
    """As :func:`description`, of those alone whose samples are compressed in a way not known."""
    try:
        is_unknown = _compression(tiff_directories.all_tags(stream)) is not None
    except tiff_directories.DAMAGE:
        return None
    return description(stream) if is_unknown else None


def _compression(tags: dict[int, tuple[int, ...]]) -> str | None:
    return _NOT_HERE.get(tags.get(_COMPRESSION, (1,))[0])
