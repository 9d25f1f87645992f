"""Engines of a whole bundle, or the parser's verdict on its graphs."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import msgspec

from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import GraphRecord
from samedge.errors import BackendUnavailableError, IncompatibleArtifactError, InferenceError
from samedge.runtimes.base import Shapes
from samedge.runtimes.onnx_files import external_files
from samedge.runtimes.tensorrt.build import build
from samedge.runtimes.tensorrt.builder import BuildJob
from samedge.runtimes.tensorrt.cuda import DRIVER_FIX, Cuda
from samedge.runtimes.tensorrt.engines import (
    Device,
    EngineWish,
    device_here,
    device_of_capability,
    engine_for,
)
from samedge.runtimes.tensorrt.flavours import AUTO, Flavour, flavour_named
from samedge.types import Progress, Stage, Steps


class EngineRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one graph.

    Attributes:
        role: of the graph in the bundle.
        layers: of the parsed network; ``None`` where an engine was there already or was built.
        path: of the engine; ``None`` where the graph was parsed only.
        bytes: of the engine; ``None`` where the graph was parsed only.
        built: whether it was built now.
        seconds: how long that took.
    """

    role: str
    layers: int | None = None
    path: str | None = None
    bytes: int | None = None
    built: bool = False
    seconds: float


class BundleEngines(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a bundle.

    Attributes:
        flavour: the library.
        version: of the library.
        gpu: name of the GPU; empty for a compute capability in general.
        capability: compute capability; empty where graphs were parsed only.
        engines: one record a graph.
    """

    flavour: str
    version: str
    gpu: str = ""
    capability: str = ""
    engines: list[EngineRecord]


def build_bundle(
    bundle: Bundle,
    *,
    flavour: str = AUTO,
    device: int = 0,
    capability: str | None = None,
    workspace_bytes: int | None = None,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> BundleEngines:
    """Build the engines of a bundle, as the ``tensorrt`` backend will look for them.

    Args:
        bundle: holds strongly typed ONNX files.
        flavour: ``auto``, ``tensorrt`` or ``tensorrt-rtx``.
        device: number of the GPU.
        capability: a compute capability such as ``"8.6"`` to compile for instead, without a GPU;
            TensorRT for RTX only.
        workspace_bytes: scratch memory that kernels may ask for; ``None`` takes half of what is
            free.
        progress: hears of every step within the builder's phase.
        stage: is told the graph and the phase.

    Raises:
        IncompatibleArtifactError: the bundle's files are of another format.
        BackendUnavailableError: the library, cuda-python or the GPU is not here.
        OptionError: this library does not build for that capability.
        InferenceError: a graph is refused, or the build fails.
    """
    _check_format(bundle)
    library = flavour_named(flavour)
    where = _device(library, device, capability)
    options = bundle.manifest.options if bundle.manifest.backend == "tensorrt" else {}
    wish = EngineWish(
        flavour=library,
        device=where,
        tf32=bool(options.get("tf32", False)),
        workspace_bytes=workspace_bytes,
    )
    records = []
    for graph in bundle.manifest.own_graphs:
        own = dataclasses.replace(wish, shapes=shapes_of(graph))
        records.append(_built(bundle, graph.role, wish=own, progress=progress, stage=stage))
    return BundleEngines(
        flavour=library.name,
        version=library.version(),
        gpu=where.gpu,
        capability=where.capability,
        engines=records,
    )


def _built(
    bundle: Bundle, role: str, *, wish: EngineWish, progress: Progress | None, stage: Stage | None
) -> EngineRecord:
    start = time.perf_counter()
    engine = engine_for(
        _path(bundle, role),
        wish,
        progress=progress,
        stage=None if stage is None else lambda phase: stage(f"{role}: {phase}"),
    )
    if engine.path is None:
        raise InferenceError(
            f"The engine of the {role} was built, and can be kept neither beside it nor in the "
            "user's cache: free some space, or set SAMEDGE_CACHE to a folder to write to."
        )
    return EngineRecord(
        role=role,
        path=str(engine.path),
        bytes=len(engine.content),
        built=engine.was_built,
        seconds=time.perf_counter() - start,
    )


def parse_bundle(
    bundle: Bundle,
    *,
    flavour: str = AUTO,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> BundleEngines:
    """Ask the parser whether it takes every node of a bundle's graphs; no GPU is needed.

    Args:
        bundle: holds strongly typed ONNX files.
        flavour: ``auto``, ``tensorrt`` or ``tensorrt-rtx``.
        progress: hears of every graph.
        stage: is told which.

    Raises:
        IncompatibleArtifactError: the bundle's files are of another format.
        BackendUnavailableError: the library is not here.
        InferenceError: a node is refused; the message names it and the reason.
    """
    _check_format(bundle)
    library = flavour_named(flavour)
    records, graphs = [], bundle.manifest.own_graphs
    steps = Steps(len(graphs), progress=progress, stage=stage)
    for graph in graphs:
        role = graph.role
        steps.step(role)
        start = time.perf_counter()
        job = BuildJob(flavour=library.name, onnx=str(_path(bundle, role)))
        layers = build(job).layers
        seconds = time.perf_counter() - start
        records.append(EngineRecord(role=role, layers=layers, seconds=seconds))
    return BundleEngines(flavour=library.name, version=library.version(), engines=records)


def _path(bundle: Bundle, role: str) -> Path:
    path = bundle.artifact_path(role)
    bundle.check_named(role, (path, *(path.parent / name for name in external_files(path))))
    return path


def _device(flavour: Flavour, index: int, capability: str | None) -> Device:
    if capability is not None:
        return device_of_capability(capability, flavour)
    cuda = Cuda(index)
    count = cuda.device_count()
    if not count:
        raise BackendUnavailableError(
            f"{flavour.name} {flavour.version()} finds no NVIDIA GPU: {cuda.why_none()}. "
            f"Fix: {DRIVER_FIX}"
        )
    if index >= count:
        raise BackendUnavailableError(
            f"There is no GPU {index} here, only {count}, from 0: name one of them."
        )
    return device_here(cuda)


def _check_format(bundle: Bundle) -> None:
    for graph in bundle.manifest.own_graphs:
        if graph.format != "onnx":
            raise IncompatibleArtifactError(
                f"The {graph.role} of {bundle.path} is {graph.format}, and TensorRT reads ONNX: "
                "export the bundle with `samedge export --target jetson`."
            )


def shapes_of(graph: GraphRecord) -> tuple[Shapes, ...]:
    """A graph's fixed shapes as a backend takes them."""
    return tuple({name: tuple(shape) for name, shape in shapes.items()} for shapes in graph.shapes)
