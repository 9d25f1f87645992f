"""Between ``sensor_msgs/Image`` and arrays, without cv_bridge."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_CHANNELS = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "rgba8": (0, 1, 2), "bgra8": (2, 1, 0)}
_WIDTHS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}


def rgb_from_message(message: Any) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a ``sensor_msgs/Image``.

    Raises:
        ValueError: an encoding that is none of rgb8, bgr8, rgba8, bgra8 and mono8, or half a frame.
    """
    if message.encoding not in _WIDTHS:
        raise ValueError(
            f"encoding {message.encoding!r}, expected one of {', '.join(_WIDTHS)}: let image_proc "
            "or the camera's driver convert it"
        )
    width = _WIDTHS[message.encoding]
    data = np.frombuffer(message.data, np.uint8)
    needed = message.step * (message.height - 1) + message.width * width
    if message.step < message.width * width or len(data) < needed:
        raise ValueError(
            f"{len(data)} bytes for {message.width}x{message.height} pixels, expected {needed}"
        )
    rows = np.zeros(message.step * message.height, np.uint8)
    rows[: len(data)] = data[: len(rows)]
    pixels = rows.reshape(message.height, message.step)[:, : message.width * width]
    pixels = pixels.reshape(message.height, message.width, width)
    if width == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels[..., list(_CHANNELS[message.encoding])])


def fill_mono(message: Any, values: npt.NDArray[np.uint8], header: Any) -> Any:
    """Make a ``sensor_msgs/Image`` of (H, W) uint8 values."""
    message.header = header
    message.height, message.width = values.shape
    message.encoding, message.is_bigendian = "mono8", 0
    message.step = values.shape[1]
    message.data = values.tobytes()
    return message
