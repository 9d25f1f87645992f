"""The tree that the module draws is the tree that it defines."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from samedge import errors, runtimes
from samedge.errors import ParityError, SamedgeError, UnknownNameError

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, Exception)
]


def drawn() -> dict[str, tuple[int, str | None]]:
    """Depth and built-in base of every class in the docstring's drawing, in order."""
    tree = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)(\w+Error)(?: \((\w+)\))?(?:  |$)", line)
        if match:
            tree[match[2]] = (len(match[1]) // 4, match[3])
    return tree


def test_every_error_is_drawn_once_where_it_belongs() -> None:
    tree = drawn()
    assert set(tree) == {error.__name__ for error in CLASSES}
    path: list[str] = []
    for name, (depth, builtin) in tree.items():
        path[depth:] = [name]
        error = getattr(errors, name)
        if depth:
            assert issubclass(error, getattr(errors, path[depth - 1]))
        if builtin:
            assert builtin in {base.__name__ for base in error.__mro__}


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_has_an_exit_code(error: type[SamedgeError]) -> None:
    assert issubclass(error, SamedgeError)
    assert error.exit_code == (3 if issubclass(error, errors.GateError) else 1)


def test_unknown_name_lists_and_suggests() -> None:
    error = UnknownNameError("target", "jetsn", ["intel", "jetson", "cpu"])
    assert str(error) == "Unknown target 'jetsn'. Did you mean 'jetson'? Known: cpu, intel, jetson."
    assert str(UnknownNameError("target", "zzz", [])) == "Unknown target 'zzz'. Known: none."


def test_a_name_that_is_no_text_is_unknown_too() -> None:
    for name in (None, 5):
        wrong: Any = name
        with pytest.raises(UnknownNameError, match=rf"Unknown backend {name!r}\. Known: .*torch"):
            runtimes.get(wrong)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("ort", "'onnxruntime'"), ("TRT", "'tensorrt'"), ("cuda", "'onnxruntime' or 'tensorrt'")],
)
def test_what_people_call_a_backend_is_answered(name: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=rf"'{name}'\. Did you mean {meant}\?"):
        runtimes.get(name)


def test_parity_names_tensor_value_and_threshold() -> None:
    error = ParityError("image_embeddings", 0.5, 0.99, "Use fp32.")
    assert "image_embeddings is 0.5000, below the gate of 0.9900. Use fp32." in str(error)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("fp8", "fp32"),
        ("p9", "p8"),
        ("itn8", "int8"),
        ("in8", "int8"),
        ("8", None),
        ("zzz", None),
        ("", None),
    ],
)
def test_short_names_are_no_slips_of_one_another(name: str, nearest: str | None) -> None:
    known = ["fp32", "fp16", "bf16", "int8", "w8", "w4", "p8", "p4"]
    assert errors.nearest_name(name, known) == nearest


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ImageError", errors.ImageError),
        ("WriteError", errors.WriteError),
        ("UnknownNameError", errors.SourceError),  # takes more than a message
        ("difflib", errors.SourceError),
        ("ValueError", errors.SourceError),
    ],
)
def test_an_error_of_another_process_is_itself_again(
    kind: str, expected: type[errors.SamedgeError]
) -> None:
    error = errors.error_named(kind, "what it said", default=errors.SourceError)
    assert type(error) is expected
    assert str(error) == "what it said"
