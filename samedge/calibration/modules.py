"""Names of modules from names of nodes, so that people and plans speak of the model's own parts.

torch names a node after the path of its module with the operator at the end, and repeats the path
of a numbered child: ``/image_encoder/blocks.0/blocks.0.1/conv_pw/Conv`` is a convolution of
``image_encoder.blocks.0.1.conv_pw``. OpenVINO keeps those names and appends to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBERED = re.compile(r"^(.*?\.\d+)(\.|$)")


def module_from_node(name: str) -> str:
    """Dotted path of the module that a node belongs to; empty for a node of the graph itself."""
    parts: list[str] = []
    for part in name.removeprefix("/").removesuffix("/WithoutBiases").split("/")[:-1]:
        if parts and (part == parts[-1] or part.startswith(parts[-1] + ".")):
            parts[-1] = part
        else:
            parts.append(part)
    return ".".join(parts)


def module_from_path(path: str) -> str:
    """The same name from the path of a module in torch.

    A decoder that is wrapped for export lies at ``decoder.decoder``, and its nodes do not say so.
    """
    parts: list[str] = []
    for part in path.split("."):
        if not parts or part != parts[-1] or part.isdigit():
            parts.append(part)
    return ".".join(parts)


def group_from_module(module: str) -> str:
    """The part that is measured as one: a stage or a layer, up to the path's first number."""
    numbered = _NUMBERED.match(module)
    return numbered.group(1) if numbered else module


def groups(nodes: Iterable[str]) -> dict[str, list[str]]:
    """Nodes by group, both in the order in which they come."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        found.setdefault(group_from_module(module_from_node(node)), []).append(node)
    return found


def is_within(module: str, ancestor: str) -> bool:
    """Whether a module is ``ancestor`` or below it; everything is below the empty path."""
    return not ancestor or module == ancestor or module.startswith(f"{ancestor}.")


def may_mean(name: str, path: str) -> bool:
    """Whether a name made from nodes can be that of the module at ``path`` in torch.

    Nodes know the modules that were called: ``decoder.position`` is at ``decoder.prompts.position``
    where ``prompts`` only lends a method.
    """
    wanted, parts = name.split("."), path.split(".")
    rest = iter(parts)
    ends_agree = (wanted[0], wanted[-1]) == (parts[0], parts[-1])
    return ends_agree and all(part in rest for part in wanted)
