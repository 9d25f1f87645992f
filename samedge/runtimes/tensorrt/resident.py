"""Results that stay on the GPU while their host copy lives, so that they need not go back there.

The image embedding is made once and read by every prompt. An encoder's session returns it as an
ordinary array that also knows the GPU's copy; a decoder's session on the same GPU takes that copy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from samedge.runtimes.base import Array
from samedge.runtimes.tensorrt.cuda import DeviceBuffer


class ResidentArray(np.ndarray[Any, Any]):
    """A read-only array whose bytes also lie on a GPU.

    Views and copies of it are plain in this respect: they may hold other bytes.

    Attributes:
        on_device: the GPU's copy, or ``None`` for a view.
    """

    on_device: DeviceBuffer | None

    def __array_finalize__(self, source: Any) -> None:
        del source
        self.on_device = None


def resident(array: Array, buffer: DeviceBuffer) -> ResidentArray:
    """Make an array read-only and tie the GPU's copy to it."""
    view = array.view(ResidentArray)
    view.on_device = buffer
    view.flags.writeable = False
    array.flags.writeable = False
    return view


def device_copy(array: Array, *, index: int) -> DeviceBuffer | None:
    """The copy of an array on GPU number ``index``, if there is one."""
    buffer = array.on_device if isinstance(array, ResidentArray) else None
    if buffer is None or buffer.cuda.index != index or array.flags.writeable:
        return None
    return buffer
