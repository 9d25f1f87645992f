"""A camera, a stream or a recording as a loop over its newest frames."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import os
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from pathlib import Path
from typing import Any

from samedge.errors import OptionError, SourceError
from samedge.live import sources
from samedge.live.feed import Event, Feed, FeedSettings, IteratorFeed, ProcessFeed
from samedge.live.frame import VideoFrame
from samedge.live.inbox import Inbox
from samedge.live.mailbox import Counts, Intake
from samedge.live.sources.base import ReadOptions, without_password
from samedge.live.watch import BackOff, WatchSettings
from samedge.runtimes.sharing import Closable

_KEPT_EVENTS = 100
_ASYNC_STEP_S = 0.25


class Camera(Closable):
    """Frames of a camera, a stream or a recording; the newest one wins.

        with samedge.Camera("rtsp://camera/stream") as camera:
            for frame in camera:
                print(frame.number, frame.age_ms(), frame.image.shape)

    Frames are captured in a process of their own, which never waits for whoever takes them. What
    comes while somebody works on a frame replaces what waited; ``counts`` says what became of every
    frame. A live source that stalls, dies, freezes or goes black is opened again.

    Attributes:
        name: the source as it was given, without a password.
        is_live: whether the source has no end of its own.
        drops: whether frames that nobody takes in time are dropped.
    """

    _closed_error = SourceError
    _closed_words = "The camera is closed: open its source by another Camera."

    def __init__(
        self,
        source: str | int | Path | Iterable[Any],
        *,
        drop: bool | None = None,
        every: int = 1,
        max_age_ms: float | None = None,
        target_fps: float | None = None,
        options: ReadOptions | None = None,
        watch: WatchSettings | None = None,
        back_off: BackOff | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        """Choose the source; nothing is opened before the first frame is asked for.

        Args:
            source: a camera's number, a path, an address, a pipeline, or an iterable of frames.
            drop: drop frames rather than let the source wait. ``None`` drops from live sources
                and from iterators, and reads recordings whole. A recording that is read with
                ``drop=True`` plays at its own pace.
            every: take one frame in so many.
            max_age_ms: never take a frame that is older; only where frames may be dropped.
            target_fps: take at most so many frames a second; where the source waits, a second of
                its own clock.
            options: wishes for the source: size, frame rate, decoder. An iterable takes none.
            watch: when the source counts as faulty.
            back_off: how long to wait before a failed source is opened again; an iterable cannot.
            on_event: called from another thread when something happens to the source.

        Raises:
            SourceError: no kind of source reads it.
            OptionError: a number out of range, or an option that means nothing for this source.
        """
        pace = _Pace(every, max_age_ms, target_fps)
        self._events: collections.deque[Event] = collections.deque(maxlen=_KEPT_EVENTS)
        self._listener = on_event
        self._is_started = self._is_closed = False
        watch = watch or WatchSettings()
        self._feed: Feed
        if isinstance(source, (str, int, os.PathLike)):
            spec = os.fspath(source) if isinstance(source, os.PathLike) else str(source)
            kind, found = sources.find(spec)
            self.name, self.is_live = without_password(spec), found.is_live
            dropping = self.drops = found.is_live if drop is None else drop
            self._inbox = pace.inbox(drops=dropping)
            settings = FeedSettings(
                self.name,
                waits=not dropping,
                is_live=found.is_live,
                watch=watch,
                back_off=back_off or BackOff(),
            )
            self._feed = ProcessFeed(
                self._inbox,
                settings,
                on_event=self._heard,
                source=kind,
                spec=spec,
                paced=dropping and not found.is_live,
                options=options or ReadOptions(),
            )
        else:
            if not isinstance(source, Iterable):
                raise SourceError(
                    f"The source is a {type(source).__name__}, expected a path, an address, a "
                    "camera's number, or an iterable of frames."
                )
            self.name, self.is_live = type(source).__name__, True
            _refuse_for_iterable(options, back_off)
            self.drops = drop is not False
            self._inbox = pace.inbox(drops=self.drops)
            settings = FeedSettings(self.name, waits=not self.drops, watch=watch)
            self._feed = IteratorFeed(
                self._inbox, settings, on_event=self._heard, items=iter(source)
            )

    @property
    def counts(self) -> Counts:
        """What became of every captured frame so far."""
        return self._inbox.counts

    @property
    def events(self) -> tuple[Event, ...]:
        """The last hundred things that happened to the source."""
        return tuple(self._events)

    @property
    def is_finished(self) -> bool:
        """Whether no frame will come any more."""
        return self._inbox.is_finished

    @property
    def capture_pid(self) -> int | None:
        """Number of the capture process, if one runs."""
        return self._feed.pid if isinstance(self._feed, ProcessFeed) else None

    def start(self) -> None:
        """Begin to capture now instead of when the first frame is asked for.

        Raises:
            SourceError: the camera was closed before.
        """
        if not self._is_started:
            self.check_open()
            self._is_started = True
            self._feed.start()

    def take(self, timeout_s: float | None = None) -> VideoFrame | None:
        """The newest frame; call :meth:`done` when it is finished.

        Args:
            timeout_s: how long to wait; ``None`` waits for ever.

        Returns:
            The frame, or ``None`` at the end of the source or of the time; see ``is_finished``.

        Raises:
            SourceError: the source failed, and will not be opened again.
            BackendUnavailableError: a library is missing; ends in the install line.
        """
        self.start()
        return self._inbox.take(timeout_s)

    def done(self) -> None:
        """A taken frame is finished: it counts as processed."""
        self._inbox.done()

    def __iter__(self) -> Generator[VideoFrame, None, None]:
        """The newest frame each time, to the end of the source.

        A frame counts as processed when the next one is asked for.

        Raises:
            SourceError, BackendUnavailableError: as :meth:`take`.
        """
        while (frame := self.take()) is not None:
            try:
                yield frame
            finally:
                self.done()

    async def __aiter__(self) -> AsyncGenerator[VideoFrame, None]:
        """As iterating, for ``async for``: the event loop runs on while a frame is waited for."""
        while not self.is_finished:
            frame = await self._take_beside()
            if frame is None:
                continue
            try:
                yield frame
            finally:
                self.done()

    def run(
        self,
        on_frame: Callable[[VideoFrame], object],
        *,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> Counts:
        """Call a function with each frame, to the end of the source.

        Args:
            on_frame: gets the newest frame each time.
            keep_going: asked after every frame.

        Raises:
            SourceError, BackendUnavailableError: as :meth:`take`.
        """
        with contextlib.closing(iter(self)) as frames:
            for frame in frames:
                on_frame(frame)
                if not keep_going():
                    break
        return self.counts

    @property
    def is_closed(self) -> bool:
        """Whether nothing is captured any more."""
        return self._is_closed

    def close(self) -> None:
        """Stop capturing. What waits is dropped; ``counts`` stays."""
        self._is_closed = True
        if self._is_started:
            self._feed.close()
        self._inbox.close()

    def _heard(self, event: Event) -> None:
        self._events.append(event)
        if self._listener is not None:
            self._listener(event)

    async def _take_beside(self) -> VideoFrame | None:
        loop = asyncio.get_running_loop()
        taking = loop.run_in_executor(None, self.take, _ASYNC_STEP_S)
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(self._finish_unwanted)
            raise

    def _finish_unwanted(self, taking: asyncio.Future[VideoFrame | None]) -> None:
        if not taking.cancelled() and taking.exception() is None and taking.result() is not None:
            self.done()


@dataclasses.dataclass(frozen=True)
class _Pace:
    """How many frames are wanted, as a ``Camera`` is told.

    Raises:
        OptionError: a number out of range.
    """

    every: int
    max_age_ms: float | None
    target_fps: float | None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise OptionError(f"every is {self.every}, expected 1 or more.")
        for name in ("max_age_ms", "target_fps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise OptionError(f"{name} is {value}, expected a number above 0.")

    def inbox(self, *, drops: bool) -> Inbox:
        """Where such frames are taken from.

        Args:
            drops: whether frames may be dropped; a source that waits is thinned by its own clock.

        Raises:
            OptionError: a limit of age for a source that waits.
        """
        step_s = 0.0 if self.target_fps is None else 1 / self.target_fps
        if drops:
            oldest_s = None if self.max_age_ms is None else self.max_age_ms / 1e3
            return Inbox(Intake(self.every, oldest_s, step_s))
        if self.max_age_ms is not None:
            raise OptionError(
                f"max_age_ms is {self.max_age_ms:g}, and no frame of this source is dropped: leave "
                "it out, or let frames be dropped (drop=True; `samedge camera` plays a recording "
                "at its own pace)."
            )
        return Inbox(Intake(self.every), spacing_s=step_s)


def _refuse_for_iterable(options: ReadOptions | None, back_off: BackOff | None) -> None:
    """Refuse what an iterable cannot be told.

    Raises:
        OptionError: it was told that.
    """
    given = {"options": options, "back_off": back_off}
    for name, value in given.items():
        if value is not None:
            raise OptionError(
                f"{name} is for a source that samedge opens, and this one is an iterable: leave "
                f"{name} out."
            )
