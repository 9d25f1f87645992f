"""Finished photos as results of a run, where their decisions are still about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import UNSET

from samedge.annotate.desk.proposals import Proposals
from samedge.annotate.desk.reviews import Review, ReviewHead, Reviews
from samedge.annotate.tasks import Part, Task, file_state
from samedge.annotate.worker import part_error
from samedge.errors import DatasetError, ImageError, WriteError


class FinishedPhotos:
    """What merges parts into annotation files finds here the decisions of people.

    A photo whose file was replaced by one of another size is listed, not written: its masks would
    lie elsewhere. One that is gone stays.

    Args:
        reviews: of the folder.
        tasks: the photos.
        proposals: reads a photo.
    """

    def __init__(self, reviews: Reviews, tasks: Sequence[Task], proposals: Proposals) -> None:
        self._reviews, self._proposals = reviews, proposals
        self._tasks = {task.name: task for task in tasks}
        self._sizes: dict[str, tuple[tuple[int, int], tuple[int, int] | None]] = {}

    def part(self, name: str) -> Part | None:
        """The accepted masks of a finished photo; ``None`` for others, damaged ones too."""
        head = self._reviews.head(name)
        if head is None or head.status != "done":
            return None
        try:
            review = self._reviews.read(name)
        except (DatasetError, WriteError):
            return None
        if review is None:
            return None
        part = _part(review)
        size = self._other_size(head)
        if size is None:
            return part
        message = f"The photo is {_shown(size)} now, and was {_shown(head.size)} when its masks "
        message += "were accepted: they are left out. Put it back, or open it and annotate it anew."
        return msgspec.structs.replace(part, masks=(), error=part_error(ImageError(message)))

    def _other_size(self, head: ReviewHead) -> tuple[int, int] | None:
        """The size of the photo as it is now, where that is another one."""
        task = self._tasks[head.name]
        state = file_state(Path(task.path))
        if state in ((head.file_bytes, head.modified_ns), (-1, -1)):
            return None
        known = self._sizes.get(head.name)
        if known is None or known[0] != state:
            known = self._sizes[head.name] = (state, self._size(task))
        size = known[1]
        return None if size == tuple(head.size) else size

    def _size(self, task: Task) -> tuple[int, int] | None:
        try:
            pixels = self._proposals.load(task).pixels
        except ImageError:
            return None
        return None if pixels is None else (pixels.shape[0], pixels.shape[1])


def _part(review: Review) -> Part:
    masks = tuple(msgspec.structs.replace(m.record, parent=UNSET) for m in review.accepted)
    return Part(
        name=review.name,
        file_bytes=review.file_bytes,
        modified_ns=review.modified_ns,
        size=review.size,
        seconds=review.seconds,
        masks=masks,
    )


def _shown(size: tuple[int, int]) -> str:
    height, width = size
    return f"{width} by {height} pixels"
