"""``weight.bin``: the tensors of a Core ML package.

The file starts with a 64-byte header (count of tensors, version). Every tensor has a 64-byte
metadata record: sentinel 0xDEADBEEF, element type, size in bytes, offset of the data, and, for
elements of less than a byte, the bits of padding in the last byte. Little endian throughout.

Source: ``MILBlob/Blob/StorageFormat.hpp`` of coremltools.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samedge.errors import BundleError

Array = npt.NDArray[Any]

SENTINEL = 0xDEADBEEF
RECORD = struct.Struct("<IIQQQ")
"""Sentinel, element type, size in bytes, offset of the data, padding in bits."""

ELEMENT_TYPES: dict[int, str] = {
    1: "float16",
    2: "float32",
    3: "uint8",
    4: "int8",
    5: "bfloat16",
    6: "int16",
    7: "uint16",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
    14: "int32",
    15: "uint32",
}
SUB_BYTE_BITS = {"int4": 4, "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6}


def unpack_bits(packed: Array, bits: int, count: int) -> Array:
    """Unpack ``count`` unsigned numbers of ``bits`` bits each, least significant bits first.

    Args:
        packed: uint8 bytes; a number may span two of them.
        bits: 1 to 8.
        count: how many numbers; the rest is padding.

    Returns:
        (count,) uint8.
    """
    flat = np.unpackbits(np.ascontiguousarray(packed, np.uint8), bitorder="little")
    digits = flat[: count * bits].reshape(count, bits)
    padded = np.zeros((count, 8), np.uint8)
    padded[:, :bits] = digits
    return np.packbits(padded, axis=1, bitorder="little")[:, 0]


def decode(data: bytes | Array, dtype: str, shape: tuple[int, ...]) -> Array:
    """Turn raw bytes into an array; elements of less than a byte become int8 or uint8.

    Args:
        data: the bytes of the tensor, row-major.
        dtype: MIL's name of the element type, lower case.
        shape: the shape of the tensor.
    """
    raw = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
    count = int(np.prod(shape, dtype=np.int64))
    if dtype in SUB_BYTE_BITS:
        values = unpack_bits(raw, SUB_BYTE_BITS[dtype], count)
        if dtype == "int4":
            values = (values.astype(np.int8) ^ 8) - np.int8(8)
        return values.reshape(shape)
    if dtype == "bfloat16":
        wide = raw.view("<u2").astype(np.uint32) << np.uint32(16)
        floats: Array = wide.view(np.float32)[:count].reshape(shape)
        return floats
    plain: Array = raw.view(np.dtype(dtype).newbyteorder("<"))[:count].reshape(shape)
    return plain


class BlobFile:
    """One ``weight.bin``, mapped into memory; reading a tensor checks its record first."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise BundleError(
                f"{path} is missing, but the program refers to it: copy the whole package again."
            )
        self.path = path
        self._bytes: Array = np.memmap(path, np.uint8, mode="r")

    def read(self, offset: int, dtype: str, shape: tuple[int, ...]) -> Array:
        """Read the tensor whose metadata record starts at ``offset``.

        Raises:
            BundleError: no record there, another element type, or a size that does not fit.
        """
        if offset + RECORD.size > len(self._bytes):
            raise BundleError(
                f"{self.path.name} has {len(self._bytes)} bytes, but a tensor is expected at byte "
                f"{offset}: the file is cut off, copy the package again."
            )
        record = RECORD.unpack(self._bytes[offset : offset + RECORD.size].tobytes())
        sentinel, element_type, size, start, _padding = record
        if sentinel != SENTINEL:
            raise BundleError(
                f"{self.path.name} holds {sentinel:#x} at byte {offset}, expected {SENTINEL:#x}: "
                "the file is damaged or belongs to another program."
            )
        self._check(offset, (element_type, size, start), dtype, shape)
        return decode(self._bytes[start : start + size], dtype, shape)

    def _check(
        self, offset: int, record: tuple[int, int, int], dtype: str, shape: tuple[int, ...]
    ) -> None:
        element_type, size, start = record
        found = ELEMENT_TYPES.get(element_type, f"unknown type {element_type}")
        if found != {"bool": "uint8"}.get(dtype, dtype):
            raise BundleError(
                f"{self.path.name} holds {found} at byte {offset}, but the program declares "
                f"{dtype}: weights and program do not belong together."
            )
        bits = SUB_BYTE_BITS.get(dtype) or 8 * (2 if dtype == "bfloat16" else _itemsize(dtype))
        expected = -(-int(np.prod(shape, dtype=np.int64)) * bits // 8)
        if size != expected or start + size > len(self._bytes):
            raise BundleError(
                f"{self.path.name} holds {size} bytes at byte {start}, expected {expected} for "
                f"{dtype}{shape}: the file is cut off or belongs to another program."
            )


def _itemsize(dtype: str) -> int:
    return np.dtype(dtype).itemsize
