"""Label Studio's run lengths of brush masks: bits, as its ``rle-pack`` and converter have them.

A header (32 bits: how many values; 5: bits of a value, less one; 4 x 4: bits of the four kinds of
lengths, less one each), then series: one bit (1: one value many times; 0: as many values), two bits
for the kind of length, the length less one, and the value or values. The values are those of the
picture's pixels in rows, four channels each.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from samedge.pixels.segmentations import UndrawableError
from samedge.types import Size

_CHANNELS = 4
_LENGTH_BITS = (3, 4, 8, 16)
_VALUE_BITS = 8


def brush_from_mask(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Bytes of a mask's run lengths; 255 inside.

    Args:
        mask: (H, W) bool.
    """
    flat = mask.ravel()
    edges = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    pieces = [f"{flat.size * _CHANNELS:032b}{_VALUE_BITS - 1:05b}"]
    pieces += [f"{bits - 1:04b}" for bits in _LENGTH_BITS]
    for start, length in zip(
        edges[:-1].tolist(), (np.diff(edges) * _CHANNELS).tolist(), strict=True
    ):
        pieces += _series(length, "11111111" if flat[start] else "00000000")
    bits = "".join(pieces)
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def _series(length: int, value: str) -> list[str]:
    pieces = []
    while length:
        part = min(length, 1 << _LENGTH_BITS[-1])
        kind = next(i for i, bits in enumerate(_LENGTH_BITS) if part <= 1 << bits)
        pieces.append(f"1{kind:02b}{part - 1:0{_LENGTH_BITS[kind]}b}{value}")
        length -= part
    return pieces


def mask_from_brush(data: object, size: Size) -> npt.NDArray[np.bool_]:
    """Decode a brush mask: inside where the last channel is at least half.

    Args:
        data: bytes as whole numbers.
        size: ``(height, width)``.

    Raises:
        UndrawableError: not such run lengths, or of another size.
    """
    if not isinstance(data, list):
        raise UndrawableError("a brush without run lengths")
    try:
        stream = _Bits(bytes(data))
        count, value_bits = stream.read(32), stream.read(5) + 1
        length_bits = [stream.read(4) + 1 for _ in range(4)]
    except (TypeError, ValueError) as error:
        raise UndrawableError("brush run lengths that are damaged") from error
    if count != size[0] * size[1] * _CHANNELS:
        raise UndrawableError("a brush of another size than its image")
    values = np.zeros(count, np.uint8)
    place = 0
    try:
        while place < count:
            same = stream.read(1)
            stop = place + 1 + stream.read(length_bits[stream.read(2)])
            if stop > count:
                raise UndrawableError("brush run lengths that do not fill the image")
            if same:
                values[place:stop] = min(stream.read(value_bits), 255)
            else:
                values[place:stop] = [
                    min(stream.read(value_bits), 255) for _ in range(stop - place)
                ]
            place = stop
    except ValueError as error:
        raise UndrawableError("brush run lengths that do not fill the image") from error
    return np.asarray(values.reshape(*size, _CHANNELS)[:, :, -1] > 127)


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def read(self, count: int) -> int:
        """The next bits as a number.

        Raises:
            ValueError: there are none left.
        """
        stop = self._place + count
        if stop > 8 * len(self._data):
            raise ValueError("the bits end")
        first, last = self._place // 8, -(-stop // 8)
        window = int.from_bytes(self._data[first:last], "big")
        self._place = stop
        return window >> (8 * last - stop) & ((1 << count) - 1)
