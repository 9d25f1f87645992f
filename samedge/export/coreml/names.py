"""Short names for constants: a program names each three times, and nobody reads them."""

from __future__ import annotations

from typing import Any

from samedge.export.coreml.library import coremltools, quiet


def with_short_constants(model: Any) -> Any:
    """A model whose constants are called ``c0``, ``c1`` and so on; operations keep their names.

    In a compressed package of a small model the names of constants would be a fiftieth of the file.

    Args:
        model: coremltools' ``MLModel``.
    """
    spec = model.get_spec()
    for function in spec.mlProgram.functions.values():
        taken = {value.name for value in function.inputs}
        for block in function.block_specializations.values():
            _shorten(block, taken)
    with quiet():
        return coremltools().models.MLModel(
            spec, weights_dir=model.weights_dir, skip_model_load=True
        )


def _shorten(block: Any, taken: set[str]) -> None:
    constants = [op for op in block.operations if op.type.startswith("const")]  # and constexpr_*
    taken = taken | {v.name for op in block.operations for v in op.outputs} | set(block.outputs)
    names: dict[str, str] = {}
    for index, operation in enumerate(constants):
        (output,) = operation.outputs
        short = f"c{index}"
        if short not in taken and output.name not in block.outputs:
            names[output.name] = short
            output.name = short
            operation.attributes["name"].immediateValue.tensor.strings.values[0] = short
    for operation in block.operations:
        for inputs in operation.inputs.values():
            for argument in inputs.arguments:
                if argument.WhichOneof("binding") == "name" and argument.name in names:
                    argument.name = names[argument.name]
