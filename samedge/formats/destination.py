"""Where the masks of a run go, settled before there is any work; and what images are called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from samedge import formats
from samedge.errors import ImageError, OptionError, WriteError
from samedge.files import limits
from samedge.files.writing import check_output, takes_a_stream
from samedge.formats.base import Format, Layout, Writer
from samedge.formats.masks import ImageMasks, inside
from samedge.types import Size

DEFAULT_FORMAT = "png"


class Destination:
    """A file or folder and a format that fit each other.

    Args:
        path: a file for one image or for a format of one file, a folder otherwise; ``None`` writes
            into the current folder, and nothing at all where ``file_format`` is ``None`` too.
        file_format: name of a format; ``None`` goes by the ending of ``path``: masks for a
            ``.png`` and for a folder, a drawing for a ``.jpg``, COCO for a ``.json``.
        images: how many images there will be.

    Raises:
        ImageError: one file for the pictures of several images, or one whose ending does not fit.
        UnknownNameError: no such format.
    """

    def __init__(self, path: Path | None, file_format: str | None, *, images: int = 1) -> None:
        self.writes = path is not None or file_format is not None
        self._is_named = path is not None
        self.path = path or Path()
        self.format = _chosen(self.path, file_format)
        is_tree = self.format.layout is Layout.FOLDER
        is_stream = path is not None and takes_a_stream(path)
        self.is_folder = not is_stream and (
            is_tree or path is None or _is_folder(path) or not path.suffix
        )
        if is_stream:
            _check_stream(self.path, self.format)
            return
        if self.is_folder:
            if is_tree and not _is_folder(self.path) and formats.from_ending(self.path) is not None:
                raise ImageError(
                    f"{path} is named as a file, and {self.format.name} results are a folder: "
                    "leave its ending out."
                )
            return
        if file_format is None:
            _check_known(self.path)
        check_ending(self.path, self.format)
        if images > 1 and self.format.layout is Layout.PER_IMAGE:
            raise ImageError(
                f"{path} is one file for the {self.format.name} results of {images} images: "
                "name a folder, or write --format coco."
            )

    def check(self, names: Sequence[str] = ()) -> None:
        """Refuse what cannot be written before there is any work, which would be lost.

        What a path names is replaced; where none was given, what is there is nobody's to replace.

        Args:
            names: of the images, where ``path`` is ``None``.

        Raises:
            WriteError: nothing can be written there, or nobody named it and something is there.
        """
        if not self.writes:
            return
        check_output(self.path, is_folder=self.is_folder)
        places = [inside(name) for name in names]
        there = None if self._is_named else self.format.already_in(self.path, places)
        if there is not None:
            raise WriteError(
                f"{there} is there already, and stays: nobody named it. Say where the "
                f"{self.format.name} results go by -o; `-o .` writes over what is here."
            )

    def open(self) -> Writer:
        """Begin to write; one that writes nothing where nothing was asked for."""
        if not self.writes:
            return _Nowhere()
        return self.format.open_writer(self.path, is_folder=self.is_folder)


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path raises where a name is too long, or forbidden


def _chosen(path: Path, file_format: str | None) -> Format:
    if file_format is not None:
        return formats.get(file_format)
    return formats.from_ending(path) or formats.get(DEFAULT_FORMAT)


def _check_stream(path: Path, file_format: Format) -> None:
    """Whether what is written is one file, as a pipe or a device takes."""
    if file_format.layout is Layout.ONE_FILE:
        return
    fitting = [n for n in formats.names() if formats.get(n).layout is Layout.ONE_FILE]
    raise ImageError(
        f"{path} takes one file, and {file_format.name} results may be several: "
        f"name a folder, or write --format {' or '.join(fitting)}."
    )


def _check_known(path: Path) -> None:
    """Whether an ending says by itself what is to be written."""
    if formats.from_ending(path) is not None:
        return
    meanings = [
        f"{ending} ({name})"
        for name in formats.names()
        for ending in formats.get(name).chosen_by[:1]
    ]
    raise ImageError(
        f"{path} has an ending that means no format: end it in {', '.join(meanings)}, leave the "
        "ending out for a folder of .png masks, or name a --format."
    )


def check_ending(path: Path, file_format: Format) -> None:
    """Whether a file's ending fits what is to be written into it.

    Raises:
        ImageError: it does not.
    """
    if path.suffix.lower() in file_format.endings:
        return
    fitting = [name for name in formats.names() if path.suffix.lower() in formats.get(name).endings]
    other = f", or name --format {' or '.join(fitting)}" if fitting else ""
    raise ImageError(
        f"{path} cannot be written: {file_format.name} results go to "
        f"{', '.join(file_format.endings)}. Change the file's ending{other}."
    )


def common_names(paths: Sequence[Path]) -> list[str]:
    """What to call images: their paths from the folder that holds them all, with ``/``.

    Two cameras' ``0001.png`` stay two images in every reader.

    Args:
        paths: of the images' files; links are not followed.
    """
    full = [os.path.abspath(path) for path in paths]  # noqa: PTH100 - resolve() follows links
    try:
        root = os.path.commonpath([os.path.dirname(path) for path in full])  # noqa: PTH120
    except ValueError:  # several drives, or no images
        root = os.sep
    return [os.path.relpath(path, root).replace(os.sep, "/") for path in full]


def check_size(file_format: Format, size: Size, *, name: str) -> None:
    """Refuse a format that would hold every mask of a picture that is too large for that.

    Args:
        file_format: that the masks are to be written in.
        size: ``(height, width)`` of the picture.
        name: of the picture, for the message.

    Raises:
        OptionError: it would.
    """
    height, width = size
    if file_format.holds_no_mask or height * width <= limits.limit("image_pixels"):
        return
    able = " or ".join(one for one in formats.names() if formats.get(one).holds_no_mask)
    raise OptionError(
        f"{file_format.name} holds masks as large as their picture, and {name} has {width}x"
        f"{height} px: write run lengths or outlines (--format {able})."
    )


class _Nowhere(Writer):
    def _add(self, image: ImageMasks) -> list[Path]:
        return []
