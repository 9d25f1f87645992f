"""No library at all: answers every run with zeros of the declared shapes.

It exists so that everything around a graph can be tested without one: the command line, the
predictor's bookkeeping, a service that embeds samedge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from samedge._version import __version__
from samedge.errors import InferenceError
from samedge.runtimes.base import Array, Backend, Probe, Session, Shapes, TensorSpec
from samedge.runtimes.options import checked_device, checked_options


class _Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    dtype: str
    shape: tuple[int | str, ...]


class _Graph(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inputs: list[_Tensor]
    outputs: list[_Tensor]


class NullSession(Session):
    """A graph of which only the tensors' specs are known."""

    def __init__(self, graph: _Graph) -> None:
        self.device = "null"
        self.inputs = tuple(TensorSpec(t.name, t.dtype, t.shape) for t in graph.inputs)
        self.outputs = tuple(TensorSpec(t.name, t.dtype, t.shape) for t in graph.outputs)

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        lengths: dict[int | str, int] = {}
        for spec in self.inputs:
            lengths.update(zip(spec.shape, feeds[spec.name].shape, strict=True))
        return {
            spec.name: np.zeros(
                [axis if isinstance(axis, int) else lengths[axis] for axis in spec.shape],
                spec.dtype,
            )
            for spec in self.outputs
        }


class NullBackend(Backend):
    """Opens ``.json`` files: ``{"inputs": [{"name", "dtype", "shape"}], "outputs": [...]}``."""

    name = "null"
    formats = ("null",)
    is_for_checks = True
    survives_fork = True
    computes = False

    def probe(self) -> Probe:
        """It is always here."""
        return Probe(
            available=True, version=__version__, devices=("null",), detail="Answers with zeros."
        )

    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> NullSession:
        """Read the tensors' specs.

        Args:
            model: path of the ``.json`` file.
            device: ``null``.
            options: ``threads`` is accepted and means nothing.
            shapes: of no effect.
            keep: of no effect.

        Raises:
            BackendUnavailableError: another device than ``null``.
            InferenceError: the file is missing or not such a document, or an output has a dynamic
                axis that no input has.
        """
        del shapes, keep
        checked_options(self.name, options, defaults={"threads": 0})
        checked_device(self, device)
        try:
            graph = msgspec.json.decode(model.read_bytes(), type=_Graph)
        except (OSError, msgspec.DecodeError) as error:
            raise InferenceError(
                f"{model} is not a null graph ({error}): give a JSON document with inputs and "
                "outputs."
            ) from error
        known = {axis for tensor in graph.inputs for axis in tensor.shape}
        for tensor in graph.outputs:
            unknown = [axis for axis in tensor.shape if isinstance(axis, str) and axis not in known]
            if unknown:
                raise InferenceError(
                    f"Output {tensor.name!r} of {model.name} has dynamic axes {unknown} that no "
                    "input has: name them alike."
                )
        return NullSession(graph)

    def write_example(self, folder: Path, artifact_format: str) -> Path:
        """As of ``Backend.write_example``."""
        del artifact_format
        points, image = ("B", 3), (1, 2, 2, 3)
        graph = _Graph(
            inputs=[_Tensor("points", "float32", points), _Tensor("image", "uint8", image)],
            outputs=[_Tensor("doubled", "float32", points), _Tensor("halved", "float32", image)],
        )
        path = folder / "example.json"
        path.write_bytes(msgspec.json.encode(graph))
        return path


BACKEND = NullBackend()
