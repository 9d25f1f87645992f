"""Weights in fewer bits, as Core ML stores them; computation stays in fp16.

Eight bits are linear and symmetric, one scale an output channel. Six bits are a palette of 64
values a tensor, found by k-means. Four bits are linear over blocks of 32 input channels, which
needs iOS 18, where a palette of 16 values a tensor costs far more accuracy at the same size; what
has no such blocks, depthwise convolutions above all, takes eight bits.

Source: coremltools, "Optimizing Models", https://apple.github.io/coremltools/docs-guides/source/opt-overview.html
"""

from __future__ import annotations

from typing import Any

from samedge.errors import ExportError
from samedge.export.coreml.library import coremltools, quiet
from samedge.types import Precision

SMALL_TENSOR = 2048
"""Weights with fewer elements stay as they are: they cost nothing and hold biases and norms."""

BLOCK_SIZE = 32


def compress(model: Any, precision: Precision) -> Any:
    """Compress the weights of a converted model.

    Args:
        model: coremltools' ``MLModel`` with fp16 weights.
        precision: ``w8``, ``w6`` or ``w4``.

    Returns:
        A new ``MLModel``.

    Raises:
        ExportError: another precision, or coremltools could not compress.
    """
    compressors = {Precision.W8: _linear8, Precision.W6: _palette6, Precision.W4: _blocks4}
    if precision not in compressors:
        raise ExportError(f"Core ML weights cannot be compressed to {precision.value!r}.")
    with quiet():
        return compressors[precision](coremltools("optimize.coreml"), model)


def _linear8(library: Any, model: Any) -> Any:
    operation = library.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype="int8",
        granularity="per_channel",
        weight_threshold=SMALL_TENSOR,
    )
    config = library.OptimizationConfig(global_config=operation)
    return library.linear_quantize_weights(model, config=config)


def _palette6(library: Any, model: Any) -> Any:
    operation = library.OpPalettizerConfig(
        mode="kmeans", nbits=6, granularity="per_tensor", weight_threshold=SMALL_TENSOR
    )
    config = library.OptimizationConfig(global_config=operation)
    return library.palettize_weights(model, config=config)


def _blocks4(library: Any, model: Any) -> Any:
    operation = library.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype="int4",
        granularity="per_block",
        block_size=BLOCK_SIZE,
        weight_threshold=SMALL_TENSOR,
    )
    config = library.OptimizationConfig(global_config=operation)
    return _linear8(library, library.linear_quantize_weights(model, config=config))
