"""COCO's format for videos (YouTube-VIS): one annotation an object, one mask a frame in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from samedge.files.writing import write_bytes
from samedge.live.sinks.base import Drawn, ObjectRecord, Recording, Sink, object_record

Frame = tuple[int, list[int], list[ObjectRecord]]


class _Video(Recording):
    """Keeps the run lengths of all frames: the format has an object's masks side by side."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def write(self, drawn: Drawn) -> None:
        followed = drawn.followed
        objects = [object_record(found) for found in followed.objects]
        self.frames.append((followed.frame.number, list(followed.frame.size), objects))

    def document(self) -> dict[str, object]:
        """The file's content."""
        height, width = self.frames[0][1]
        ids = sorted({record.id for _, _, objects in self.frames for record in objects})
        return {
            "videos": [
                {
                    "id": 1,
                    "height": height,
                    "width": width,
                    "length": len(self.frames),
                    "file_names": [f"{number:05d}" for number, _, _ in self.frames],
                }
            ],
            "categories": [{"id": 1, "name": "object"}],
            "annotations": [self._annotation(object_id) for object_id in ids],
        }

    def _annotation(self, object_id: int) -> dict[str, object]:
        found = [
            next((record for record in objects if record.id == object_id), None)
            for _, _, objects in self.frames
        ]
        return {
            "id": object_id + 1,
            "video_id": 1,
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
        video = _Video()
        try:
            yield video
        finally:
            if video.frames:  # a run that follows nothing leaves an older file be
                write_bytes(path, msgspec.json.encode(video.document()) + b"\n")


SINK = Coco()
