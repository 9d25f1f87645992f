"""Tensors by name from what a trainer saved: without wrappers and prefixes, and said which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from samedge.errors import CheckpointError
from samedge.models.checkpoint_head import some
from samedge.models.keymaps import DIALECTS

WRAPPERS = ("model", "state_dict", "model_state_dict", "module", "net", "sam", "weights", "params")
"""Keys that trainers keep a state dict under, the likeliest first."""

_DEEPEST = 4
_WRAPPING_MODULES = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_PREFIXES = ("module.", "model.", "sam.", "net.", "sam_model.")
_COUNTERS = re.compile(r"(.*\.)?total_(ops|params)")


def unwrapped_tensors(state: object, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of a state dict, also of one that is wrapped.

    Args:
        state: what a file holds.
        path: the file, for messages.

    Returns:
        The tensors, and what was taken off, in words.

    Raises:
        CheckpointError: there are no tensors, or several models among which none stands out.
    """
    taken, notes = _unwrapped(state, path)
    tensors = {str(key): value for key, value in taken.items() if isinstance(value, Tensor)}
    if len(tensors) < len(taken):
        others = [str(key) for key, value in taken.items() if not isinstance(value, Tensor)]
        notes.append(f"left out {some(others)}, which are no tensors")
    counters = [name for name in tensors if _COUNTERS.fullmatch(name)]
    if counters:
        notes.append("left out a profiler's counters (total_ops, total_params)")
        tensors = {name: value for name, value in tensors.items() if name not in counters}
    return tensors, tuple(notes)


def _unwrapped(state: object, path: Path) -> tuple[Mapping[object, object], list[str]]:
    """The mapping of tensors in it, also of one that is wrapped."""
    notes: list[str] = []
    for _ in range(_DEEPEST + 1):
        if not isinstance(state, Mapping):
            raise CheckpointError(
                f"{path} holds a {type(state).__name__}, expected a state dict: names and tensors."
            )
        key = _wrapper(state, path)
        if key is None:
            return state, notes
        beside = [str(other) for other in state if other != key]
        notes.append(f"took {key!r}" + (f" and left {some(beside)}" if beside else ""))
        state = state[key]
    raise CheckpointError(
        f"{path} wraps its tensors more than {_DEEPEST} times: save its state_dict() alone."
    )


def _wrapper(state: Mapping[object, object], path: Path) -> object | None:
    """The key under which the tensors are; ``None`` if they are right here.

    Raises:
        CheckpointError: there are none, or they are under several keys.
    """
    inner = [key for key, value in state.items() if _holds_tensors(value)]
    for wrapper in WRAPPERS:
        if wrapper in inner:
            return wrapper
    here = sum(isinstance(value, Tensor) for value in state.values())
    if 2 * here >= len(state) > 0:
        return None
    if len(inner) == 1:
        return inner[0]
    listed = some(f"{key} ({type(value).__name__})" for key, value in state.items())
    if inner:
        raise CheckpointError(
            f"{path} holds {len(inner)} mappings of tensors ({some(map(str, inner))}), and none is "
            f"called {' or '.join(WRAPPERS[:3])}: save the one that is the model alone."
        )
    if here:
        return None
    raise CheckpointError(
        f"{path} holds no tensors: its keys are {listed or 'none'}. Expected a state dict: names "
        "and tensors."
    )


def _holds_tensors(value: object, depth: int = _DEEPEST - 1) -> bool:
    """Whether it is a mapping of names to tensors, or wraps one."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return False
    if sum(isinstance(each, Tensor) for each in value.values()) * 2 >= max(len(value), 1):
        return True
    return depth > 0 and any(
        key in WRAPPERS and _holds_tensors(each, depth - 1) for key, each in value.items()
    )


def without_prefix(
    tensors: dict[str, Tensor], path: Path
) -> tuple[dict[str, Tensor], str, tuple[str, ...]]:
    """Tensors under the names that their family has, without what wraps its model.

    Args:
        tensors: all of a checkpoint.
        path: it, for messages.

    Returns:
        The tensors, the prefix that was taken off, and all that was taken off in words.

    Raises:
        CheckpointError: the same model is there more than once.
    """
    plain = {_WRAPPING_MODULES.sub("", name): value for name, value in tensors.items()}
    wrappers = {match.group(1) for name in tensors for match in _WRAPPING_MODULES.finditer(name)}
    notes = [f"stripped '{wrapper}.' from the names" for wrapper in sorted(wrappers)]
    prefix = _prefix_of_family(plain, path) or _common_prefix(plain)
    if prefix:
        notes.append(f"stripped {prefix!r} from the names")
    named = {name.removeprefix(prefix): value for name, value in plain.items()}
    return named, prefix, tuple(notes)


def _prefix_of_family(names: Iterable[str], path: Path) -> str:
    """What stands before a name that gives a family away; others may lack it."""
    found = {
        name.removesuffix(dialect.marker)
        for name in names
        for dialect in DIALECTS
        if name == dialect.marker or name.endswith(f".{dialect.marker}")
    }
    if len(found) > 1:
        raise CheckpointError(
            f"{path} holds a model {len(found)} times, under {some(sorted(map(repr, found)))}: "
            "save the one that is wanted alone."
        )
    return found.pop() if found else ""


def _common_prefix(names: Iterable[str]) -> str:
    """Prefixes of trainers that all names have, one after another."""
    rest = list(names)
    stripped = ""
    while rest:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in rest)), None)
        if prefix is None:
            break
        stripped += prefix
        rest = [name.removeprefix(prefix) for name in rest]
    return stripped
