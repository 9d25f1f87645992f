from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from samedge.files.json_text import json_text


class Entry(msgspec.Struct):
    name: str
    extra: int | msgspec.UnsetType = msgspec.UNSET


@dataclasses.dataclass
class Plain:
    size: tuple[int, int]


def test_names_that_are_no_utf8_come_back_byte_by_byte() -> None:
    name = os.fsdecode(b"caf\xe9 \xff.png")
    for indent in (0, 2):
        text = json_text({"name": name, "entry": Entry(name)}, indent=indent)
        assert text.isascii()
        found = json.loads(text)
        assert os.fsencode(found["name"]) == os.fsencode(name)
        assert os.fsencode(found["entry"]["name"]) == os.fsencode(name)


def test_any_text_is_ascii_and_the_same_again() -> None:
    text = json_text({"日本": "語 🙂 \n\t\\ \x7f"}, indent=2)
    assert text.isascii()
    assert json.loads(text) == {"日本": "語 🙂 \n\t\\ \x7f"}
    assert "\n  " in text


def test_structs_arrays_paths_and_what_was_not_measured() -> None:
    document = {
        "entry": Entry("a"),
        "plain": Plain((2, 3)),
        "array": np.arange(3, dtype=np.uint8),
        "scalar": np.float32(0.5),
        "double": np.float64("nan"),
        "path": Path("a/b"),
        "deep": [{"x": (float("inf"), 1.5)}],
    }
    assert json.loads(json_text(document)) == {
        "entry": {"name": "a"},
        "plain": {"size": [2, 3]},
        "array": [0, 1, 2],
        "scalar": 0.5,
        "double": None,
        "path": "a/b",
        "deep": [{"x": [None, 1.5]}],
    }


def test_what_has_no_json_is_named() -> None:
    with pytest.raises(TypeError, match="object cannot be written as JSON"):
        json_text({"x": object()})
