"""Videos that a program sent frame by frame: kept a while, and followed by samedge's tracker."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from samedge.errors import PromptError
from samedge.pixels.images import load_image
from samedge.predict.predictor import Predictor
from samedge.tracking.base import TrackedObject
from samedge.tracking.tracker import Tracker
from samedge.types import Prompt
from samedge.web.server.cache import Cache
from samedge.web.server.failures import NotFoundError
from samedge.web.server.service import Service

_SESSIONS = 8


class Video:
    """The frames of one video and what was asked about them.

    Attributes:
        id: of the session; nobody guesses it.
        frames: picture files.
        prompts: by frame and object; a second one about the same replaces the first.
    """

    def __init__(self, frames: Sequence[bytes]) -> None:
        self.id = uuid.uuid4().hex
        self.frames = tuple(frames)
        self.prompts: dict[tuple[int, int], Prompt] = {}

    @property
    def size_bytes(self) -> int:
        """Of all frames."""
        return sum(len(frame) for frame in self.frames)

    def frame(self, index: int) -> bytes:
        """The picture of a frame.

        Raises:
            NotFoundError: there are not so many.
        """
        if not 0 <= index < len(self.frames):
            raise NotFoundError(
                f"There is no frame {index}: the video has {len(self.frames)}, counted from 0."
            )
        return self.frames[index]

    def range_of(self, first: int | None, last: int | None) -> tuple[int, int]:
        """First and last frame to follow through, both included.

        Args:
            first: ``None`` is the first with a prompt.
            last: ``None`` is the video's last.

        Raises:
            PromptError: nothing was asked about any of them.
            NotFoundError: there are not so many frames.
        """
        asked = sorted({frame for frame, _ in self.prompts})
        start = first if first is not None else (asked[0] if asked else 0)
        stop = last if last is not None else len(self.frames) - 1
        self.frame(start)
        self.frame(stop)
        if not any(start <= frame <= stop for frame in asked):
            raise PromptError(
                f"Nothing was asked about the frames {start} to {stop}: click an object first."
            )
        return start, stop

    def followed(
        self, predictor: Predictor, *, first: int, last: int
    ) -> Iterator[tuple[int, list[tuple[TrackedObject, int]]]]:
        """The objects of each frame from the first prompt on, each with its caller's number.

        Args:
            predictor: of the model.
            first: frame.
            last: frame, included.

        Raises:
            ImageError: a frame is no image, or has another size than those before.
        """
        asked: dict[int, list[tuple[int, Prompt]]] = defaultdict(list)
        for (frame, number), prompt in sorted(self.prompts.items(), key=lambda item: item[0]):
            asked[frame].append((number, prompt))
        tracker = Tracker(predictor)
        state: Any = None
        numbers: dict[int, int] = {}
        for index in range(first, last + 1):
            image = load_image(self.frames[index])
            objects: tuple[TrackedObject, ...] = ()
            if state is not None:
                stepped = tracker.step(state, image)
                state, objects = stepped.state, stepped.objects
            if asked[index]:
                for number, _ in asked[index]:  # asked again: the new prompt takes its place
                    for known in [k for k, n in numbers.items() if n == number]:
                        state = tracker.without(state, known)
                        del numbers[known]
                before = set(numbers)
                begun = tracker.begin(image, [p for _, p in asked[index]], state=state)
                state, objects = begun.state, begun.objects
                new = [found.id for found in objects if found.id not in before]
                numbers |= dict(zip(new, (n for n, _ in asked[index]), strict=True))
            if state is not None:
                yield index, [(found, numbers[found.id]) for found in objects]


class VideoSessions:
    """The videos that a server keeps: as many bytes as its images, and as long.

    Args:
        service: of the server.
    """

    def __init__(self, service: Service) -> None:
        settings = service.settings
        self._videos: Cache[Video] = Cache(
            count=_SESSIONS, size_bytes=settings.kept_bytes, keep_s=settings.keep_s
        )

    def add(self, frames: Sequence[bytes]) -> Video:
        """Keep a video."""
        video = Video(frames)
        self._videos.put(video)
        return video

    def get(self, session_id: str) -> Video:
        """A video.

        Raises:
            NotFoundError: it is not kept, or no longer.
        """
        found = self._videos.get(session_id)
        if found is None:
            raise NotFoundError(
                f"There is no video {session_id!r:.80}, or it was dropped: send its frames again."
            )
        return found

    def drop(self, session_id: str) -> None:
        """Forget a video."""
        self._videos.drop(session_id)
