"""What a file is that was named as a bundle and is none, by its first bytes, and what to do."""

from __future__ import annotations

from pathlib import Path

_HEAD_BYTES = 512

_EXPORT = "`samedge export --target cpu --checkpoint FILE -o out/cpu`"
_WEIGHTS = f"a bundle is exported from it by {_EXPORT}"
_GRAPH = (
    "a bundle is a folder with encoder, decoder and bundle.json; one is made from the weights that "
    f"this was exported from, by {_EXPORT}"
)
_AGAIN = "fetch or copy it again"
_PAGE = "open its address in a browser and save the file itself"

# Endings, what such files are, and what to do.
_ENDINGS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    ((".onnx", ".ort"), "is an ONNX graph, and no bundle", _GRAPH),
    ((".xml", ".tflite", ".mlmodel", ".pt2"), "is an exported graph, and no bundle", _GRAPH),
    ((".engine", ".plan", ".trt"), "is a TensorRT engine, and no bundle", _GRAPH),
    ((".pth", ".pt", ".ckpt", ".safetensors"), "is a checkpoint, and no bundle", _WEIGHTS),
)
# The first bytes, likewise; they go before endings.
_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer", "run `git lfs pull` beside it"),
    (b"<!doctype html", "is a web page", _PAGE),
    (b"<html", "is a web page", _PAGE),
    (b"{", "is JSON, and no bundle", "name the bundle's folder, in which bundle.json lies"),
    (b"\x1f\x8b", "is compressed by gzip", "unpack it, and name the folder"),
    (b"\x80\x02", "is a checkpoint, and no bundle", _WEIGHTS),
    (b"\xff\xd8", "is a picture, and no bundle", "give the bundle by --bundle, and pictures alone"),
    (b"\x89png", "is a picture, and no bundle", "give the bundle by --bundle, and pictures alone"),
    (b"pk\x03\x04", "is cut off: the end of the archive is missing", _AGAIN),
)


def description(path: Path) -> tuple[str, str]:
    """What a file that cannot be opened as an archive is, and what to do.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return "is empty", _AGAIN
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    for start, what, remedy in _STARTS:
        if text.startswith(start):
            return what, remedy
    if head[257:262] == b"ustar":
        return "is a tar archive", "unpack it, and name the folder"
    return _by_ending(path) or ("is no .samedge file", _AGAIN)


def of_archive(path: Path, members: list[str]) -> tuple[str, str] | None:
    """What a zip is that holds no manifest and is no bundle's; ``None`` where that is not known."""
    leaves = {member.rpartition("/")[2] for member in members}
    if "data.pkl" in leaves or "constants.pkl" in leaves:
        return "is a checkpoint, and no bundle", _WEIGHTS
    return _by_ending(path)


def in_folder(folder: Path) -> str | None:
    """What to do about a folder that holds graphs or weights without a manifest, if it does."""
    for file in sorted(folder.iterdir()):
        known = _by_ending(file)
        if known is not None:
            what, remedy = known
            return f"{file.name} in it {what.partition(',')[0]}; {remedy}"
    return None


def _by_ending(path: Path) -> tuple[str, str] | None:
    for endings, what, remedy in _ENDINGS:
        if path.suffix.lower() in endings:
            return what, remedy
    return None
