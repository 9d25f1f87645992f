"""COCO's format for videos (YouTube-VIS): one annotation an object, one mask a frame in it.

A video has one size there. Where a camera came back with another one, another video begins; an
object has an annotation in each, of one ``object_id``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec

from samedge.files.writing import write_bytes
from samedge.live.sinks.base import Drawn, ObjectRecord, Recording, Sink, object_record


@dataclasses.dataclass(frozen=True)
class _Frame:
    """A frame without its pixels: its number, ``(height, width)`` and objects."""

    number: int
    size: tuple[int, int]
    objects: dict[int, ObjectRecord]


class _Videos(Recording):
    """Keeps the run lengths of all frames: the format has an object's masks side by side."""

    def __init__(self) -> None:
        self.frames: list[_Frame] = []

    def write(self, drawn: Drawn) -> None:
        followed = drawn.followed
        objects = {found.id: object_record(found) for found in followed.objects}
        self.frames.append(_Frame(followed.frame.number, followed.frame.size, objects))

    def document(self) -> dict[str, object]:
        """The file's content."""
        runs = [list(run) for _, run in itertools.groupby(self.frames, lambda frame: frame.size)]
        ids = sorted({object_id for frame in self.frames for object_id in frame.objects})
        step = 1 + max(ids, default=0)  # from one video's ids to the next one's
        return {
            "videos": [_video(run, number) for number, run in enumerate(runs, start=1)],
            "categories": [{"id": 1, "name": "object"}],
            "annotations": [
                {"id": index * step + object_id + 1, "video_id": index + 1}
                | _annotation(run, object_id)
                for index, run in enumerate(runs)
                for object_id in ids
            ],
        }


def _video(frames: list[_Frame], video_id: int) -> dict[str, object]:
    height, width = frames[0].size
    return {
        "id": video_id,
        "height": height,
        "width": width,
        "length": len(frames),
        "file_names": [f"{frame.number:05d}" for frame in frames],
    }


def _annotation(frames: list[_Frame], object_id: int) -> dict[str, object]:
    found = [frame.objects.get(object_id) for frame in frames]
    return {
        "object_id": object_id,
        "category_id": 1,
        "iscrowd": 0,
        "segmentations": [None if one is None else one.rle for one in found],
        "bboxes": [None if one is None else one.bbox for one in found],
        "areas": [None if one is None or one.rle is None else one.area for one in found],
    }


class Coco(Sink):
    """One file, written at the end."""

    endings = (".json",)

    @contextlib.contextmanager
    def open(self, path: Path, *, fps: float | None) -> Iterator[Recording]:
        """See :meth:`Sink.open`."""
        del fps
        videos = _Videos()
        try:
            yield videos
        finally:
            if videos.frames:  # a run that follows nothing leaves an older file be
                write_bytes(path, msgspec.json.encode(videos.document()) + b"\n")


SINK = Coco()
