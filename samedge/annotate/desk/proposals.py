"""Masks that the model proposes for a photo: those of ``annotate --auto``, or made when asked."""

from __future__ import annotations

import io

import msgspec
from PIL import Image

from samedge.annotate.desk.folder import DeskFolder
from samedge.annotate.tasks import AutoSettings, Part, Task
from samedge.annotate.worker import Annotator, Loaded, load
from samedge.errors import ImageError
from samedge.predict.predictor import Predictor
from samedge.types import Progress

_JPEG = b"\xff\xd8\xff"


class Proposals:
    """Where proposals come from.

    Args:
        folder: of the results.
        settings: which masks.
        most: of a photo, the best ranked ones; people decide about each.
    """

    def __init__(self, folder: DeskFolder, settings: AutoSettings, *, most: int) -> None:
        self._folder, self._settings, self._most = folder, settings, most

    def find(self, task: Task) -> Part | None:
        """The proposals that are there and belong to the photo as it is now."""
        for parts in (self._folder.found, self._folder.made):
            if parts is not None and parts.is_done(task):
                part = parts.part(task.name)
                if part is not None and part.error is None:
                    return self._best(part)
        return None

    def make(
        self, predictor: Predictor, loaded: Loaded, *, progress: Progress | None = None
    ) -> Part:
        """Ask the model, in the thread that owns it, and keep what it says.

        Args:
            predictor: an open predictor.
            loaded: the photo.
            progress: hears of every batch of clicks.

        Raises:
            ImageError: everything mode failed on the photo.
            WriteError: the result cannot be kept.
        """
        part = Annotator(predictor, self._settings).part(loaded, progress=progress)
        if part.error is not None:
            raise ImageError(f"{loaded.task.name}: {part.error.message}")
        self._folder.made.write(part)
        return self._best(part)

    def _best(self, part: Part) -> Part:
        return msgspec.structs.replace(part, masks=part.masks[: self._most])

    def load(self, task: Task) -> Loaded:
        """Read a photo.

        Raises:
            ImageError: it is no image that can be used.
        """
        loaded = load(task, msgspec.structs.replace(self._settings, tiles=None))  # with its pixels
        if loaded.error is not None:
            raise ImageError(loaded.error.message)
        return loaded


def browser_picture(content: bytes, loaded: Loaded | None) -> tuple[bytes, str]:
    """A photo as every browser shows it and as the model sees it, and its media type.

    A JPEG stays as it is. Anything else, such as 16 bits or TIFF, becomes a PNG of the pixels.

    Args:
        content: of the file.
        loaded: the same, read; not needed for a JPEG.
    """
    if is_jpeg(content):
        return content, "image/jpeg"
    assert loaded is not None
    assert loaded.pixels is not None
    stream = io.BytesIO()
    Image.fromarray(loaded.pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue(), "image/png"


def is_jpeg(content: bytes) -> bool:
    """Whether a file's content begins like a JPEG."""
    return content.startswith(_JPEG)
