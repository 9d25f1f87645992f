"""CUDA memory, streams and graphs through cuda-python, with an owner for everything allocated.

Every call of the CUDA runtime returns its error code first; here it becomes an exception that says
what was being done. Owners free once, in ``close`` or when they are forgotten.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from samedge.errors import BackendUnavailableError, InferenceError
from samedge.machine.system import memory_bytes
from samedge.runtimes.base import Array

FIX = "pip install 'samedge[tensorrt]'"
DRIVER_FIX = "sudo apt install nvidia-driver-580  # on a Jetson the driver comes with JetPack"
_NON_BLOCKING = 1  # cudaStreamNonBlocking
_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
_TO_DEVICE, _TO_HOST, _ON_DEVICE = 1, 2, 3  # cudaMemcpyKind
_KINDS = {
    _TO_DEVICE: "cudaMemcpyHostToDevice",
    _TO_HOST: "cudaMemcpyDeviceToHost",
    _ON_DEVICE: "cudaMemcpyDeviceToDevice",
}


class Cuda:
    """The CUDA runtime on one GPU.

    Args:
        index: which GPU.

    Raises:
        BackendUnavailableError: cuda-python is not here.
    """

    def __init__(self, index: int = 0) -> None:
        self.index = index
        try:
            self._native: Any = importlib.import_module("cuda.bindings.runtime")
        except Exception as error:
            raise BackendUnavailableError(
                f"cuda-python does not load: {error}. Fix: {FIX}"
            ) from error

    def call(self, doing: str, function: str, *arguments: Any) -> Any:
        """Call the runtime.

        Args:
            doing: what for, for the message.
            function: such as ``"cudaMalloc"``.
            *arguments: of the function.

        Returns:
            What the function gives beside the error code, or ``None``.

        Raises:
            InferenceError: the code is not success.
        """
        code, *values = getattr(self._native, function)(*arguments)
        if int(code) != 0:
            raise InferenceError(f"CUDA failed {doing}: {self._message(code)}.{self._hint(code)}")
        return values[0] if values else None

    def _message(self, code: Any) -> str:
        text = self._native.cudaGetErrorString(code)[1]
        return text.decode() if isinstance(text, bytes) else str(text)

    def _hint(self, code: Any) -> str:
        if int(code) != _OUT_OF_MEMORY:
            return ""
        return (
            " Close other programs (on a Jetson the processor and the GPU share one memory), or "
            "export with smaller prompt buckets."
        )

    def device_count(self) -> int:
        """How many GPUs there are; 0 where there is no driver."""
        code, count = self._native.cudaGetDeviceCount()
        return int(count or 0) if int(code) == 0 else 0

    def why_none(self) -> str:
        """What the runtime says when it finds no GPU."""
        code, _ = self._native.cudaGetDeviceCount()
        return "it counts none" if int(code) == 0 else self._message(code)

    def use(self) -> None:
        """Make this GPU the calling thread's."""
        self.call("choosing the GPU", "cudaSetDevice", self.index)

    def properties(self) -> tuple[str, str]:
        """Name of the GPU and its compute capability, such as ``("Orin", "8.7")``."""
        found = self.call("reading the GPU's name", "cudaGetDeviceProperties", self.index)
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        return name.strip("\0"), f"{found.major}.{found.minor}"

    def free_memory(self) -> int:
        """Bytes that can be allocated on this GPU.

        Where processor and GPU share one memory, as on a Jetson, CUDA does not count what the
        kernel holds as cache and gives back when asked; the kernel's own estimate does.
        """
        self.use()
        code, free, _ = self._native.cudaMemGetInfo()
        if int(code) != 0:
            raise InferenceError(f"CUDA failed asking for free memory: {self._message(code)}.")
        found = self.call("reading the GPU's kind", "cudaGetDeviceProperties", self.index)
        return max(int(free), available_memory() if found.integrated else 0)

    def copy(self, target: int, source: int, *, size: int, kind: int, stream: int) -> None:
        """Queue a copy of ``size`` bytes."""
        native_kind = getattr(self._native.cudaMemcpyKind, _KINDS[kind])
        self.call("copying", "cudaMemcpyAsync", target, source, size, native_kind, stream)


def available_memory() -> int:
    """Bytes that this machine could give to a program without swapping; 0 where it is not told."""
    return memory_bytes().get("MemAvailable", 0)


class Owned:
    """A native thing that is freed once: in ``close``, or when it is forgotten."""

    def __init__(self, free: Callable[[], Any]) -> None:
        self._finalizer = weakref.finalize(self, free)
        self._finalizer.atexit = False  # the driver ends with the process, in its own order

    def close(self) -> None:
        """Free it. Calling it again does nothing."""
        self._finalizer()


class DeviceBuffer(Owned):
    """Memory on the GPU.

    Attributes:
        address: of the first byte.
        size_bytes: of all of it.
    """

    def __init__(self, cuda: Cuda, size_bytes: int) -> None:
        self.cuda, self.size_bytes = cuda, size_bytes
        cuda.use()
        doing = f"allocating {max(size_bytes, 1) / 1e6:.1f} MB on the GPU"
        self.address = int(cuda.call(doing, "cudaMalloc", max(size_bytes, 1)))
        native, address = cuda._native, self.address
        super().__init__(lambda: native.cudaFree(address))


class PinnedBuffer(Owned):
    """Host memory that the GPU reads and writes by itself.

    Attributes:
        address: of the first byte.
        size_bytes: of all of it.
    """

    def __init__(self, cuda: Cuda, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        cuda.use()
        doing = f"pinning {max(size_bytes, 1) / 1e6:.1f} MB of host memory"
        self.address = int(cuda.call(doing, "cudaMallocHost", max(size_bytes, 1)))
        native, address = cuda._native, self.address
        super().__init__(lambda: native.cudaFreeHost(address))

    def view(self, shape: tuple[int, ...], dtype: str) -> Array:
        """The first bytes as an array; it must not outlive the buffer."""
        count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        raw = (ctypes.c_ubyte * count).from_address(self.address)
        array: Array = np.frombuffer(memoryview(raw), dtype=np.dtype(dtype)).reshape(shape)
        return array


class Stream(Owned):
    """A queue of work on the GPU.

    Attributes:
        address: the native handle.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        cuda.use()
        self._native = cuda.call("making a stream", "cudaStreamCreateWithFlags", _NON_BLOCKING)
        self.address = int(self._native)
        native, handle = cuda._native, self._native
        super().__init__(lambda: native.cudaStreamDestroy(handle))

    def upload(self, target: DeviceBuffer, source: PinnedBuffer, *, size: int) -> None:
        """Queue a copy to the GPU."""
        self._cuda.copy(
            target.address, source.address, size=size, kind=_TO_DEVICE, stream=self.address
        )

    def download(self, target: PinnedBuffer, source: DeviceBuffer, *, size: int) -> None:
        """Queue a copy from the GPU."""
        self._cuda.copy(
            target.address, source.address, size=size, kind=_TO_HOST, stream=self.address
        )

    def duplicate(self, target: DeviceBuffer, source: DeviceBuffer, *, size: int) -> None:
        """Queue a copy on the GPU."""
        self._cuda.copy(
            target.address, source.address, size=size, kind=_ON_DEVICE, stream=self.address
        )

    def wait(self) -> None:
        """Return when everything queued is done."""
        self._cuda.call("waiting for the GPU", "cudaStreamSynchronize", self._native)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Record work as a graph instead of doing it.

        Args:
            work: queues on this stream and nowhere else.

        Raises:
            InferenceError: something in it cannot be recorded; the stream is usable again.
        """
        mode = self._cuda._native.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._cuda.call("recording", "cudaStreamBeginCapture", self._native, mode)
        try:
            work()
        except BaseException:
            code, graph = self._cuda._native.cudaStreamEndCapture(self._native)
            if int(code) == 0 and graph is not None:
                self._cuda._native.cudaGraphDestroy(graph)
            raise
        graph = self._cuda.call("ending a recording", "cudaStreamEndCapture", self._native)
        return Graph(self._cuda, graph)

    def launch(self, graph: Graph) -> None:
        """Queue a recorded graph."""
        self._cuda.call("launching a graph", "cudaGraphLaunch", graph.native, self._native)


class Graph(Owned):
    """Recorded work, ready to be launched at the cost of one call.

    Attributes:
        native: the executable graph.
    """

    def __init__(self, cuda: Cuda, recorded: Any) -> None:
        try:
            self.native = cuda.call("preparing a graph", "cudaGraphInstantiate", recorded, 0)
        finally:
            cuda._native.cudaGraphDestroy(recorded)
        native, handle = cuda._native, self.native
        super().__init__(lambda: native.cudaGraphExecDestroy(handle))
