"""What a file that is no readable image is, by its first bytes, and what to do about it."""

from __future__ import annotations

HEAD_BYTES = 512
"""How much of a file :func:`description` looks at."""

_CONVERT = "save it as JPEG, PNG, WebP or TIFF"
_FRAME = "take a frame out of it, such as by `ffmpeg -i VIDEO -frames:v 1 frame.png`"
_HEIC = "`pip install pi-heif`, which decodes it (the extra samedge[heic]), or save it as JPEG"
_FORM = "send the file's bytes alone, as `curl --data-binary @photo.jpg` does"
_HTML = "the address may want a login or have moved: download the image itself"
_AGAIN = "fetch it again, or save it as an 8-bit JPEG or as PNG"
_RANGE = "tone-map it to PNG, or give its floats as a grey TIFF"
_DICOM = "write its pixels with pydicom to a 16-bit PNG; the range of the samples is measured"
TIFF_REMEDY = (
    "save it with 1 or 3 channels (4 with alpha) of 8 or 16 bits each; Pillow reads no others, and "
    "no floating-point colours"
)

RAW = "a camera's raw file", "develop it to JPEG or a 16-bit TIFF"

# The first bytes, what they are, and what to do.
_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"II*\0", "a TIFF of a kind that Pillow does not read", TIFF_REMEDY),
    (b"MM\0*", "a TIFF of a kind that Pillow does not read", TIFF_REMEDY),
    (b"II+\0", "a BigTIFF of a kind that Pillow does not read", TIFF_REMEDY),
    (b"MM\0+", "a BigTIFF of a kind that Pillow does not read", TIFF_REMEDY),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM)", _FRAME),
    (b"\0\0\1\xba", "a video (MPEG)", _FRAME),
    (b"\0\0\1\xb3", "a video (MPEG)", _FRAME),
    (b"FLV\1", "a video (FLV)", _FRAME),
    (b"%PDF", "a PDF", "export its page as PNG"),
    (b"%!PS", "a PostScript drawing", "export it as PNG"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript drawing", "export it as PNG"),
    (b"PK\3\4", "a zip archive", "unpack it first"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"\x93NUMPY", "a NumPy array", "np.load it and give (H, W, 3) uint8 RGB"),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the image by `git lfs pull`"),
    (b"\xff\x0a", "a JPEG XL image", _CONVERT),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image", _CONVERT),
    (b"FUJIFILMCCD-RAW", *RAW),
    (b"IIU\0", *RAW),
    (b"IIRO", *RAW),
    (b"IIRS", *RAW),
    (b"MMOR", *RAW),
    (b"FOVb", *RAW),
    (b"\0MRM", *RAW),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"gimp xcf", "a GIMP file", "export it as PNG"),
    (b"PF", "a colour PFM image", _RANGE),
    (b"P7\n", "a PAM image", _CONVERT),
    (b"II\xbc\1", "a JPEG XR image", _CONVERT),
    (b"AT&TFORM", "a DjVu document", "export its page as PNG"),
    (b"\x89HDF", "an HDF5 file", "write the picture in it as PNG"),
    (
        b"\xff\xd8",
        "a JPEG that is damaged, or of a kind that Pillow does not read (12 bits)",
        _AGAIN,
    ),
    (b"\x89PNG", "a damaged PNG", _AGAIN),
    (b"GIF8", "a damaged GIF", _AGAIN),
    (b"v/1\1", "an OpenEXR image", _RANGE),
    (b"#?RADIANCE", "a Radiance HDR image", _RANGE),
    (b"8BPS", "a Photoshop file of a kind that Pillow does not read", _CONVERT),
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<script")


def description(head: bytes) -> tuple[str, str]:
    """What a file is, and what to do.

    Args:
        head: its first ``HEAD_BYTES`` bytes; fewer where it has fewer.
    """
    if not head:
        return "empty", "fetch or save it again"
    for start, kind, remedy in _STARTS:
        if head.startswith(start):
            return kind, remedy
    if head[128:132] == b"DICM":
        return "a DICOM file", _DICOM
    if head[4:8] == b"ftyp":
        return _boxed(head[8:12])
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "a video (AVI)", _FRAME
    return _text(head)


def is_raw(head: bytes) -> bool:
    """Whether a file is Canon's TIFF of raw samples, whose first picture is a preview."""
    return head[:4] == b"II*\0" and head[8:10] == b"CR"


def is_heic(head: bytes) -> bool:
    """Whether a file is a photo of the kind that phones take, by its first bytes."""
    is_avif = any(brand in head[16:64] for brand in _AVIF_BRANDS)  # beside the general mif1
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and not is_avif


def _boxed(brand: bytes) -> tuple[str, str]:
    if brand in _HEIF_BRANDS:
        return "a HEIC photo", _HEIC
    if brand in _AVIF_BRANDS:
        return "an AVIF image, which this Pillow does not read", "update Pillow, or " + _CONVERT
    if brand == b"crx ":
        return RAW
    return "a video (MP4 or QuickTime)", _FRAME


def _text(head: bytes) -> tuple[str, str]:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_PAGES):
        return "a web page (HTML)", _HTML
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return "an SVG drawing", "export it as PNG"
    if text.startswith(b"--") and b"content-disposition: form-data" in text:
        return "a form (multipart/form-data)", _FORM
    if text.startswith((b"{", b"[")):
        return "text that looks like JSON", "give the image that belongs to it"
    return "not an image in a format that Pillow reads", "give JPEG, PNG, WebP or TIFF"
