"""What to do about a file that is no readable image; :mod:`samedge.files.kinds` says what it is."""

from __future__ import annotations

from samedge.files import kinds
from samedge.files.kinds import Family

_CONVERT = "save it as JPEG, PNG, WebP or TIFF"
_FRAME = "take a frame out of it, such as by `ffmpeg -i VIDEO -frames:v 1 frame.png`"
_HEIC = "`pip install pi-heif`, which decodes it (the extra samedge[heic]), or save it as JPEG"
_FORM = "send the file's bytes alone, as `curl --data-binary @photo.jpg` does"
_ANSWER = "the address may want a login or have moved: download the image itself"
_AGAIN = "fetch it again, or save it as an 8-bit JPEG or as PNG"
_RANGE = "tone-map it to PNG, or give its floats as a grey TIFF"
_DICOM = "write its pixels with pydicom to a 16-bit PNG; the range of the samples is measured"
TIFF_REMEDY = (
    "save it with 1 or 3 channels (4 with alpha) of 8 or 16 bits each; Pillow reads no others, and "
    "no floating-point colours"
)

RAW = kinds.RAW.what, "develop it to JPEG or a 16-bit TIFF"
_UNREAD = "of a kind that Pillow does not read"

_REFUSED: dict[str, tuple[str, str]] = {
    kinds.EMPTY.name: (kinds.EMPTY.what, "fetch or save it again"),
    kinds.JSON.name: ("text that looks like JSON", "give the image that belongs to it"),
    kinds.HDF5.name: (kinds.HDF5.what, "write the picture in it as PNG"),
    kinds.NUMPY.name: (kinds.NUMPY.what, "np.load it and give (H, W, 3) uint8 RGB"),
    kinds.TIFF.name: (f"{kinds.TIFF.what} {_UNREAD}", TIFF_REMEDY),
    kinds.BIGTIFF.name: (f"{kinds.BIGTIFF.what} {_UNREAD}", TIFF_REMEDY),
    kinds.JPEG.name: (f"a JPEG that is damaged, or {_UNREAD} (12 bits)", _AGAIN),
    kinds.PNG.name: ("a damaged PNG", _AGAIN),
    kinds.GIF.name: ("a damaged GIF", _AGAIN),
    kinds.WEBP.name: ("a damaged WebP image", _AGAIN),
    kinds.HEIC.name: (kinds.HEIC.what, _HEIC),
    kinds.AVIF.name: (
        f"{kinds.AVIF.what}, which this Pillow does not read",
        f"update Pillow, or {_CONVERT}",
    ),
    kinds.PFM.name: (kinds.PFM.what, _RANGE),
    kinds.OPEN_EXR.name: (kinds.OPEN_EXR.what, _RANGE),
    kinds.RADIANCE.name: (kinds.RADIANCE.what, _RANGE),
    kinds.PHOTOSHOP.name: (f"{kinds.PHOTOSHOP.what} {_UNREAD}", _CONVERT),
    kinds.GIMP.name: (kinds.GIMP.what, "export it as PNG"),
    kinds.DICOM.name: (kinds.DICOM.what, _DICOM),
    kinds.PDF.name: (kinds.PDF.what, "export its page as PNG"),
    kinds.DJVU.name: (kinds.DJVU.what, "export its page as PNG"),
}
"""What is said of some kinds in other words, or has a remedy of its own."""

_REMEDIES: dict[Family, str] = {
    Family.ANSWER: _ANSWER,
    Family.FORM: _FORM,
    Family.ARCHIVE: "unpack it first",
    Family.PICTURE: _CONVERT,
    Family.RAW: RAW[1],
    Family.VIDEO: _FRAME,
    Family.DOCUMENT: "export it as PNG",
}


def description(head: bytes) -> tuple[str, str]:
    """What a file is, and what to do.

    Args:
        head: its first ``kinds.HEAD_BYTES`` bytes; fewer where it has fewer.
    """
    kind = kinds.kind_of(head)
    if kind is not None and kind.name in _REFUSED:
        return _REFUSED[kind.name]
    if kind is not None and kind.fetched_by:
        return kind.what, f"fetch the image by `{kind.fetched_by}`"
    remedy = None if kind is None else _REMEDIES.get(kind.family)
    if kind is None or remedy is None:
        return "not an image in a format that Pillow reads", "give JPEG, PNG, WebP or TIFF"
    return kind.what, remedy


def is_raw(head: bytes) -> bool:
    """Whether a file is Canon's TIFF of raw samples, whose first picture is a preview."""
    return head[:4] == b"II*\0" and head[8:10] == b"CR"
