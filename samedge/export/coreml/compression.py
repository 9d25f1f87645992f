"""Weights and activations in fewer bits, as Core ML stores them, by a precision plan.

Eight bits are linear and symmetric, one scale an output channel. Palettes hold 256, 64 or 16 values
a tensor, found by k-means. Four linear bits go by blocks of 32 input channels, which needs iOS 18,
where a palette of 16 values a tensor costs far more accuracy at the same size; what has no such
blocks, depthwise convolutions above all, takes eight bits. Of these only the file shrinks:
computation stays in fp16. ``int8`` also rounds what enters a convolution or a linear layer to eight
bits, by the ranges seen in calibration, so that the product can run on integers (A17 and M4 on).

Source: coremltools, "Optimizing Models", https://apple.github.io/coremltools/docs-guides/source/opt-overview.html
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samedge.calibration.plan import PrecisionPlan
from samedge.errors import ExportError
from samedge.export.coreml.library import coremltools, quiet
from samedge.runtimes.mil.package import read_package
from samedge.runtimes.mil.program import Function
from samedge.types import WEIGHTS_ONLY, Array, Precision

if TYPE_CHECKING:
    from torch import Tensor

SMALL_TENSOR = 1024
"""Weights with fewer elements stay as they are: they cost nothing and hold biases and norms."""

BLOCK_SIZE = 32
COMPRESSED = (Precision.INT8, *WEIGHTS_ONLY)

_PRODUCTS = ("conv", "linear")
_PLACES = ("prefix", "suffix")
ModuleOf = Callable[[str], str]
"""From the name of a weight or of an operation to its module; empty: not known."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """A program and what its tensors were in calibration.

    Attributes:
        function: the program, uncompressed.
        ranges: smallest and largest value of each tensor, by its name.
    """

    function: Function
    ranges: Mapping[str, tuple[float, float]]


def compress(
    model: Any,
    plan: PrecisionPlan,
    *,
    module_of: ModuleOf = lambda _: "",
    seen: Callable[[], Seen] | None = None,
) -> Any:
    """Compress a converted model.

    Args:
        model: coremltools' ``MLModel`` with fp16 weights.
        plan: precisions by module; modules in a float precision stay as they are.
        module_of: names to modules.
        seen: gives the ranges of activations, where the plan has ``int8``.

    Returns:
        A new ``MLModel``, or the same where there is nothing to compress.

    Raises:
        ExportError: a precision that Core ML does not store, or coremltools could not compress.
    """
    with quiet():
        weights = _weights(model, plan, module_of)
        if weights.get(Precision.INT8):
            if seen is None:
                raise ExportError("int8 needs the ranges of activations: give a calibration set.")
            model = _activations8(model, plan, module_of, seen())
        for precision, names in weights.items():
            for steps in _steps(precision):
                model = steps(coremltools("optimize.coreml"), model, names)
    return model


def _weights(model: Any, plan: PrecisionPlan, module_of: ModuleOf) -> dict[Precision, list[str]]:
    """Names of the large weights by their planned precision."""
    found: dict[Precision, list[str]] = {}
    metadata = coremltools("optimize.coreml").get_weights_metadata(model, SMALL_TENSOR)
    for name, weight in metadata.items():
        users = [child.name for child in weight.child_ops]
        module = next(filter(None, map(module_of, (name, *users))), "")
        precision = plan.precision_of(module)
        if precision in COMPRESSED:
            found.setdefault(precision, []).append(name)
        elif precision not in (Precision.FP32, Precision.FP16, Precision.BF16):
            raise ExportError(
                f"Core ML weights cannot be compressed to {precision.value!r}: choose "
                f"{', '.join(p.value for p in COMPRESSED)}."
            )
    return found


_Step = Callable[[Any, Any, list[str]], Any]


def _steps(precision: Precision) -> tuple[_Step, ...]:
    steps: dict[Precision, tuple[_Step, ...]] = {
        **dict.fromkeys((Precision.INT8, Precision.W8), (_linear8,)),
        Precision.P8: (_palette(8),),
        Precision.W6: (_palette(6),),
        Precision.P4: (_palette(4),),
        Precision.W4: (_blocks4, _linear8),
    }
    return steps[precision]


def _linear8(library: Any, model: Any, names: list[str]) -> Any:
    operation = library.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype="int8",
        granularity="per_channel",
        weight_threshold=SMALL_TENSOR,
    )
    return library.linear_quantize_weights(model, config=_only(library, operation, names))


def _palette(bits: int) -> _Step:
    def step(library: Any, model: Any, names: list[str]) -> Any:
        operation = library.OpPalettizerConfig(
            mode="kmeans", nbits=bits, granularity="per_tensor", weight_threshold=SMALL_TENSOR
        )
        return library.palettize_weights(model, config=_only(library, operation, names))

    return step


def _blocks4(library: Any, model: Any, names: list[str]) -> Any:
    operation = library.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype="int4",
        granularity="per_block",
        block_size=BLOCK_SIZE,
        weight_threshold=SMALL_TENSOR,
    )
    return library.linear_quantize_weights(model, config=_only(library, operation, names))


def _only(library: Any, operation: Any, names: list[str]) -> Any:
    return library.OptimizationConfig(
        global_config=None, op_name_configs=dict.fromkeys(names, operation)
    )


def _activations8(model: Any, plan: PrecisionPlan, module_of: ModuleOf, seen: Seen) -> Any:
    """Round the inputs and results of the planned products to eight bits.

    coremltools' own function of this name calibrates with Core ML, so on a Mac only. Its graph
    passes need nothing but the ranges, and those the mil backend finds anywhere.
    """
    library = coremltools("optimize.coreml")
    operation = library.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8")
    planned = [
        op.name
        for op in seen.function.compute()
        if op.kind in _PRODUCTS and plan.precision_of(module_of(op.name)) is Precision.INT8
    ]
    known = {name: {"rmin": low, "rmax": high} for name, (low, high) in seen.ranges.items()}
    config = _only(library, operation, planned)
    registry = coremltools("converters.mil.mil.passes.pass_registry").PASS_REGISTRY
    option = coremltools("converters.mil.mil.passes.graph_pass").PassOption
    passes = [registry[f"compression::insert_{p}_quantize_dequantize_pair"] for p in _PLACES]
    for insert in passes:
        insert.set_options([option("config", config), option("activation_stats", known)])
    passes.append(registry["common::dequantize_quantize_pair_elimination"])
    load = coremltools("converters.mil.frontend.milproto.load").load
    apply = coremltools("models.utils")._apply_graph_pass  # there is no public way in
    return apply(model, passes, spec_version=8, skip_model_load=True, pymil_load_func=load)


def activation_ranges(path: Path, feeds: Iterable[Mapping[str, Array]]) -> Seen:
    """Run a saved package on calibration feeds and keep every tensor's smallest and largest value.

    Args:
        path: the ``.mlpackage`` in fp16, uncompressed.
        feeds: every input of the graph by name.
    """
    from samedge.runtimes._mil import BACKEND

    package = read_package(path)
    function = package.functions[package.default_function]
    low: dict[str, float] = {}
    high: dict[str, float] = {}

    def observe(name: str, values: Tensor) -> None:
        low[name] = min(low.get(name, math.inf), float(values.min()))
        high[name] = max(high.get(name, -math.inf), float(values.max()))

    session = BACKEND.open(path)
    with session:
        for feed in feeds:
            session.observe(feed, observe)
    return Seen(function, {name: (low[name], high[name]) for name in low})
