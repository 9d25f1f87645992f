"""One opened engine: buffers, an execution context a profile, a recorded graph a fixed shape."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from samedge.errors import InferenceError, TensorMismatchError
from samedge.runtimes.base import Array, Session, TensorSpec
from samedge.runtimes.tensorrt.cuda import Cuda, DeviceBuffer, Graph, PinnedBuffer, Stream
from samedge.runtimes.tensorrt.listener import Listener
from samedge.runtimes.tensorrt.resident import device_copy, resident

Shapes = dict[str, tuple[int, ...]]
logger = logging.getLogger(__name__)


class Native:
    """What the library gave: each thing needs those before it.

    Args:
        trt: the library.
        listener: its log.
        runtime: what deserialized the engine.
        engine: the engine.
    """

    def __init__(self, trt: Any, listener: Listener, runtime: Any, engine: Any) -> None:
        self.trt, self.listener = trt, listener
        self.runtime, self.engine = runtime, engine

    def release(self) -> None:
        """Let go of the engine first, of what it needs afterwards."""
        del self.engine
        del self.runtime
        del self.listener


@dataclasses.dataclass(frozen=True)
class _Binding:
    """A tensor's memory on both sides."""

    spec: TensorSpec
    host: PinnedBuffer
    device: DeviceBuffer


class TensorRtSession(Session):
    """A deserialized engine on one GPU.

    Args:
        native: the library's objects.
        cuda: the GPU.
        device: its name for people, such as ``cuda:0``.
        use_graphs: record the work of every profile of one fixed shape as a CUDA graph.
        keep_on_device: outputs that stay on the GPU too.
    """

    def __init__(
        self,
        native: Native,
        cuda: Cuda,
        *,
        device: str,
        use_graphs: bool,
        keep_on_device: frozenset[str],
    ) -> None:
        self.device = device
        self._native: Native | None = native
        self._cuda, self._use_graphs = cuda, use_graphs
        self._kept = keep_on_device
        self._lock = threading.Lock()
        self._contexts: dict[int, Any] = {}
        self._graphs: dict[int, Graph | None] = {}
        self._loaded: dict[str, DeviceBuffer] = {}
        self._bindings: dict[str, _Binding] = {}
        cuda.use()
        self._profiles = list(_profiles(native))
        specs = dict(_specs(native))
        self.inputs = tuple(spec for spec, is_input in specs.values() if is_input)
        self.outputs = tuple(spec for spec, is_input in specs.values() if not is_input)
        self._stream = Stream(cuda)
        try:
            self._allocate()
        except BaseException:
            self.close()
            raise

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        with self._lock:
            if self._native is None:
                raise InferenceError("The session is closed: open the graph again.")
            self._cuda.use()
            try:
                return self._computed(feeds)
            except BaseException:
                self._recover()
                raise

    def _computed(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        shapes = {name: tuple(array.shape) for name, array in feeds.items()}
        profile = self._profile(shapes)
        context = self._context(profile)
        self._set_shapes(context, shapes)
        for name, array in feeds.items():
            self._upload(self._bindings[name], array)
        self._execute(context, profile)
        results = {spec.name: tuple(context.get_tensor_shape(spec.name)) for spec in self.outputs}
        kept = {name: self._duplicate(name, shape) for name, shape in results.items()}
        for name, shape in results.items():
            binding = self._bindings[name]
            self._stream.download(binding.host, binding.device, size=_bytes(binding.spec, shape))
        self._stream.wait()
        return {name: self._result(name, shape, kept[name]) for name, shape in results.items()}

    def _result(self, name: str, shape: tuple[int, ...], kept: DeviceBuffer | None) -> Array:
        binding = self._bindings[name]
        array = binding.host.view(shape, binding.spec.dtype).copy()
        return array if kept is None else resident(array, kept)

    def _duplicate(self, name: str, shape: tuple[int, ...]) -> DeviceBuffer | None:
        """A copy of an output on the GPU that the next run does not overwrite."""
        if name not in self._kept:
            return None
        binding = self._bindings[name]
        size = _bytes(binding.spec, shape)
        buffer = DeviceBuffer(self._cuda, size)
        self._stream.duplicate(buffer, binding.device, size=size)
        return buffer

    def _upload(self, binding: _Binding, array: Array) -> None:
        name, size = binding.spec.name, array.nbytes
        there = device_copy(array, index=self._cuda.index)
        if there is None:
            self._loaded.pop(name, None)
            np.copyto(binding.host.view(array.shape, binding.spec.dtype), array)
            self._stream.upload(binding.device, binding.host, size=size)
        elif self._loaded.get(name) is not there:
            self._stream.duplicate(binding.device, there, size=size)
            self._loaded[name] = there

    def _execute(self, context: Any, profile: int) -> None:
        """Queue the network, from the second run on as a recorded graph where that may be.

        A graph holds for the very state of the context that it was recorded with (NVIDIA,
        "TensorRT: CUDA graphs"), and a profile over a range changes that with every shape.
        """
        graph = self._graphs.get(profile)
        if graph is not None:
            self._stream.launch(graph)
            return
        self._enqueue(context)
        if self._use_graphs and profile not in self._graphs and self._is_fixed(profile):
            # The first run also sets up what may not be recorded.
            self._stream.wait()
            self._graphs[profile] = self._recorded(context)

    def _is_fixed(self, profile: int) -> bool:
        return all(low == high for low, high in self._profiles[profile].values())

    def _recorded(self, context: Any) -> Graph | None:
        try:
            return self._stream.capture(lambda: self._enqueue(context))
        except InferenceError as error:
            logger.warning("This graph is not recorded as a CUDA graph: %s", error)
            return None

    def _enqueue(self, context: Any) -> None:
        if not context.execute_async_v3(self._stream.address):
            raise InferenceError(f"TensorRT could not queue the network: {self._said()}.")

    def _said(self) -> str:
        return self._native.listener.last_words() if self._native else "it is closed"

    def _profile(self, shapes: Shapes) -> int:
        """The profile that fits shapes most closely."""
        fitting = [
            (sum(int(np.prod(profile[name][1])) for name in profile), index)
            for index, profile in enumerate(self._profiles)
            if all(_within(shapes[name], *profile[name]) for name in profile)
        ]
        if fitting:
            return min(fitting)[1]
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        known = "; ".join(
            ", ".join(f"{name} {low} to {high}" for name, (low, high) in profile.items())
            for profile in self._profiles
        )
        raise TensorMismatchError(
            f"No optimization profile of this engine takes {given}. Its profiles: {known}. Feed "
            "one of them, or build the engine for other prompt buckets."
        )

    def _context(self, profile: int) -> Any:
        if profile not in self._contexts:
            self._contexts[profile] = self._new_context(profile)
        return self._contexts[profile]

    def _new_context(self, profile: int) -> Any:
        assert self._native is not None
        context = self._native.engine.create_execution_context()
        if context is None:
            raise InferenceError(
                f"TensorRT has no memory for an execution context: {self._said()}. Close other "
                "programs, or export with smaller prompt buckets."
            )
        # Choosing a profile twice would undo graphs that were recorded with it.
        if not context.set_optimization_profile_async(profile, self._stream.address):
            raise InferenceError(f"TensorRT refuses profile {profile}: {self._said()}.")
        self._stream.wait()
        for name, binding in self._bindings.items():
            if not context.set_tensor_address(name, binding.device.address):
                raise InferenceError(f"TensorRT refuses the memory of {name!r}: {self._said()}.")
        return context

    def _set_shapes(self, context: Any, shapes: Shapes) -> None:
        for name, shape in shapes.items():
            if tuple(context.get_tensor_shape(name)) == shape:
                continue
            if not context.set_input_shape(name, shape):
                raise TensorMismatchError(
                    f"TensorRT refuses shape {shape} of input {name!r}: {self._said()}."
                )

    def _allocate(self) -> None:
        """Memory of every tensor for the largest shapes of any profile."""
        assert self._native is not None
        largest = {spec.name: 0 for spec in (*self.inputs, *self.outputs)}
        for index, profile in enumerate(self._profiles):
            shapes = {name: high for name, (_, high) in profile.items()}
            for name, size in self._sizes(index, shapes).items():
                largest[name] = max(largest[name], size)
        for spec in (*self.inputs, *self.outputs):
            size = largest[spec.name]
            self._bindings[spec.name] = _Binding(
                spec, PinnedBuffer(self._cuda, size), DeviceBuffer(self._cuda, size)
            )

    def _sizes(self, profile: int, shapes: Shapes) -> dict[str, int]:
        """Bytes of every tensor for the given input shapes."""
        context = self._new_context(profile)
        self._set_shapes(context, shapes)
        specs = (*self.inputs, *self.outputs)
        return {s.name: _bytes(s, tuple(context.get_tensor_shape(s.name))) for s in specs}

    def _recover(self) -> None:
        """After an error: let the GPU finish, and forget what it may not have received."""
        self._loaded.clear()
        try:
            self._stream.wait()
        except InferenceError as error:
            logger.warning("The GPU did not recover: %s", error)

    def close(self) -> None:
        """Release graphs, contexts, memory, stream, engine and runtime, in this order."""
        with self._lock:
            if self._native is None:
                return
            for graph in self._graphs.values():
                if graph is not None:
                    graph.close()
            self._graphs.clear()
            self._contexts.clear()
            self._loaded.clear()
            for binding in self._bindings.values():
                binding.host.close()
                binding.device.close()
            self._bindings.clear()
            self._stream.close()
            native, self._native = self._native, None
            native.release()


def _profiles(native: Native) -> Iterator[dict[str, tuple[tuple[int, ...], tuple[int, ...]]]]:
    """Smallest and largest shape of every input, by profile."""
    engine = native.engine
    names = [name for name in _tensor_names(engine) if _is_input(native, name)]
    for index in range(max(int(engine.num_optimization_profiles), 1)):
        ranges = {name: engine.get_tensor_profile_shape(name, index) for name in names}
        yield {name: (tuple(low), tuple(high)) for name, (low, _, high) in ranges.items()}


def _specs(native: Native) -> Iterator[tuple[str, tuple[TensorSpec, bool]]]:
    for name in _tensor_names(native.engine):
        shape = tuple(
            int(size) if size >= 0 else f"axis{axis}"
            for axis, size in enumerate(native.engine.get_tensor_shape(name))
        )
        dtype = np.dtype(native.trt.nptype(native.engine.get_tensor_dtype(name))).name
        yield name, (TensorSpec(name, dtype, shape), _is_input(native, name))


def _tensor_names(engine: Any) -> list[str]:
    return [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]


def _is_input(native: Native, name: str) -> bool:
    return bool(native.engine.get_tensor_mode(name) == native.trt.TensorIOMode.INPUT)


def _within(shape: tuple[int, ...], low: tuple[int, ...], high: tuple[int, ...]) -> bool:
    return all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))


def _bytes(spec: TensorSpec, shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(spec.dtype).itemsize
