"""TensorRT on Jetson and desktop GPUs, and TensorRT for RTX.

It opens ONNX files and builds their engines itself, once, in a process of its own; see
:mod:`samedge.runtimes.tensorrt`. CUDA memory comes from cuda-python. Not yet run on a Jetson.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samedge.errors import BackendUnavailableError, InferenceError, OptionError
from samedge.runtimes.base import Backend, Probe, Shapes
from samedge.runtimes.example import write_onnx_example
from samedge.runtimes.onnx_files import external_files
from samedge.runtimes.options import checked_device, checked_options
from samedge.runtimes.tensorrt.cuda import DRIVER_FIX, Cuda
from samedge.runtimes.tensorrt.engines import (
    Engine,
    EngineWish,
    device_here,
    engine_for,
)
from samedge.runtimes.tensorrt.flavours import AUTO, Flavour, flavour_named
from samedge.runtimes.tensorrt.listener import Listener
from samedge.runtimes.tensorrt.session import Native, TensorRtSession
from samedge.types import Options

_DEFAULTS: Mapping[str, Any] = {
    "threads": 0,  # understood, and of no effect: the GPU does the work
    "flavour": AUTO,
    "build": True,
    "cuda_graph": True,
    "tf32": False,
    "workspace_mb": 0,  # 0: half of the memory that is free when the builder starts
}

logger = logging.getLogger(__name__)


class TensorRtBackend(Backend):
    """Opens strongly typed ``.onnx`` files on NVIDIA GPUs."""

    name = "tensorrt"
    formats = ("onnx",)
    extras = ("tensorrt", "tensorrt-rtx")
    packages = ("cuda-bindings", "cuda-python", "tensorrt", "tensorrt-rtx")
    selftest = "graph.onnx"
    stand_in = "onnxruntime"
    takes_other_shapes = False
    arithmetic = frozenset({"tf32"})

    def probe(self) -> Probe:
        """Look for the library, cuda-python and a GPU. Never raises."""
        try:
            flavour = flavour_named()
            version = f"{flavour.version()}{'' if flavour.times_kernels else ' (RTX)'}"
        except BackendUnavailableError as error:
            detail, _, fix = str(error).partition(" Fix: ")
            return Probe(available=False, detail=detail, fix=fix)
        except Exception as error:  # noqa: BLE001 - a broken install fails in its own ways
            return Probe(
                available=False, detail=f"TensorRT does not load: {error}.", fix=self.reinstall
            )
        return _probed_devices(flavour, version)

    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> TensorRtSession:
        """Open an ONNX file; its engine is built first where there is none.

        Args:
            model: path of the ``.onnx`` file.
            device: ``cuda:0`` (any index); ``None`` takes the first.
            options: ``flavour`` (``auto``, ``tensorrt``, ``tensorrt-rtx``); ``build``, whether a
                missing engine may be built; ``workspace_mb``, scratch memory of a build;
                ``cuda_graph``; ``tf32``; ``threads`` changes nothing.
            shapes: of the dynamic inputs: a profile of fixed shape a set, and no other shapes; none
                make one profile over a range.
            keep: outputs that also stay on the GPU.

        Raises:
            OptionError, UnknownNameError: nonsense among the options.
            BackendUnavailableError: the library, cuda-python or the GPU is not here, or there is no
                engine and ``build`` is off.
            InferenceError: the engine cannot be built or loaded.
        """
        settings = _settings(options)
        chosen = checked_device(self, device)
        cuda = Cuda(int(chosen.partition(":")[2]))
        wish = _wish(settings, cuda, shapes)
        try:
            engine = _engine(model, wish, may_build=settings["build"])
            native = _deserialized(wish.flavour, engine.content, model)
        except InferenceError as error:
            raise InferenceError(f"{model} cannot be opened on {chosen!r}: {error}") from error
        return TensorRtSession(
            native,
            cuda,
            device=chosen,
            use_graphs=settings["cuda_graph"],
            keep_on_device=frozenset(keep),
        )

    def prepare(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
    ) -> None:
        """Build the engine of an ONNX file where there is none; ``samedge build`` shows progress.

        Args:
            model: as of ``open``, like the others.
            device: see there.
            options: see there.
            shapes: see there.

        Raises:
            BackendUnavailableError: the library, cuda-python or the GPU is not here.
            InferenceError: the engine cannot be built.
        """
        settings = _settings(options)
        chosen = checked_device(self, device)
        wish = _wish(settings, Cuda(int(chosen.partition(":")[2])), shapes)
        _engine(model, wish, may_build=settings["build"])

    def reads(self, model: Path) -> tuple[Path, ...]:
        """The file, and those that it keeps its tensors in."""
        return (model, *(model.parent / name for name in external_files(model)))

    def write_example(self, folder: Path, artifact_format: str) -> Path:
        """As of ``Backend.write_example``."""
        del artifact_format
        return write_onnx_example(folder)


def _settings(options: Mapping[str, Any] | None) -> Options:
    settings = checked_options(TensorRtBackend.name, options, defaults=_DEFAULTS)
    if settings["workspace_mb"] < 0:
        raise OptionError(
            f"workspace_mb is {settings['workspace_mb']}, expected megabytes, or 0 for half of "
            "the free memory."
        )
    return settings


def _wish(settings: Mapping[str, Any], cuda: Cuda, shapes: Sequence[Shapes]) -> EngineWish:
    return EngineWish(
        flavour=flavour_named(settings["flavour"]),
        device=device_here(cuda),
        shapes=tuple(shapes),
        tf32=settings["tf32"],
        workspace_bytes=settings["workspace_mb"] * 10**6 or None,
    )


def _engine(model: Path, wish: EngineWish, *, may_build: bool) -> Engine:
    return engine_for(model, wish, may_build=may_build, stage=_LoggedStage(model))


def _probed_devices(flavour: Flavour, version: str) -> Probe:
    """What is here beside the library."""
    try:
        cuda = Cuda()
        count = cuda.device_count()
    except BackendUnavailableError as error:
        detail, _, fix = str(error).partition(" Fix: ")
        return Probe(available=False, version=version, detail=detail, fix=fix)
    except Exception as error:  # noqa: BLE001 - a broken driver fails in its own ways
        return Probe(available=False, version=version, detail=f"CUDA: {error}.", fix=DRIVER_FIX)
    if not count:
        return Probe(
            available=False,
            version=version,
            detail=f"{flavour.name} {version} finds no NVIDIA GPU: {cuda.why_none()}.",
            fix=DRIVER_FIX,
        )
    devices = tuple(f"cuda:{index}" for index in range(count))
    detail = f"{flavour.name} {version} on {', '.join(devices)}."
    return Probe(available=True, version=version, devices=devices, detail=detail)


def _deserialized(flavour: Flavour, content: bytes, model: Path) -> Native:
    trt = flavour.load()
    listener = Listener(trt)
    runtime = trt.Runtime(listener.native)
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        raise InferenceError(
            f"{flavour.name} {flavour.version()} cannot load the engine of {model.name}: "
            f"{listener.last_words()}. Delete the .engine file beside it, and it is built again."
        )
    return Native(trt, listener, runtime, engine)


class _LoggedStage:
    """Says once that a build has begun, so that its silence is no riddle, and its phases to a log.

    Args:
        model: whose engine is built.
    """

    def __init__(self, model: Path) -> None:
        self._model, self._is_known = model, False

    def __call__(self, phase: str) -> None:
        if not self._is_known:
            self._is_known = True
            logger.warning(
                "Building the engine of %s for this GPU. That takes minutes, once; `samedge build` "
                "does it beforehand.",
                self._model.name,
            )
        logger.debug("%s: %s", self._model.name, phase)


BACKEND = TensorRtBackend()
