"""A stand-in for the CUDA runtime that records every call and checks lifetimes."""

from __future__ import annotations

import ctypes
import types
from collections.abc import Callable
from typing import Any

SUCCESS, OUT_OF_MEMORY, LAUNCH_FAILURE, CAPTURE_UNSUPPORTED = 0, 2, 719, 900
MESSAGES = {2: b"out of memory", 719: b"unspecified launch failure", 900: b"not while capturing"}


class CudaRuntime(types.ModuleType):
    """``cuda.bindings.runtime``."""

    cudaMemcpyKind = types.SimpleNamespace(
        cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3
    )
    cudaStreamCaptureMode = types.SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.calls: list[str] = []
        self.failures: dict[str, int] = {}  # the next call of a function gives this code
        self.gpus = 1
        self.integrated = 1
        self.memory: dict[int, tuple[Any, int, str]] = {}
        self.streams: dict[int, list[Callable[[], None]]] = {}
        self.capturing: dict[int, list[Callable[[], None]]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.executables: dict[int, list[Callable[[], None]]] = {}
        self._next = 100

    def _handle(self) -> int:
        self._next += 1
        return self._next

    def _code(self, name: str) -> int:
        self.calls.append(name)
        return self.failures.pop(name, SUCCESS)

    def at(self, address: int, size: int, kind: str) -> Any:
        """Bytes of live memory of a kind."""
        assert address in self.memory, f"{kind} memory at {address} was freed or never allocated"
        buffer, capacity, actual = self.memory[address]
        assert actual == kind, f"{actual} memory was used as {kind} memory"
        assert size <= capacity, f"{size} bytes in a buffer of {capacity}"
        return buffer

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        assert stream in self.streams, "the stream was destroyed"
        self.capturing.get(stream, self.streams[stream]).append(work)

    def live(self) -> dict[str, int]:
        """What is still allocated."""
        found = {"streams": len(self.streams), "graphs": len(self.graphs)}
        found["executables"] = len(self.executables)
        for _, _, kind in self.memory.values():
            found[kind] = found.get(kind, 0) + 1
        return {name: count for name, count in found.items() if count}

    def cudaGetErrorString(self, code: int) -> tuple[int, bytes]:
        return SUCCESS, MESSAGES.get(int(code), b"error %d" % int(code))

    def cudaGetDeviceCount(self) -> tuple[int, int]:
        return self._code("cudaGetDeviceCount"), self.gpus

    def cudaSetDevice(self, index: int) -> tuple[int]:
        return (self._code("cudaSetDevice"),)

    def cudaGetDeviceProperties(self, index: int) -> tuple[int, Any]:
        found = types.SimpleNamespace(
            name=b"Orin\0\0", major=8, minor=7, integrated=self.integrated
        )
        return self._code("cudaGetDeviceProperties"), found

    def cudaMemGetInfo(self) -> tuple[int, int, int]:
        return self._code("cudaMemGetInfo"), 4_000_000_000, 8_000_000_000

    def _allocate(self, name: str, size: int, kind: str) -> tuple[int, int | None]:
        code = self._code(name)
        if code:
            return code, None
        assert size > 0
        buffer = (ctypes.c_ubyte * size)()
        address = ctypes.addressof(buffer)
        self.memory[address] = (buffer, size, kind)
        return code, address

    def _free(self, name: str, address: int, kind: str) -> tuple[int]:
        self.at(address, 0, kind)
        del self.memory[address]
        return (self._code(name),)

    def cudaMalloc(self, size: int) -> tuple[int, int | None]:
        return self._allocate("cudaMalloc", size, "device")

    def cudaMallocHost(self, size: int) -> tuple[int, int | None]:
        return self._allocate("cudaMallocHost", size, "pinned")

    def cudaFree(self, address: int) -> tuple[int]:
        return self._free("cudaFree", address, "device")

    def cudaFreeHost(self, address: int) -> tuple[int]:
        return self._free("cudaFreeHost", address, "pinned")

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, int]:
        assert flags == 1, "a blocking stream waits for the legacy stream"
        handle = self._handle()
        self.streams[handle] = []
        return self._code("cudaStreamCreateWithFlags"), handle

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:
        del self.streams[stream]
        return (self._code("cudaStreamDestroy"),)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        assert stream not in self.capturing, "a capturing stream cannot be waited for"
        code = self._code("cudaStreamSynchronize")
        work, self.streams[stream] = self.streams[stream], []
        for step in work:
            step()
        return (code,)

    def cudaMemcpyAsync(
        self, target: int, source: int, size: int, kind: int, stream: int
    ) -> tuple[int]:
        code = self._code("cudaMemcpyAsync")
        sides = {1: ("device", "pinned"), 2: ("pinned", "device"), 3: ("device", "device")}[kind]
        self.calls[-1] += f":{kind}"
        if code == SUCCESS:

            def copy() -> None:
                to, start = self.at(target, size, sides[0]), self.at(source, size, sides[1])
                ctypes.memmove(to, start, size)

            self.enqueue(stream, copy)
        return (code,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[int]:
        assert not self.streams[stream], "work was still queued"
        self.capturing[stream] = []
        return (self._code("cudaStreamBeginCapture"),)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, int | None]:
        work = self.capturing.pop(stream)
        code = self._code("cudaStreamEndCapture")
        if code:
            return code, None
        handle = self._handle()
        self.graphs[handle] = work
        return code, handle

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[int, int | None]:
        code = self._code("cudaGraphInstantiate")
        if code:
            return code, None
        handle = self._handle()
        self.executables[handle] = list(self.graphs[graph])
        return code, handle

    def cudaGraphDestroy(self, graph: int) -> tuple[int]:
        del self.graphs[graph]
        return (self._code("cudaGraphDestroy"),)

    def cudaGraphExecDestroy(self, graph: int) -> tuple[int]:
        del self.executables[graph]
        return (self._code("cudaGraphExecDestroy"),)

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[int]:
        for step in self.executables[graph]:
            self.enqueue(stream, step)
        return (self._code("cudaGraphLaunch"),)
