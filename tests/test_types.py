"""A prompt that no image could satisfy is refused when it is made."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from samedge.errors import PromptError
from samedge.types import Prompt


def test_arrays_are_made() -> None:
    prompt = Prompt(points=[[1, 2], [3, 4]], labels=(1, 0), box=[0, 0, 5, 5.5])
    assert prompt.points.dtype == np.float32
    assert prompt.points.shape == (2, 2)
    assert prompt.labels.tolist() == [1, 0]
    assert prompt.box.tolist() == [0, 0, 5, 5.5]


def test_points_are_foreground_unless_labelled() -> None:
    assert Prompt(points=[[1, 2], [3, 4]]).labels.tolist() == [1, 1]


def test_absent_points_are_empty_arrays() -> None:
    prompt = Prompt(box=[0, 0, 1, 1])
    assert prompt.points.shape == (0, 2)
    assert prompt.labels.shape == (0,)


@pytest.mark.parametrize(
    ("values", "ambiguous"),
    [
        ({"points": [[1, 2]]}, True),
        ({"points": [[1, 2]], "labels": [0]}, True),
        ({"points": [[1, 2], [3, 4]]}, False),
        ({"box": [0, 0, 1, 1]}, False),
        ({"points": [[1, 2]], "box": [0, 0, 1, 1]}, False),
        ({"points": [[1, 2]], "mask": np.ones((2, 2), np.bool_)}, False),
    ],
)
def test_one_click_alone_is_ambiguous(values: dict[str, Any], ambiguous: bool) -> None:
    assert Prompt(**values).is_ambiguous is ambiguous


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "empty: give at least"),
        ({"points": [], "labels": []}, "empty: give at least"),
        ({"points": [1, 2]}, r"shape \(2,\), expected \(N, 2\)"),
        ({"points": [[1, 2, 3]]}, r"shape \(1, 3\)"),
        ({"points": [[1, 2], [3]]}, "rows of one length"),
        ({"points": "abc"}, "not numbers"),
        ({"points": [[1, np.nan]]}, "NaN or infinity"),
        ({"points": [[np.inf, 1]]}, "NaN or infinity"),
        ({"points": [[1e60, 1]]}, "NaN or infinity"),
        ({"points": [[1, 2]], "labels": [1, 0]}, r"1 points.*labels of shape \(2,\)"),
        ({"points": [[1, 2]], "labels": [2]}, r"labels are \[2\]"),
        ({"points": [[1, 2]], "labels": [-1]}, r"labels are \[-1\]"),
        ({"points": [[1, 2]], "labels": ["a"]}, "labels are"),
        ({"points": [[1, 2]], "labels": [[1, 0], [1]]}, "different lengths"),
        ({"labels": [1]}, r"0 points came with labels"),
        ({"box": [1, 2, 3]}, r"box has shape \(3,\)"),
        ({"box": [[1, 2, 3, 4]]}, r"box has shape \(1, 4\)"),
        ({"box": [1, 2, 3, "x"]}, "not numbers"),
        ({"box": [5, 2, 5, 9]}, "empty or inverted"),
        ({"box": [5, 9, 8, 9]}, "empty or inverted"),
        ({"box": [8, 2, 5, 9]}, "empty or inverted"),
        ({"box": [1, 9, 8, 2]}, "empty or inverted"),
        ({"box": [1, np.nan, 8, 2]}, "NaN or infinity"),
        ({"box": [1, 1, np.inf, 2]}, "NaN or infinity"),
        ({"mask": np.zeros(4, np.bool_)}, "two axes"),
        ({"mask": np.zeros((1, 4, 4), np.float32)}, "two axes"),
        ({"mask": np.zeros((4, 4), np.uint8)}, "dtype uint8"),
        ({"mask": np.full((4, 4), np.nan)}, "NaN or infinity"),
        ({"mask": [[1.0, 2.0], [3.0]]}, "different lengths"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value), "nothing"),
)
def test_impossible_prompts(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        Prompt(**values)


def test_prompts_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Prompt(points=[[1, 2]]).box = None  # type: ignore[misc]
