"""Which module of the model a weight or an operation of a Core ML program came from.

coremltools names operations after the nodes of torch's program and weights after its placeholders,
with a suffix for the type; torch's program knows the module of both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from samedge.calibration.modules import module_from_path

_TYPE_SUFFIX = re.compile(r"(_(to|cast)_(fp16|fp32))+$")
_WRAPPER = "wrapped."


def module_names(exported: Any) -> Mapping[str, str]:
    """Names of nodes and placeholders to dotted module paths.

    A folded batch norm's product keeps the batch norm's name and belongs to the convolution that
    it was folded into.

    Args:
        exported: a ``torch.export.ExportedProgram``, as it was converted.
    """
    signature = exported.graph_signature
    tensors = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    names = {placeholder: _module(path) for placeholder, path in tensors.items()}
    for node in exported.graph.nodes:
        if node.op == "call_function":
            source = _folded_into(node)
            stack = list((source.meta.get("nn_module_stack") or {}).values())
            names[node.name] = _path(stack[-1][0]) if stack else ""
    return names


def module_lookup(names: Mapping[str, str]) -> Callable[[str], str]:
    """From a name in the converted program to its module; empty where it is not known."""

    def look_up(name: str) -> str:
        plain = _TYPE_SUFFIX.sub("", name)
        return names.get(plain) or names.get(plain.rstrip("_")) or ""

    return look_up


def _folded_into(node: Any) -> Any:
    if "batch_norm" in str(node.target) and getattr(node.args[0], "op", "") == "call_function":
        return node.args[0]
    return node


def _path(name: str) -> str:
    """``L['self'].wrapped.image_encoder`` or its plain form to ``image_encoder``."""
    plain = re.sub(r"^L\['self'\]\.?", "", name)
    return module_from_path(plain.removeprefix(_WRAPPER))


def _module(tensor: str) -> str:
    return _path(tensor).rpartition(".")[0]
