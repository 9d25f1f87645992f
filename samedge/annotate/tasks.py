"""What the data engine passes between processes and keeps on disk: tasks, settings, parts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TypeVar

import msgspec

from samedge.formats.masks import MaskRecord

RUN_SCHEMA = "samedge.annotate-run/1"

S = TypeVar("S")


class AutoSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that decides which masks an image gets, so that two runs can be told apart.

    Attributes:
        bundle: a path or an embedded model's name; ``None`` is the embedded model.
        backend, device: ``None`` leaves them to the bundle.
        threads: of each process; one, because processes share the cores better than threads.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.
        points_per_side, crop_layers, pred_iou_threshold, stability_threshold: of
            :class:`~samedge.predict.everything.EverythingConfig`; ``None`` is the bundle's own.
        tiles, tile_overlap: pixels, where images are read and segmented by tiles.
        min_area: masks of fewer pixels are left out.
        max_area_share: so are those that cover more of the image, which are backgrounds.
    """

    bundle: str | None = None
    backend: str | None = None
    device: str | None = None
    threads: int = 1
    sample_range: str | tuple[float, float] = "auto"
    points_per_side: int | None = None
    crop_layers: int | None = None
    pred_iou_threshold: float | None = None
    stability_threshold: float | None = None
    tiles: int | None = None
    tile_overlap: int | None = None
    min_area: int = 0
    max_area_share: float = 0.95


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a folder of parts belongs to: only the very same run goes on in it.

    Attributes:
        schema: ``samedge.annotate-run/1``.
        images: absolute path of the folder of images.
        bundle_id: of the bundle that made the masks.
        settings: all that decides on the masks.
    """

    schema: str
    images: str
    bundle_id: str
    settings: AutoSettings


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One image to annotate.

    Attributes:
        name: what the result calls it: its path below the folder of images, with ``/``.
        path: its file.
    """

    name: str
    path: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What every worker of a run is given.

    Attributes:
        settings: all that decides on the masks.
        parts: the folder that it writes its results into.
    """

    settings: AutoSettings
    parts: str


class PartError(msgspec.Struct, frozen=True, kw_only=True):
    """Why an image has no masks, as :class:`~samedge.files.error_documents.ErrorRecord` says it.

    Attributes:
        kind: a stable word.
        message: the line that people see.
        remedy: what to do; empty in what an earlier samedge wrote.
        exit_code: of a command that this alone ended.
    """

    kind: str
    message: str
    remedy: str = ""
    exit_code: int = 1


class PartHead(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an image that was done, without its masks.

    Attributes:
        name: of the task.
        file_bytes, modified_ns: of the image's file when it was read; another is done again.
        sha256: of the file's content, to tell duplicates; empty where it could not be read.
        size: its ``(height, width)``.
        seconds: what the masks took, with reading.
        error: why there are no masks; ``None`` where all went well.
    """

    name: str
    file_bytes: int
    modified_ns: int
    sha256: str = ""
    size: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    error: PartError | None = None


class Part(PartHead, frozen=True, kw_only=True):
    """The result of one image, as it lies on disk until all are merged."""

    masks: tuple[MaskRecord, ...] = ()


class TilePart(msgspec.Struct, frozen=True, kw_only=True):
    """The masks of one tile of an image, as they lie on disk until its last tile is done.

    Attributes:
        name: of the task.
        file_bytes, modified_ns: of the image's file; the tile of another is done again.
        box: of the tile in the image.
        masks: in the tile's own frame.
        seconds: that they took.
    """

    name: str
    file_bytes: int
    modified_ns: int
    box: tuple[int, int, int, int]
    masks: tuple[MaskRecord, ...]
    seconds: float


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """A worker has opened the bundle."""


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """A worker cannot go on, whatever the image: its error's class and message."""

    kind: str
    message: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag="outcome"):
    """What a worker says of a task when its part is on disk."""

    name: str
    masks: int
    seconds: float
    error: PartError | None = None


class Working(msgspec.Struct, frozen=True, kw_only=True, tag="working"):
    """A worker has done a tile of the image that it is at."""


Reply = Ready | Refused | Working | Outcome
"""What a worker's process says, one line each."""


def file_state(path: Path) -> tuple[int, int]:
    """Bytes and time of change of a file; ``(-1, -1)`` where it cannot be asked."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def part_name(name: str) -> str:
    """File of a task's part, below the folder of parts: by hash, so that any name will do."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{digest[:2]}/{digest[2:34]}.json"


def decoded(text: str | bytes, kind: type[S]) -> S:
    """Read a struct that :func:`~samedge.files.json_text.json_text` wrote.

    Names of files may be no Unicode, which the quick reader refuses.

    Raises:
        ValueError: it is no such struct.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeError):
        return msgspec.convert(json.loads(text), kind)
