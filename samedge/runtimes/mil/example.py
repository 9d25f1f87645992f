"""The tiny graph of :mod:`samedge.runtimes.example` as a Core ML package, for both its readers."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from pathlib import Path
from typing import Any

_MOST_POINTS = 64


def write_coreml_example(folder: Path) -> Path:
    """Write ``example.mlpackage``.

    Args:
        folder: an existing folder.

    Raises:
        ImportError: coremltools is not installed.
    """
    path = folder / "example.mlpackage"
    chatter = io.StringIO()  # about libraries that only a Mac has
    with warnings.catch_warnings(), contextlib.redirect_stderr(chatter):
        warnings.simplefilter("ignore")
        tools = importlib.import_module("coremltools")
        _converted(tools).save(str(path))
    return path


def _converted(tools: Any) -> Any:
    target, batch = tools.target.iOS17, tools.converters.mil.mil.get_new_symbol()
    builder = tools.converters.mil.Builder
    specs = [builder.TensorSpec(shape=(batch, 3)), builder.TensorSpec(shape=(1, 3, 2, 2))]

    @builder.program(input_specs=specs, opset_version=target)  # type: ignore[untyped-decorator]
    def example(points: Any, image: Any) -> Any:
        doubled = builder.add(x=builder.mul(x=points, y=2.0), y=1.0, name="doubled")
        pixels = builder.transpose(x=image, perm=[0, 2, 3, 1])
        return doubled, builder.mul(x=pixels, y=0.5, name="halved")

    flexible = tools.RangeDim(lower_bound=1, upper_bound=_MOST_POINTS, default=2)
    return tools.convert(
        example,
        inputs=[
            tools.TensorType("points", shape=(flexible, 3)),
            tools.ImageType("image", shape=(1, 3, 2, 2), color_layout="RGB"),
        ],
        convert_to="mlprogram",
        minimum_deployment_target=target,
        compute_precision=tools.precision.FLOAT32,
        skip_model_load=True,
    )
