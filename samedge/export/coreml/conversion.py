"""A graph to a Core ML ML Program.

The route is ``torch.export``. Two things are done to torch's program first: operators that
coremltools 9.0 cannot read are written with ones that it can, and what it changes is spelled out: a
GELU with the tanh approximation, whose mode it drops (its own fusion finds it again), and a
reciprocal, which it writes as 1 / (x + 0.0001), MIL's default for ``inverse``.

An encoder takes its picture as Core ML's image type, which is what cameras and Vision hand over;
backends show it under samedge's contract as (1, S, S, 3) uint8.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samedge.errors import ExportError
from samedge.export.coreml.attributes import check_attributes, gelu_modes
from samedge.export.coreml.library import coremltools, quiet
from samedge.export.coreml.modules import module_lookup, module_names
from samedge.export.coreml.options import MinimumOs
from samedge.export.graphs import Graph
from samedge.files.scratch import scratch_folder
from samedge.pixels.prompts import Bucket
from samedge.runtimes.mil.package import read_package
from samedge.types import IMAGE, POINT_COORDS, POINT_LABELS

_POINTS = (POINT_COORDS, POINT_LABELS)
_TERMINAL = ("sin", "cos", "exp", "clip")
_COORDINATE_ARITHMETIC = frozenset(
    {
        *_TERMINAL,
        *("add", "sub", "mul", "real_div", "cast", "minimum", "maximum", "pow", "square"),
        *("expand_dims", "squeeze", "reshape", "transpose", "concat", "stack", "slice_by_index"),
        *("reduce_sum", "reduce_mean", "reduce_min", "reduce_max", "matmul", "linear"),
    }
)
_SMALL = 1 << 16
_MANY_POINTS = 32  # for an axis that varies


def _tanh_gelu(x: Tensor, *, approximate: str = "none") -> Any:
    if approximate != "tanh":
        return NotImplemented
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1.0 + torch.tanh(inner))


def _reciprocal(x: Tensor) -> Tensor:
    return torch.ones_like(x) / x


def _lowerings() -> dict[Any, Callable[..., Any]]:
    aten = torch.ops.aten
    return {
        aten.__or__.Tensor: torch.logical_or,
        aten.__and__.Tensor: torch.logical_and,
        aten.gelu.default: _tanh_gelu,
        aten.reciprocal.default: _reciprocal,
    }


class _FromPlanes(nn.Module):
    """A graph whose ``image`` comes as Core ML hands it over: (1, 3, S, S) float, 0 to 255."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.wrapped = graph

    def forward(self, image: Tensor) -> Any:
        return self.wrapped(image.permute(0, 2, 3, 1))


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A converted graph.

    Attributes:
        model: coremltools' ``MLModel``, not loaded.
        exported: torch's program as it was converted.
        module_of: from the name of a weight or an operation to its module; empty: not known.
    """

    model: Any
    exported: Any
    module_of: Callable[[str], str]


def _trace(
    graph: Graph, sizes: Sequence[Bucket]
) -> tuple[Any, collections.Counter[str], dict[str, Tensor]]:
    """Torch's program for the converter, the GELU modes it must keep, and its example inputs."""
    example = {
        name: tensor.float().permute(0, 3, 1, 2).contiguous() if name == IMAGE else tensor
        for name, tensor in graph.example().items()
    }
    module: nn.Module = _FromPlanes(graph) if IMAGE in example else graph
    with torch.no_grad():
        program = torch.export.export(
            module.eval(), tuple(example.values()), dynamic_shapes=_dynamic(example, sizes)
        )
        modes = gelu_modes(program)
        return program.run_decompositions(_lowerings()), modes, example


def _dynamic(
    example: dict[str, Tensor], sizes: Sequence[Bucket]
) -> tuple[dict[int, Any], ...] | None:
    """The axis of points varies where a decoder takes several sizes."""
    if len(sizes) < 2:
        return None
    counts = [count for _, count in sizes]
    points = torch.export.Dim("points", min=min(counts), max=max(counts))
    return tuple({1: points} if name in _POINTS else {} for name in example)


def _inputs(library: Any, example: dict[str, Tensor], sizes: Sequence[Bucket]) -> list[Any]:
    found = []
    for name, tensor in example.items():
        shape: Any = tuple(tensor.shape)
        if name == IMAGE:
            found.append(library.ImageType(name=name, shape=shape, color_layout="RGB"))
            continue
        if name in _POINTS and len(sizes) > 1:
            every = [(batch, count, *shape[2:]) for batch, count in sizes]
            shape = library.EnumeratedShapes(shapes=every, default=shape)
        found.append(library.TensorType(name=name, shape=shape, dtype=np.float32))
    return found


class _HalfPrecision:
    """Chooses what runs in fp16: all but the arithmetic on coordinates.

    fp16 has a step of half a pixel at x = 600, so coordinates stay fp32 until a sine, cosine,
    exponential or clip has made an ordinary number of them. Those few operations, doubtful on the
    Neural Engine anyway, then run on the CPU, in front of everything else.
    """

    def __init__(self) -> None:
        self._known: dict[str, bool] = {}

    def __call__(self, operation: Any) -> bool:
        """Whether the operation is converted to fp16."""
        return not self._keeps_coordinates(operation)

    def _keeps_coordinates(self, operation: Any) -> bool:
        name = operation.name
        if name not in self._known:
            self._known[name] = False  # cycles do not occur; this bounds the recursion
            self._known[name] = (
                operation.op_type in _COORDINATE_ARITHMETIC
                and _elements(operation) <= _SMALL
                and any(self._brings_coordinates(v) for v in operation.inputs.values())
            )
        return self._known[name]

    def _brings_coordinates(self, value: Any) -> bool:
        if isinstance(value, list | tuple):
            return any(self._brings_coordinates(v) for v in value)
        if value is None:
            return False
        if value.op is None:
            return bool(value.name == POINT_COORDS)
        return value.op.op_type not in _TERMINAL and self._keeps_coordinates(value.op)


def _elements(operation: Any) -> int:
    shape = operation.outputs[0].shape or ()
    return math.prod(int(n) if isinstance(n, int | np.integer) else _MANY_POINTS for n in shape)


def convert(
    graph: Graph,
    *,
    half: bool,
    minimum_os: MinimumOs = "iOS17",
    sizes: Sequence[Bucket] = (),
) -> Conversion:
    """Convert a graph to an ML Program and check what no comparison of numbers would notice.

    Args:
        graph: fixed shapes; a decoder graph has a bucket.
        half: compute in fp16 (but for coordinates) instead of fp32.
        minimum_os: the oldest system that must open the package.
        sizes: every ``(B, N)`` that a decoder takes, where there are several.

    Raises:
        ExportError: coremltools cannot convert it, or changed an attribute.
        BackendUnavailableError: coremltools is not installed.
    """
    library = coremltools()
    with quiet():
        exported, modes, example = _trace(graph, sizes)
        try:
            inputs = _inputs(library, example, sizes)
            model = _convert(library, exported, inputs, graph, half=half, minimum_os=minimum_os)
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # they hold a folder of weights
            raise ExportError(
                f"Core ML: converting the {graph.role} failed: {error}. Export another target, or "
                "another encoder, until coremltools learns this operator."
            ) from error
        _check_saved(model, exported, modes)
    return Conversion(model, exported, module_lookup(module_names(exported)))


def _convert(
    library: Any,
    exported: Any,
    inputs: list[Any],
    graph: Graph,
    *,
    half: bool,
    minimum_os: MinimumOs,
) -> Any:
    precision: Any = library.precision.FLOAT32
    if half:
        precision = library.transform.FP16ComputePrecision(op_selector=_HalfPrecision())
    return library.convert(
        exported,
        inputs=inputs,
        outputs=[library.TensorType(name=name, dtype=np.float32) for name in graph.output_names],
        minimum_deployment_target=getattr(library.target, minimum_os),
        compute_precision=precision,
        convert_to="mlprogram",
        skip_model_load=True,
    )


def _check_saved(model: Any, exported: Any, modes: collections.Counter[str]) -> None:
    with scratch_folder() as folder:
        path = folder / "check.mlpackage"
        model.save(str(path))
        package = read_package(path)
        function = package.functions[package.default_function]
        check_attributes(function, exported, wanted_modes=modes)
