"""Starts, hears and ends a capture process."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import threading
import time
import weakref

import msgspec

from samedge.live import messages
from samedge.live.messages import Captured, Message, Order
from samedge.live.slots import FrameMemory, new_memory
from samedge.live.sources.base import ReadOptions
from samedge.machine.child import ending, python_command, python_environment
from samedge.types import Array

_READ_BYTES = 1 << 16
_GRACE_S = 0.5


class CaptureProcess:
    """One process that reads one source; see :mod:`samedge.live.capture`.

    Its memory lives until nobody refers to this object any more, so that a frame that waits can
    still be read when the process is gone.
    """

    def __init__(
        self, source: str, spec: str, *, options: ReadOptions, paced: bool, waits: bool
    ) -> None:
        descriptor = new_memory()
        weakref.finalize(self, os.close, descriptor)
        self._memory, self._reading = FrameMemory(descriptor), threading.Lock()
        order = Order(
            source=source,
            spec=spec,
            paced=paced,
            waits=waits,
            options=msgspec.Raw(msgspec.json.encode(options)),
            memory=descriptor,
        )
        self._process = subprocess.Popen(
            python_command("samedge.live.capture", [msgspec.json.encode(order).decode()]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[descriptor],
            bufsize=0,
            env=python_environment(),
            start_new_session=True,  # Ctrl-C in a terminal is for the caller, who ends this one
        )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self._out, self._in = self._process.stdout, self._process.stdin
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)
        self._heard = b""

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def next(self, timeout_s: float) -> Message | None:
        """What it says next; ``None`` when it is silent for so long.

        Raises:
            EOFError: it has ended.
        """
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._heard:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                return None
            data = self._out.read(_READ_BYTES)
            if not data:
                raise EOFError
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        return messages.decode(line)

    def pixels(self, message: Captured) -> Array:
        """A copy of a frame, (H, W, 3) uint8; its slot is not given back by this."""
        with self._reading:  # frames of another size move the memory
            return self._memory.read(message.offset, (message.height, message.width))

    def give_back(self, slot: int) -> None:
        """Let the process write into a slot again."""
        with contextlib.suppress(OSError, ValueError):  # it has ended
            self._in.write(bytes([slot]))

    def end(self) -> tuple[int, str]:
        """End the process, however it feels about it.

        Returns:
            Frames that it had captured, and how it ended.
        """
        with contextlib.suppress(OSError):
            self._in.close()  # it ends by itself, unless it hangs in a library's lock
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._selector.close()
        self._out.close()
        return self._memory.captured, ending(code)
