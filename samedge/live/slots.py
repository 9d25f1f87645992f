"""Frames in memory that two processes share.

The capture process owns the slots that are free, writes a frame into one and says so; the reader
copies the frame and gives the slot back. Who owns a slot is only ever said through pipes, so that
no lock can die with a process and no half frame can be read.

The memory begins with a count of captured frames. It is what remains when a capture process is
killed.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile

import numpy as np

from samedge.types import Array, Size

SLOTS = 4
"""One is written, one is on its way, one waits, one is copied."""

_COUNT = struct.Struct("<q")
_HEADER_BYTES = mmap.ALLOCATIONGRANULARITY
_CHANNELS = 3


def new_memory() -> int:
    """File descriptor of empty memory without a name, which ends with its last process."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("samedge-frames")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _HEADER_BYTES)
    return descriptor


class FrameMemory:
    """One process's view of the memory; a context manager.

    Attributes:
        descriptor: of the memory; not closed with the view.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, os.fstat(descriptor).st_size)

    def close(self) -> None:
        """Forget the memory."""
        self._map.close()

    def __enter__(self) -> FrameMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def captured(self) -> int:
        """Frames that the capture process has captured so far."""
        return int(_COUNT.unpack_from(self._map)[0])

    @captured.setter
    def captured(self, count: int) -> None:
        """Frames that this process has captured so far."""
        _COUNT.pack_into(self._map, 0, count)

    def grow(self, size: Size) -> range:
        """Add a set of slots for frames of a size, behind all others.

        Returns:
            The offset of each slot.

        Raises:
            OSError: there is no memory.
        """
        page = mmap.ALLOCATIONGRANULARITY
        slot_bytes = -(-size[0] * size[1] * _CHANNELS // page) * page
        start = len(self._map)
        end = start + SLOTS * slot_bytes
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self.descriptor, 0, end)  # an error now, and no SIGBUS later
        else:
            os.ftruncate(self.descriptor, end)
        self._remap(end)
        return range(start, end, slot_bytes)

    def write(self, offset: int, image: Array) -> None:
        """Copy a frame into a slot."""
        self._view(offset, (image.shape[0], image.shape[1]))[:] = image

    def read(self, offset: int, size: Size) -> Array:
        """A copy of the frame in a slot."""
        if offset + size[0] * size[1] * _CHANNELS > len(self._map):
            self._remap(os.fstat(self.descriptor).st_size)
        copy: Array = self._view(offset, size).copy()
        return copy

    def _remap(self, end: int) -> None:
        self._map.close()
        self._map = mmap.mmap(self.descriptor, end)

    def _view(self, offset: int, size: Size) -> Array:
        count = size[0] * size[1] * _CHANNELS
        flat = np.frombuffer(self._map, np.uint8, count, offset)
        view: Array = flat.reshape(*size, _CHANNELS)
        return view
