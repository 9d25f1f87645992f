"""An ML program as plain dataclasses: functions, operations, types and constants.

MIL ("model intermediate language") is Core ML's static single assignment form. A function is a
list of operations in execution order; every value has one name, one producer and one type.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from samedge.errors import BundleError
from samedge.runtimes.mil import blob, proto

Array = npt.NDArray[Any]
Blobs = Callable[[str], blob.BlobFile]
_IMMEDIATE_FIELDS = {
    "floats": "float32",
    "ints": "int32",
    "bools": "bool",
    "longInts": "int64",
    "doubles": "float64",
}


@dataclasses.dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape; ``None`` is an axis whose size is known only at run time."""

    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype}({', '.join('?' if d is None else str(d) for d in self.shape)})"

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating-point numbers."""
        return "float" in self.dtype

    @property
    def fixed_shape(self) -> tuple[int, ...]:
        """The shape of a type without unknown axes.

        Raises:
            BundleError: an axis is unknown.
        """
        if None in self.shape:
            raise BundleError(f"A constant is declared as {self}, expected a fixed shape.")
        return tuple(d for d in self.shape if d is not None)


@dataclasses.dataclass(frozen=True, slots=True)
class Constant:
    """A value known when the file is read; the data is fetched by ``load`` and not before.

    Attributes:
        type: declared type.
        load: reads the value: an array, or a ``str``.
        stored_bytes: bytes that the value takes in ``weight.bin``, 0 when it is in the program.
    """

    type: TensorType
    load: Callable[[], Array | str]
    stored_bytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """The name of a value that an earlier operation, or the caller, provides."""

    name: str


Argument = Constant | Reference


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Attributes:
        kind: MIL's name of the operation, such as ``"conv"``.
        name: the operation's own name, from the converter.
        inputs: arguments by parameter name; a parameter of MIL's tuple kind has several.
        outputs: names and declared types of what it produces.
        value: the value of a ``const`` operation, else ``None``.
        block_count: how many nested blocks it has; control flow has some.
    """

    kind: str
    name: str
    inputs: dict[str, tuple[Argument, ...]]
    outputs: tuple[tuple[str, TensorType], ...]
    value: Constant | None = None
    block_count: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Function:
    """One callable of a program.

    Attributes:
        name: ``"main"`` unless the package has several functions.
        opset: such as ``"CoreML7"``, which is iOS 17.
        inputs: names and declared types.
        outputs: names of the values returned.
        operations: in execution order.
    """

    name: str
    opset: str
    inputs: tuple[tuple[str, TensorType], ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]

    def types(self) -> dict[str, TensorType]:
        """Declared type of every value, by name."""
        produced = {name: kind for op in self.operations for name, kind in op.outputs}
        return dict(self.inputs) | produced

    def constants(self) -> dict[str, Constant]:
        """The ``const`` operations' values, by the name of their output."""
        return {op.outputs[0][0]: op.value for op in self.operations if op.value is not None}

    def compute(self) -> Iterator[Operation]:
        """The operations that execute at run time: no constants and no decompression."""
        for operation in self.operations:
            if operation.kind != "const" and not operation.kind.startswith("constexpr_"):
                yield operation


def tensor_type(message: Any) -> TensorType:
    """``TensorType`` of a protobuf ``ValueType``.

    Raises:
        BundleError: a list, dictionary or state type, which no SAM graph has.
    """
    kind = message.WhichOneof("type")
    if kind != "tensorType":
        raise BundleError(
            f"A value has Core ML type {kind!r}, expected a tensor: "
            "export the model again with samedge, without states and lists."
        )
    tensor = message.tensorType
    shape = tuple(
        int(d.constant.size) if d.WhichOneof("dimension") == "constant" else None
        for d in tensor.dimensions
    )
    return TensorType(proto.data_type_names()[tensor.dataType], shape)


def constant(message: Any, blobs: Blobs) -> Constant:
    """``Constant`` of a protobuf ``Value``; data in ``weight.bin`` stays there until loaded."""
    kind = tensor_type(message.type)
    if message.WhichOneof("value") == "blobFileValue":
        file_value = message.blobFileValue
        source, offset, shape = file_value.fileName, int(file_value.offset), kind.fixed_shape
        bits = blob.SUB_BYTE_BITS.get(kind.dtype) or 8 * _itemsize(kind.dtype)
        stored = -(-int(np.prod(shape, dtype=np.int64)) * bits // 8)
        return Constant(kind, lambda: blobs(source).read(offset, kind.dtype, shape), stored)
    tensor = message.immediateValue.tensor
    return Constant(kind, lambda: _immediate(tensor, kind))


def _itemsize(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _immediate(tensor: Any, kind: TensorType) -> Array | str:
    field = tensor.WhichOneof("value")
    if field == "strings":
        return str(tensor.strings.values[0])
    shape = kind.fixed_shape
    if field == "bytes":
        return blob.decode(tensor.bytes.values, kind.dtype, shape)
    values: Array = np.asarray(getattr(tensor, field).values, _IMMEDIATE_FIELDS[field])
    if values.size == 1 and shape:  # one stored element may stand for a whole tensor of it
        spread: Array = np.broadcast_to(values, shape).astype(kind.dtype)
        return spread
    typed: Array = values.reshape(shape).astype(kind.dtype)
    return typed


def _argument(message: Any, blobs: Blobs) -> tuple[Argument, ...]:
    return tuple(
        Reference(binding.name)
        if binding.WhichOneof("binding") == "name"
        else constant(binding.value, blobs)
        for binding in message.arguments
    )


def _operation(message: Any, blobs: Blobs) -> Operation:
    attributes = message.attributes
    outputs = tuple((out.name, tensor_type(out.type)) for out in message.outputs)
    name = outputs[0][0] if outputs else message.type
    if "name" in attributes:
        name = attributes["name"].immediateValue.tensor.strings.values[0]
    value = constant(attributes["val"], blobs) if message.type == "const" else None
    inputs = {key: _argument(argument, blobs) for key, argument in message.inputs.items()}
    if message.type.startswith("constexpr_"):  # up to iOS 17 their arguments are attributes
        inputs |= {key: (constant(v, blobs),) for key, v in attributes.items() if key != "name"}
    return Operation(message.type, name, inputs, outputs, value, len(message.blocks))


def function(name: str, message: Any, blobs: Blobs) -> Function:
    """``Function`` of its protobuf message.

    Raises:
        BundleError: a type that no SAM graph has.
    """
    block = message.block_specializations[message.opset]
    return Function(
        name=name,
        opset=message.opset,
        inputs=tuple((i.name, tensor_type(i.type)) for i in message.inputs),
        outputs=tuple(block.outputs),
        operations=tuple(_operation(op, blobs) for op in block.operations),
    )
