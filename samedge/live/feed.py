"""Keeps an inbox fed from one source: captures, watches, and opens again what failed."""

from __future__ import annotations

import dataclasses
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from samedge.errors import SamedgeError, SourceError, error_named
from samedge.live.frame import now_s
from samedge.live.inbox import Inbox, Parcel
from samedge.live.mailbox import Drop
from samedge.live.messages import Captured, Damaged, Failed, Message, Opened, Remarked
from samedge.live.process import CaptureProcess
from samedge.live.sources.base import Grab, ReadOptions, grab_from_item, no_frames
from samedge.live.watch import BackOff, Fault, Seen, Sighting, WatchSettings, look, observe

logger = logging.getLogger(__name__)

_POLL_S = 0.1
_DIED = SourceError("The capture process died.")  # how is known after its end
REOPENED_ON = frozenset(Fault)


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened to a source.

    Attributes:
        kind: a :class:`~samedge.live.watch.Fault`'s value, ``remark``, ``connected``,
            ``reconnecting`` or ``ended``.
        message: the same for people.
        at_s: when, on the clock of :func:`~samedge.live.frame.now_s`.
        captured: frames captured until then.
    """

    kind: str
    message: str
    at_s: float
    captured: int


@dataclasses.dataclass(frozen=True)
class FeedSettings:
    """How a source is read, watched and opened again.

    Attributes:
        name: how messages call it.
        waits: the source waits for whoever takes its frames, and nothing is dropped.
        is_live: opened again when it fails.
        watch: when it counts as faulty.
        back_off: how long to wait before it is opened again.
        reopened_on: faults after which a live source is opened again; others are only told.
    """

    name: str
    waits: bool = False
    is_live: bool = True
    watch: WatchSettings = dataclasses.field(default_factory=WatchSettings)
    back_off: BackOff = dataclasses.field(default_factory=BackOff)
    reopened_on: frozenset[Fault] = REOPENED_ON


class Feed(ABC):
    """A thread that puts a source's frames into an inbox."""

    def __init__(
        self, inbox: Inbox, settings: FeedSettings, *, on_event: Callable[[Event], None]
    ) -> None:
        self.inbox, self.settings = inbox, settings
        self._on_event = on_event
        self._stop = threading.Event()
        self._seen = Seen()
        self._watch = settings.watch
        self._thread = threading.Thread(target=self._run, name="samedge-feed", daemon=True)

    def start(self) -> None:
        """Begin to capture."""
        self._thread.start()

    def close(self) -> None:
        """Stop capturing; returns when the thread has ended, or hangs in a user's own iterator."""
        self._stop.set()
        self.inbox.close()
        self._thread.join(5.0)

    @abstractmethod
    def _feed(self) -> None:
        """Capture until the end."""

    def _run(self) -> None:
        told = "has failed"  # one that never opened did not end
        try:
            self._feed()
        except SamedgeError as error:
            self.inbox.end(error)
        except Exception as error:  # a thread's error must reach whoever takes frames
            logger.exception("Capturing %s failed", self.settings.name)
            self.inbox.end(SourceError(f"Capturing {self.settings.name} failed: {error!r}."))
        else:
            told = "has ended"
            self.inbox.end()
        finally:
            self.tell("ended", f"{self.settings.name} {told}")

    def tell(self, kind: str, message: str) -> None:
        """Report an event."""
        level = logging.INFO if kind in ("connected", "ended") else logging.WARNING
        logger.log(level, "%s.", message)
        self._on_event(Event(kind, message, now_s(), self.inbox.counts.captured))

    def watched(self, sighting: Sighting) -> frozenset[Fault]:
        """Look at a captured frame; faults are told, and those that need a new start returned."""
        self._seen, begun = observe(self._seen, sighting, settings=self._watch)
        for fault in begun:
            self.tell(fault.value, _fault_message(self.settings.name, fault, sighting))
        return begun & self.settings.reopened_on if self.settings.is_live else frozenset()

    def is_wrong_size(self, sighting: Sighting) -> bool:
        """Whether a frame has not the size that was asked for."""
        return self._watch.size is not None and sighting.size not in (None, self._watch.size)


def _fault_message(name: str, fault: Fault, sighting: Sighting) -> str:
    what = {
        Fault.FROZEN: "shows the same picture all the time",
        Fault.BLACK: "is black",
        Fault.DAMAGED: "sends damaged frames",
        Fault.CLOCK_JUMP: f"jumped in time, to {sighting.pts_s} s",
        Fault.STALLED: "has stalled",
        Fault.VANISHED: "has vanished",
    }
    if fault is Fault.WRONG_SIZE and sighting.size is not None:
        return f"{name} gives frames of {sighting.size[1]}x{sighting.size[0]} pixels now"
    return f"{name} {what[fault]}"


class ProcessFeed(Feed):
    """Reads through a capture process."""

    def __init__(
        self,
        inbox: Inbox,
        settings: FeedSettings,
        *,
        on_event: Callable[[Event], None],
        source: str,
        spec: str,
        paced: bool,
        options: ReadOptions,
    ) -> None:
        super().__init__(inbox, settings, on_event=on_event)
        self._start = partial(
            CaptureProcess, source, spec, options=options, paced=paced, waits=settings.waits
        )
        if not settings.is_live and not paced:  # read as fast as it goes: only steps back tell
            self._watch = dataclasses.replace(settings.watch, jump_s=float("inf"))
        self._process: CaptureProcess | None = None
        self._expected = 0
        self._was_open = False
        self._failures = 0
        self._healthy_since_s: float | None = None

    @property
    def pid(self) -> int | None:
        """Number of the capture process, if one runs."""
        return None if self._process is None else self._process.pid

    def _feed(self) -> None:
        while not self._stop.is_set():
            self._process, self._expected, self._seen = self._start(), 0, Seen()
            self._healthy_since_s = None
            try:
                failure = self._session(self._process)
            finally:
                captured, how = self._process.end()
                self.inbox.miss(captured - self._expected, Drop.LOST)
                self._process = None
            if failure is None or self._stop.is_set():
                return
            self._pause(SourceError(self._obituary(how)) if failure is _DIED else failure)

    def _obituary(self, how: str) -> str:
        return f"The capture process of {self.settings.name} ended with {how}."

    def _pause(self, failure: SamedgeError) -> None:
        """Wait before the next try, or give up.

        Raises:
            SamedgeError: the failure, when there is no next try.
        """
        settled_s = self.settings.back_off.settled_s
        since = self._healthy_since_s
        self._failures = (
            1 if since is not None and now_s() - since > settled_s else self._failures + 1
        )
        tries = self.settings.back_off.tries
        may_try = self._was_open or self.settings.back_off.at_start
        if not self.settings.is_live or not may_try:
            raise failure
        if tries is not None and self._failures > tries:
            raise failure
        pause_s = self.settings.back_off.pause_s(self._failures)
        self.tell("reconnecting", f"{str(failure).rstrip('.')}; opening it again in {pause_s:g} s")
        self._stop.wait(pause_s)

    def _session(self, process: CaptureProcess) -> SamedgeError | None:
        """Hear one process to its end; what failed, or ``None`` when the source has ended."""
        silent_since = now_s()
        while not self._stop.is_set():
            try:
                message = process.next(_POLL_S)
            except EOFError:
                self.tell(Fault.VANISHED.value, f"the capture of {self.settings.name} has died")
                return _DIED
            if message is None:
                fault = self._silence(now_s() - silent_since)
                if fault is not None:
                    return fault
                continue
            ended, failure = self._hear(process, message)
            if ended or failure is not None:
                return failure
            silent_since = now_s()
        return None

    def _silence(self, silent_s: float) -> SamedgeError | None:
        limit = self._watch.open_s if self._healthy_since_s is None else self._watch.stalled_s
        if not self.settings.is_live:
            limit = self._watch.recording_s
        if silent_s < limit:
            return None
        message = f"{self.settings.name} has given no frame for {limit:g} s"
        self.tell(Fault.STALLED.value, message)
        return SourceError(f"{message}.")

    def _hear(self, process: CaptureProcess, message: Message) -> tuple[bool, SamedgeError | None]:
        """Whether the source has ended, and what failed."""
        if isinstance(message, Remarked):
            self.tell("remark", message.message)
            return False, None
        if isinstance(message, Opened):
            self._was_open = True
            self._healthy_since_s = now_s()
            size = f"{message.width}x{message.height}"
            self.tell("connected", f"{self.settings.name} gives {size} pixels")
            return False, None
        if isinstance(message, Captured):
            return False, self._captured(process, message)
        if isinstance(message, Damaged):
            return False, self._damaged(message)
        self._account(message.captured)
        if isinstance(message, Failed):
            return True, error_named(message.kind, message.message, default=SourceError)
        return True, self._ended()

    def _ended(self) -> SamedgeError | None:
        if not self.settings.is_live:
            return None
        self.tell(Fault.VANISHED.value, f"{self.settings.name} gives no more frames")
        return SourceError(f"{self.settings.name} gives no more frames.")

    def _account(self, number: int) -> None:
        """Frames before ``number`` that were not announced were dropped by the process."""
        self.inbox.miss(number - self._expected, Drop.UNSENT)
        self._expected = number

    def _damaged(self, message: Damaged) -> SamedgeError | None:
        self._account(message.number)
        self._expected += 1
        self.inbox.miss(1, Drop.DAMAGED)
        return self._reopening(Sighting(message.captured_s, None, None))

    def _captured(self, process: CaptureProcess, message: Captured) -> SamedgeError | None:
        self._account(message.number)
        self._expected += 1
        sighting = Sighting(
            at_s=message.captured_s,
            pts_s=message.pts_s,
            size=(message.height, message.width),
            fingerprint=message.fingerprint,
            brightness=message.brightness,
        )
        failure = self._reopening(sighting)
        release = partial(process.give_back, message.slot)
        if self.is_wrong_size(sighting):
            self.inbox.miss(1, Drop.WRONG_SIZE)
            release()
            return failure
        parcel = Parcel(
            number=self.inbox.counts.captured,
            captured_s=message.captured_s,
            pts_s=message.pts_s,
            unpack=partial(process.pixels, message),
            release=release,
        )
        self.inbox.put(parcel, waits=self.settings.waits)
        return failure

    def _reopening(self, sighting: Sighting) -> SamedgeError | None:
        faults = self.watched(sighting)
        if not faults:
            return None
        what = " and ".join(
            _fault_message(self.settings.name, fault, sighting) for fault in sorted(faults)
        )
        return SourceError(f"{what}.")


class IteratorFeed(Feed):
    """Reads a Python iterator of the user's, in a thread of this process.

    Such a source cannot be killed when it hangs, and not be opened again when it ends.
    """

    def __init__(
        self,
        inbox: Inbox,
        settings: FeedSettings,
        *,
        on_event: Callable[[Event], None],
        items: Iterator[Any],
    ) -> None:
        super().__init__(inbox, dataclasses.replace(settings, is_live=False), on_event=on_event)
        self._items = items

    def _feed(self) -> None:
        first, count, whole = None, 0, 0
        for count, item in enumerate(self._items, start=1):
            grab = grab_from_item(item)
            first, whole = (item if count == 1 else first), whole + (grab.image is not None)
            self._capture(grab)
            if self._stop.is_set():
                return
        if count and not whole:
            raise SourceError(no_frames(self.settings.name, first, count=count))

    def _capture(self, grab: Grab) -> None:
        at_s = now_s()
        if grab.image is None:
            self.inbox.miss(1, Drop.DAMAGED)
            self.watched(Sighting(at_s, grab.pts_s, None))
            return
        image = grab.image.copy()  # the user may write into it again
        fingerprint, brightness = look(image)
        sighting = Sighting(
            at_s, grab.pts_s, (image.shape[0], image.shape[1]), fingerprint, brightness
        )
        self.watched(sighting)
        if self.is_wrong_size(sighting):
            self.inbox.miss(1, Drop.WRONG_SIZE)
            return
        number = self.inbox.counts.captured
        parcel = Parcel(number, at_s, grab.pts_s, lambda: image, lambda: None)
        self.inbox.put(parcel, waits=self.settings.waits)
