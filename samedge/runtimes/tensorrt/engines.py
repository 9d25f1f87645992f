"""From a graph to its engine on this machine: the kept one, or a new one that is then kept."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

import filelock

from samedge._cache import cache_folder
from samedge.errors import BackendUnavailableError, InferenceError, OptionError
from samedge.files.scratch import scratch_folder
from samedge.machine.hardware import RTX_CAPABILITIES
from samedge.runtimes.base import Shapes
from samedge.runtimes.tensorrt.build import build
from samedge.runtimes.tensorrt.builder import BuildJob, Profile
from samedge.runtimes.tensorrt.cache import EngineKey, find_engine, graph_hash, keep_engine
from samedge.runtimes.tensorrt.cuda import Cuda
from samedge.runtimes.tensorrt.flavours import Flavour
from samedge.types import Progress, Stage

logger = logging.getLogger(__name__)

_WORKSPACE_SHARE = 0.5
"""Of the free memory: on a Jetson the same memory also holds the builder's own copies."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device:
    """What an engine is built for.

    Attributes:
        gpu: name of the GPU, empty for a compute capability in general.
        capability: its compute capability, such as ``"8.7"``.
        free_bytes: memory that is free there now; ``None`` where it is not here.
    """

    gpu: str
    capability: str
    free_bytes: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineWish:
    """How to build.

    Attributes:
        flavour: the library.
        device: what for.
        shapes: of the dynamic inputs, a profile a set; empty: one profile over a range.
        tf32: let float32 products be rounded to 10 bits of mantissa.
        workspace_bytes: scratch memory of kernels; ``None`` takes half of what is free.
    """

    flavour: Flavour
    device: Device
    shapes: tuple[Shapes, ...] = ()
    tf32: bool = False
    workspace_bytes: int | None = None

    def profiles(self) -> list[Profile]:
        """One of fixed shape a set of shapes."""
        return [{name: tuple(shape) for name, shape in one.items()} for one in self.shapes]

    def key(self, onnx: Path) -> EngineKey:
        """Everything that the engine of a graph depends on."""
        return EngineKey(
            onnx_sha256=graph_hash(onnx),
            flavour=self.flavour.name,
            version=self.flavour.version(),
            gpu=self.device.gpu if self.flavour.times_kernels else "",
            capability=self.device.capability,
            profiles=self.profiles(),
            tf32=self.tf32,
        )


@dataclasses.dataclass(frozen=True)
class Engine:
    """A serialized engine.

    Attributes:
        content: its bytes.
        path: the file that keeps it; ``None`` where none can be written.
        was_built: whether it was built now; ``False``: it was kept from before.
    """

    content: bytes
    path: Path | None
    was_built: bool


def device_here(cuda: Cuda) -> Device:
    """The GPU of this machine.

    Raises:
        InferenceError: CUDA fails.
    """
    name, capability = cuda.properties()
    return Device(gpu=name, capability=capability, free_bytes=cuda.free_memory())


def device_of_capability(capability: str, flavour: Flavour) -> Device:
    """A GPU that need not be here.

    Raises:
        OptionError: the library has to time kernels on the GPU itself, or cannot compile for it.
    """
    if flavour.times_kernels:
        raise OptionError(
            f"{flavour.name} times kernels on the GPU and cannot build for capability "
            f"{capability!r} elsewhere: build on the device, or use flavour 'tensorrt-rtx'."
        )
    if capability not in RTX_CAPABILITIES:
        raise OptionError(
            f"capability is {capability!r}, expected one that TensorRT for RTX compiles for: "
            f"{', '.join(RTX_CAPABILITIES)}."
        )
    return Device(gpu="", capability=capability)


def engine_for(
    onnx: Path,
    wish: EngineWish,
    *,
    may_build: bool = True,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> Engine:
    """The engine of a graph.

    Args:
        onnx: the strongly typed graph.
        wish: how to build.
        may_build: otherwise an engine that was built before is required.
        progress: hears of every step within the builder's phase.
        stage: is told the phase.

    Raises:
        BackendUnavailableError: there is no engine and ``may_build`` is off.
        InferenceError: the graph cannot be read, or changed meanwhile, or its engine cannot be
            built.
    """
    key = wish.key(onnx)
    kept = find_engine(onnx, key)
    if kept is not None:
        return Engine(*kept, was_built=False)
    if not may_build:
        raise BackendUnavailableError(
            f"There is no engine of {onnx.name} for {key.flavour} {key.version} on "
            f"{key.gpu or 'capability ' + key.capability}, and building is off. "
            f"Fix: samedge build {onnx.parent}"
        )
    with _alone(onnx, key):
        kept = find_engine(onnx, key)
        if kept is not None:
            return Engine(*kept, was_built=False)
        content = _built(onnx, wish, progress=progress, stage=stage)
        if graph_hash(onnx) != key.onnx_sha256:
            raise InferenceError(
                f"{onnx} changed while its engine was built: open the bundle again, whose engine "
                "is then built of what lies there now."
            )
        return Engine(content, keep_engine(onnx, key, engine=content), was_built=True)


@contextlib.contextmanager
def _alone(onnx: Path, key: EngineKey) -> Iterator[None]:
    """Let one process build an engine while others wait: two builders may not fit a small memory.

    Where no lock can be kept, both build, and the last one's engine stays.
    """
    path = cache_folder("tensorrt") / f"{onnx.stem}.{key.digest}.lock"
    lock = filelock.FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        logger.info("%s cannot be locked: %s", path, error)
    try:
        yield
    finally:
        lock.release()


def _built(
    onnx: Path, wish: EngineWish, *, progress: Progress | None, stage: Stage | None
) -> bytes:
    with scratch_folder() as folder:
        path = folder / "engine"
        build(_job(onnx, path, wish), progress=progress, stage=stage)
        return path.read_bytes()


def _job(onnx: Path, path: Path, wish: EngineWish) -> BuildJob:
    return BuildJob(
        flavour=wish.flavour.name,
        onnx=str(onnx.resolve()),
        engine=str(path),
        profiles=wish.profiles(),
        capabilities=[] if wish.flavour.times_kernels else [wish.device.capability],
        workspace_bytes=_workspace(wish),
        timing_cache=_timing_cache(wish),
        tf32=wish.tf32,
    )


def _workspace(wish: EngineWish) -> int | None:
    if wish.workspace_bytes is not None:
        return wish.workspace_bytes
    free = wish.device.free_bytes
    return None if free is None else int(free * _WORKSPACE_SHARE)


def _timing_cache(wish: EngineWish) -> str | None:
    """Timings of one library version on one GPU."""
    if not wish.flavour.times_kernels:
        return None
    gpu = "".join(c if c.isalnum() else "-" for c in wish.device.gpu) or "gpu"
    name = f"{wish.flavour.version()}-{gpu}-{wish.device.capability}.timings"
    return str(cache_folder("tensorrt") / name)
