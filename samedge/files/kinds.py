"""What a file is by its first bytes, whatever it was named as; what to do about it depends on that.

People name what they have: a pointer where Git LFS should have put a file, the page of a login, a
storage's error, an archive that was not unpacked. One table tells all of them apart, and whoever
opens a picture, a video, a checkpoint or a bundle says what to do there.
"""

from __future__ import annotations

import dataclasses
import enum

HEAD_BYTES = 1024
"""How much of a file :func:`kind_of` looks at."""


class Family(enum.Enum):
    """What is done about a file."""

    NOTHING = "no bytes"
    POINTER = "stands for a file that is to be fetched"
    ANSWER = "what a server said instead of sending a file"
    TEXT = "text"
    FORM = "a file with a form around it"
    ARCHIVE = "holds files"
    WEIGHTS = "tensors"
    ARRAYS = "numbers"
    PICTURE = "a picture"
    RAW = "what a camera's sensor saw"
    VIDEO = "a video"
    DOCUMENT = "pages or drawings"


@dataclasses.dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: one word.
        what: it is, for people, with an article.
        family: what is done about it.
        fetched_by: the command that fetches what a pointer stands for.
    """

    name: str
    what: str
    family: Family
    fetched_by: str = ""

    @property
    def is_of_transfer(self) -> bool:
        """Whether the file that is meant has not come yet, or is still packed."""
        return self.family in _TRANSFER


_TRANSFER = (Family.NOTHING, Family.POINTER, Family.ANSWER, Family.ARCHIVE)

EMPTY = FileKind("empty", "empty", Family.NOTHING)
LFS = FileKind("lfs", "a Git LFS pointer", Family.POINTER, "git lfs pull")
ANNEX = FileKind("annex", "a git-annex pointer", Family.POINTER, "git annex get")
PAGE = FileKind("page", "a web page (HTML)", Family.ANSWER)
STORAGE_ERROR = FileKind("storage_error", "an error of a storage service (XML)", Family.ANSWER)
REFUSAL = FileKind("refusal", "a server's refusal in place of a file", Family.ANSWER)
XML = FileKind("xml", "XML", Family.TEXT)
JSON = FileKind("json", "JSON", Family.TEXT)
FORM = FileKind("form", "a form (multipart/form-data)", Family.FORM)
ZIP = FileKind("zip", "a zip archive", Family.ARCHIVE)
TAR = FileKind("tar", "a tar archive", Family.ARCHIVE)
GZIP = FileKind("gzip", "a gzip archive", Family.ARCHIVE)
PICKLE = FileKind("pickle", "a pickle, as torch writes weights", Family.WEIGHTS)
SAFETENSORS = FileKind("safetensors", "safetensors", Family.WEIGHTS)
HDF5 = FileKind("hdf5", "an HDF5 file", Family.ARRAYS)
NUMPY = FileKind("numpy", "a NumPy array", Family.ARRAYS)
TIFF = FileKind("tiff", "a TIFF", Family.PICTURE)
BIGTIFF = FileKind("bigtiff", "a BigTIFF", Family.PICTURE)
JPEG = FileKind("jpeg", "a JPEG", Family.PICTURE)
PNG = FileKind("png", "a PNG", Family.PICTURE)
GIF = FileKind("gif", "a GIF", Family.PICTURE)
WEBP = FileKind("webp", "a WebP image", Family.PICTURE)
HEIC = FileKind("heic", "a HEIC photo", Family.PICTURE)
AVIF = FileKind("avif", "an AVIF image", Family.PICTURE)
JPEG_XL = FileKind("jpeg_xl", "a JPEG XL image", Family.PICTURE)
JPEG_XR = FileKind("jpeg_xr", "a JPEG XR image", Family.PICTURE)
PAM = FileKind("pam", "a PAM image", Family.PICTURE)
PFM = FileKind("pfm", "a colour PFM image", Family.PICTURE)
OPEN_EXR = FileKind("open_exr", "an OpenEXR image", Family.PICTURE)
RADIANCE = FileKind("radiance", "a Radiance HDR image", Family.PICTURE)
PHOTOSHOP = FileKind("photoshop", "a Photoshop file", Family.PICTURE)
GIMP = FileKind("gimp", "a GIMP file", Family.PICTURE)
DICOM = FileKind("dicom", "a DICOM file", Family.PICTURE)
RAW = FileKind("raw", "a camera's raw file", Family.RAW)
MATROSKA = FileKind("matroska", "a video (Matroska or WebM)", Family.VIDEO)
MPEG = FileKind("mpeg", "a video (MPEG)", Family.VIDEO)
FLV = FileKind("flv", "a video (FLV)", Family.VIDEO)
AVI = FileKind("avi", "a video (AVI)", Family.VIDEO)
MP4 = FileKind("mp4", "a video (MP4 or QuickTime)", Family.VIDEO)
PDF = FileKind("pdf", "a PDF", Family.DOCUMENT)
POSTSCRIPT = FileKind("postscript", "a PostScript drawing", Family.DOCUMENT)
DJVU = FileKind("djvu", "a DjVu document", Family.DOCUMENT)
SVG = FileKind("svg", "an SVG drawing", Family.DOCUMENT)

_STARTS: tuple[tuple[bytes, FileKind], ...] = (
    (b"version https://git-lfs", LFS),
    (b"/annex/objects/", ANNEX),
    (b"PK\3\4", ZIP),
    (b"\x1f\x8b", GZIP),
    (b"Rar!", FileKind("rar", "a RAR archive", Family.ARCHIVE)),
    (b"7z\xbc\xaf", FileKind("7z", "a 7z archive", Family.ARCHIVE)),
    (b"BZh", FileKind("bzip2", "a bzip2 archive", Family.ARCHIVE)),
    (b"\xfd7zXZ\0", FileKind("xz", "an xz archive", Family.ARCHIVE)),
    (b"\x28\xb5\x2f\xfd", FileKind("zstd", "a zstd archive", Family.ARCHIVE)),
    (b"\x80\2", PICKLE),
    (b"\x80\3", PICKLE),
    (b"\x80\4", PICKLE),
    (b"\x80\5", PICKLE),
    (b"\x89HDF", HDF5),
    (b"\x93NUMPY", NUMPY),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", BIGTIFF),
    (b"MM\0+", BIGTIFF),
    (b"\xff\xd8", JPEG),
    (b"\x89PNG", PNG),
    (b"GIF8", GIF),
    (b"\xff\x0a", JPEG_XL),
    (b"\0\0\0\x0cJXL ", JPEG_XL),
    (b"II\xbc\1", JPEG_XR),
    (b"P7\n", PAM),
    (b"PF", PFM),
    (b"v/1\1", OPEN_EXR),
    (b"#?RADIANCE", RADIANCE),
    (b"8BPS", PHOTOSHOP),
    (b"gimp xcf", GIMP),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"IIU\0", RAW),
    (b"IIRO", RAW),
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"FOVb", RAW),
    (b"\0MRM", RAW),
    (b"\x1aE\xdf\xa3", MATROSKA),
    (b"\0\0\1\xba", MPEG),
    (b"\0\0\1\xb3", MPEG),
    (b"FLV\1", FLV),
    (b"%PDF", PDF),
    (b"%!PS", POSTSCRIPT),
    (b"\xc5\xd0\xd3\xc6", POSTSCRIPT),
    (b"AT&TFORM", DJVU),
)
_PLACES: tuple[tuple[int, bytes, FileKind], ...] = (
    (128, b"DICM", DICOM),
    (257, b"ustar", TAR),
    (8, b"AVI ", AVI),
    (8, b"WEBP", WEBP),
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<script")
_ANSWERS = (
    *(b"404", b"not found", b"entry not found", b"repository not found", b"access denied"),
    *(b"invalid username or password", b"unauthorized", b"forbidden"),
)
_ANSWER_BYTES = 200  # longer text only begins alike

EXPORTED_ENDINGS: dict[str, str] = {
    **dict.fromkeys((".onnx", ".ort"), "an ONNX graph"),
    **dict.fromkeys((".engine", ".plan", ".trt"), "a TensorRT engine"),
    **dict.fromkeys((".xml", ".tflite", ".mlmodel", ".pt2"), "an exported graph"),
}
"""Of names of files that hold a graph: their first bytes say little."""

WEIGHTS_ENDINGS = (".pth", ".pt", ".ckpt", ".safetensors")
"""Of names of files that hold weights."""


def kind_of(head: bytes) -> FileKind | None:
    """What a file is; ``None`` where its first bytes do not say.

    Args:
        head: the first ``HEAD_BYTES`` bytes of it, or a few less; fewer where it has fewer.
    """
    if not head:
        return EMPTY
    if head[5:9] == b"\0\0\0{":  # its header's length, which may begin as anything, and JSON
        return SAFETENSORS
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    for place, mark, kind in _PLACES:
        if head.startswith(mark, place) and (place != 8 or head.startswith(b"RIFF")):
            return kind
    return _boxed(head[8:12]) if head[4:8] == b"ftyp" else _text(head)


def is_heic(head: bytes) -> bool:
    """Whether a file is a photo of the kind that phones take, by its first bytes."""
    is_avif = any(brand in head[16:64] for brand in _AVIF_BRANDS)  # beside the general mif1
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and not is_avif


def _boxed(brand: bytes) -> FileKind:
    if brand in _HEIF_BRANDS:
        return HEIC
    if brand in _AVIF_BRANDS:
        return AVIF
    return RAW if brand == b"crx " else MP4


def _text(head: bytes) -> FileKind | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    is_xml = text.startswith(b"<?xml")
    if text.startswith(_PAGES) or (is_xml and b"<html" in text):
        return PAGE
    if text.startswith(b"<error") or (is_xml and b"<error" in text):
        return STORAGE_ERROR
    if text.startswith(b"<svg") or (is_xml and b"<svg" in text):
        return SVG
    if is_xml:
        return XML
    if text.startswith(b"--") and b"content-disposition: form-data" in text:
        return FORM
    if text.startswith((b"{", b"[")):
        return JSON
    return REFUSAL if text.startswith(_ANSWERS) and len(head) < _ANSWER_BYTES else None
