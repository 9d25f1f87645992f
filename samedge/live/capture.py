"""The capture process: reads one source into shared memory, and can be killed at any moment.

A library that hangs in a read, crashes, or leaks takes this process with it and nothing else.
:mod:`samedge.live.captured` starts it, with its order as JSON in the one argument. It reads the
numbers of free slots from standard input, a byte each, and ends when that is closed.
"""

from __future__ import annotations

import collections
import contextlib
import os
import sys
import threading
import time
from typing import IO, NoReturn

import msgspec

from samedge.errors import SamedgeError
from samedge.files.error_documents import error_record
from samedge.live import sources
from samedge.live.frame import now_s
from samedge.live.messages import Captured, Damaged, Ended, Failed, Message, Opened, Order, Remarked
from samedge.live.slots import SLOTS, FrameMemory
from samedge.live.sources.base import Grab, ReadOptions, without_password
from samedge.live.watch import look
from samedge.types import Array, Size

LATE_S = 1.0
"""A recording that decodes later than this behind its own pace starts its pace anew."""

ORPHANED = 3
"""Exit code after the parent has gone."""

_MOST_FAULTS = 10  # damaged frames of which each is said


class FreeSlots:
    """The slots that the other side has given back, and a thread that hears of them."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._free: collections.deque[int] = collections.deque(range(SLOTS))
        self._given = threading.Semaphore(SLOTS)
        threading.Thread(target=self._listen, name="samedge-slots", daemon=True).start()

    def take(self, *, waits: bool) -> int | None:
        """A free slot; ``None`` when there is none and nobody waits for one."""
        return self._free.popleft() if self._given.acquire(blocking=waits) else None

    def give(self, slot: int) -> None:
        """A slot is free again."""
        self._free.append(slot)
        self._given.release()

    def _listen(self) -> NoReturn:
        while data := self._stream.read(1):
            self.give(data[0])
        os._exit(ORPHANED)  # even while a read hangs


class Pace:
    """When a recording's frames are due, by their own timestamps."""

    def __init__(self) -> None:
        self._origin_s: float | None = None

    def wait(self, pts_s: float | None) -> float:
        """Sleep until a frame is due, and return when it was."""
        now = now_s()
        if pts_s is None:
            return now
        if self._origin_s is None:
            self._origin_s = now - pts_s
        due = self._origin_s + pts_s
        if now > due + LATE_S or due > now + 60:  # decoding cannot keep up, or the clock jumped
            self._origin_s, due = now - pts_s, now
        if due > now:
            time.sleep(due - now)
        return due


class Capture:
    """One source, read into the shared memory."""

    def __init__(self, order: Order, free: FreeSlots, out: IO[bytes]) -> None:
        self._order, self._free, self._out = order, free, out
        self._memory = FrameMemory(order.memory)
        self._offsets: range = range(0)
        self._capacity = 0
        self._number = self._faults = 0
        self._pace = Pace() if order.paced else None
        self._encoder = msgspec.json.Encoder()

    def run(self) -> None:
        """Read to the end, and say how it ended."""
        try:
            source = sources.get(self._order.source)
            options = msgspec.json.decode(self._order.options, type=ReadOptions)
            for remark in source.remarks(self._order.spec):
                self._say(Remarked(without_password(remark)))
            with contextlib.closing(source.grabs(self._order.spec, options)) as grabs:
                for grab in grabs:
                    self._capture(grab)
        except SamedgeError as error:
            self._fail(type(error).__name__, str(error))
        except OSError as error:
            self._fail("SourceError", error_record(error).message)
        except Exception as error:  # noqa: BLE001 - a user's source; the parent says it
            self._fail("SourceError", f"{self._order.spec} failed: {type(error).__name__}: {error}")
        else:
            self._say(Ended(self._number))

    def _capture(self, grab: Grab) -> None:
        captured_s = self._pace.wait(grab.pts_s) if self._pace else now_s()
        number, self._number = self._number, self._number + 1
        self._memory.captured = self._number
        if grab.image is None:
            self._say(Damaged(number, captured_s))
            self._say_fault(grab.fault)
            return
        if number == 0 or not self._capacity:
            self._say(Opened(grab.image.shape[0], grab.image.shape[1]))
        slot = self._free.take(waits=self._order.waits)
        if slot is not None:
            self._send(slot, number, captured_s, grab.pts_s, grab.image)

    def _say_fault(self, fault: str | None) -> None:
        if fault is None:
            return
        self._faults += 1
        if self._faults <= _MOST_FAULTS:
            more = ", and more of them are not listed" if self._faults == _MOST_FAULTS else ""
            self._say(Remarked(without_password(f"{fault} Its frame is left out{more}")))

    def _send(
        self, slot: int, number: int, captured_s: float, pts_s: float | None, image: Array
    ) -> None:
        height, width = image.shape[:2]
        offset = self._room((height, width))[slot]
        self._memory.write(offset, image)
        fingerprint, brightness = look(image)
        self._say(
            Captured(
                slot,
                offset,
                height,
                width,
                number,
                captured_s,
                pts_s,
                fingerprint,
                brightness,
            )
        )

    def _room(self, size: Size) -> range:
        """Offsets of slots that hold a frame of this size.

        Larger frames get slots of their own: the reader may still copy out of the old ones.
        """
        needed = size[0] * size[1]
        if needed > self._capacity:
            self._offsets, self._capacity = self._memory.grow(size), needed
        return self._offsets

    def _fail(self, kind: str, message: str) -> None:
        self._say(Failed(self._number, kind, without_password(message)))

    def _say(self, message: Message) -> None:
        self._out.write(self._encoder.encode(message) + b"\n")
        self._out.flush()


def main() -> int:
    """Carry out the order on the command line."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    incoming = os.fdopen(0, "rb", buffering=0)  # never closed: a thread reads it to the end
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # what libraries print is no message
        capture = Capture(order, FreeSlots(incoming), out)
        with contextlib.suppress(BrokenPipeError):  # the parent has gone
            capture.run()
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a reading thread and foreign libraries need not be waited for
