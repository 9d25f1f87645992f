"""PyTorch, for graphs saved by ``torch.export.save``: the reference among the backends."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samedge.errors import InferenceError, SamedgeError
from samedge.runtimes.base import Array, Backend, Probe, Session, Shapes, TensorSpec
from samedge.runtimes.options import checked_device, checked_options
from samedge.runtimes.pt2 import refuse_code
from samedge.runtimes.torch_threads import torch_threads


class TorchSession(Session):
    """One exported program.

    Its forward takes the graph's inputs by name and returns a dict of its outputs.
    """

    def __init__(self, program: Any, device: str, threads: int) -> None:
        self.device = device
        self._threads = threads
        self.inputs = tuple(_input_specs(program))
        self.outputs = tuple(_output_specs(program))
        self._module = program.module(check_guards=False).to(device)

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        import torch

        if self._module is None:
            raise InferenceError("The session is closed: open the graph again.")
        tensors = [
            torch.from_numpy(np.require(feeds[spec.name], requirements=["C", "W"])).to(self.device)
            for spec in self.inputs
        ]
        with torch_threads(self._threads), torch.inference_mode():
            results = self._module(*tensors)
            return {name: tensor.cpu().numpy() for name, tensor in results.items()}

    def close(self) -> None:
        """Release the graph's memory."""
        self._module = None


class TorchBackend(Backend):
    """Opens ``.pt2`` files on processors, NVIDIA GPUs and Apple GPUs."""

    name = "torch"
    formats = ("pt2",)
    extras = ("torch",)
    packages = ("torch",)
    selftest = "graph.pt2"

    def probe(self) -> Probe:
        """Look for the library and its devices. Never raises."""
        if importlib.util.find_spec("torch") is None:
            return Probe(available=False, detail="torch is not installed.", fix=self.install)
        try:
            import torch

            devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
            devices += ["cpu"] + ["mps"] * torch.backends.mps.is_available()
        except Exception as error:  # noqa: BLE001 - a broken install fails in its own ways
            return Probe(available=False, detail=f"torch does not load: {error}.", fix=self.install)
        return Probe(
            available=True,
            version=str(torch.__version__),  # a subclass of str, which no JSON writer takes
            devices=tuple(devices),
            detail=f"torch {torch.__version__} on {', '.join(devices)}.",
        )

    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> TorchSession:
        """Load an exported program, after a look for anything but tensors and ATen operators.

        Args:
            model: path of the ``.pt2`` file.
            device: ``cpu``, ``cuda:0`` or ``mps``; ``None`` takes the first here.
            options: ``threads``.
            shapes: of no effect.
            keep: of no effect.

        Raises:
            BackendUnavailableError: the library or the device is not here.
            IncompatibleArtifactError: the file could run foreign code.
            InferenceError: the library cannot open the file.
        """
        del shapes, keep
        settings = checked_options(self.name, options, defaults={"threads": 0})
        chosen = checked_device(self, device)
        import torch

        try:
            refuse_code(model)
            program = torch.export.load(os.fspath(model))
            return TorchSession(program, chosen, settings["threads"])
        except SamedgeError:
            raise
        except Exception as error:
            raise InferenceError(
                f"PyTorch {torch.__version__} cannot open {model} on {chosen!r}: {error}"
            ) from error

    def build(self, device: str) -> tuple[str, ...]:
        """The commit that it was built from, and the CUDA and cuDNN that it came with."""
        del device
        import torch

        return str(torch.version.git_version), str(torch.version.cuda)

    def write_example(self, folder: Path, artifact_format: str) -> Path:
        """As of ``Backend.write_example``."""
        del artifact_format
        import torch

        class Example(torch.nn.Module):
            def forward(self, points: Any, image: Any) -> dict[str, Any]:
                return {"doubled": 2 * points + 1, "halved": image.float() * 0.5}

        values = (torch.zeros(2, 3), torch.zeros(1, 2, 2, 3, dtype=torch.uint8))
        shapes = {"points": {0: torch.export.Dim("B", min=1, max=64)}, "image": None}
        path = folder / "example.pt2"
        torch.export.save(torch.export.export(Example(), values, dynamic_shapes=shapes), path)
        return path


def _input_specs(program: Any) -> list[TensorSpec]:
    names = program.graph_signature.user_inputs
    values = {
        node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"
    }
    return [_spec(name, values[name]) for name in names]


def _output_specs(program: Any) -> list[TensorSpec]:
    outputs = program.graph.output_node().args[0]
    wanted = program.graph_signature.user_outputs
    values = {node.name: node.meta["val"] for node in outputs}
    structure = program.call_spec.out_spec
    if structure.type is not dict:
        raise InferenceError(
            f"The program returns a {structure.type.__name__}, expected a dict of named tensors: "
            "export the graph again with samedge."
        )
    return [_spec(name, values[node]) for name, node in zip(structure.context, wanted, strict=True)]


def _spec(name: str, value: Any) -> TensorSpec:
    shape = tuple(axis if isinstance(axis, int) else str(axis) for axis in value.shape)
    return TensorSpec(name, str(value.dtype).removeprefix("torch."), shape)


BACKEND = TorchBackend()
