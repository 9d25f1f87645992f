"""A prompt that no image could satisfy is refused when it is made."""

from __future__ import annotations

import dataclasses
import pickle
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from samedge.errors import PromptError
from samedge.types import Focus, Prompt, Steps


def test_arrays_are_made() -> None:
    prompt = Prompt(points=[[1, 2], [3, 4]], labels=(1, 0), box=[0, 0, 5, 5.5])
    assert prompt.points.dtype == np.float32
    assert prompt.points.shape == (2, 2)
    assert prompt.labels.tolist() == [1, 0]
    assert prompt.box is not None
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
        ({"box": "1,2,3,4"}, "give lists or an array"),
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
        ({"text": ["dog"]}, "text is a list, expected words"),
        ({"text": 5, "box": [1, 2, 3, 4]}, "text is a int, expected words"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value), "nothing"),
)
def test_impossible_prompts(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        Prompt(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"points": [[10**400, 1]]},
        {"points": [["1", "2"]]},
        {"points": [[1 + 2j, 1]]},
        {"points": np.array([[1 + 2j, 1]])},
        {"points": [[None, 1]]},
        {"points": np.array([["2020-01-01", "2020-01-02"]], "datetime64[D]")},
        {"box": [0, 0, 10**400, 1]},
        {"box": [[1, 2, 3, 4], [5, 6, 7, 8]]},
        {"points": [[1, 2]], "labels": [10**400]},
        {"points": [[1, 2]], "labels": [1.5]},
        {"points": [[1, 2]], "labels": [float("nan")]},
        {"mask": np.full((2, 2), 1e300)},
        {"mask": np.zeros((0, 4), np.bool_)},
        {"mask": [[object()]]},
    ],
)
def test_odd_numbers_are_prompt_errors(values: dict[str, Any]) -> None:
    with pytest.raises(PromptError):
        Prompt(**values)


@pytest.mark.parametrize(
    "points",
    [
        [[1, 2], [3, 4]],
        ((1, 2), (3, 4)),
        [(np.float16(1), 2), (3, 4)],
        [np.array([1, 2]), np.array([3, 4])],
        [[Fraction(1), Decimal(2)], [3, 4]],
        *(np.array([[1, 2], [3, 4]], kind) for kind in "bBhHiIlLqQefdg"),
    ],
)
def test_points_of_every_numeric_type(points: Any) -> None:
    prompt = Prompt(points=points, labels=np.array([1, 0], np.uint8))
    assert prompt.points.dtype == np.float32
    assert prompt.points.tolist() == [[1, 2], [3, 4]]
    assert prompt.labels.dtype == np.int32


def test_too_many_points_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.zeros((1_000_000, 2))
    with pytest.raises(PromptError, match=r"1000000 points, limit 1000.*prompt_points"):
        Prompt(points=points)
    monkeypatch.setenv("SAMEDGE_LIMITS", "prompt_points=1000000")
    assert len(Prompt(points=points).points) == 1_000_000


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.uint16, list])
def test_a_detectors_boxes(kind: Any) -> None:
    rows = [[0, 0, 5, 5], [2, 3, 9, 8]]
    boxes = rows if kind is list else np.array(rows, kind)
    prompts = Prompt.from_boxes(boxes)
    assert [p.box.tolist() for p in prompts if p.box is not None] == rows
    assert Prompt.from_boxes([]) == []


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        ([[0, 0, 5, 5], [3, 3, 2, 9]], r"Row 1 of the boxes.*\[x, y, width, height\]"),
        ([[0, 0, 5, 5, 0.9]], r"shape \(1, 5\).*without scores"),
        ([0, 0, 5, 5], r"shape \(4,\)"),
        ([[0, 0, 5, "x"]], "not numbers"),
    ],
)
def test_boxes_that_are_none(boxes: Any, reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        Prompt.from_boxes(boxes)


def test_prompts_are_copied_and_pickled() -> None:
    prompt = Prompt(points=[[1, 2]], box=[0, 0, 5, 5])
    again = pickle.loads(pickle.dumps(prompt))
    moved = dataclasses.replace(prompt, box=np.array([1, 1, 2, 2], np.float32))
    assert again.points.tolist() == moved.points.tolist() == [[1, 2]]
    assert moved.box is not None
    assert moved.box.tolist() == [1, 1, 2, 2]


def test_prompts_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Prompt(points=[[1, 2]]).box = None  # type: ignore[misc]


def test_all_that_a_prompt_has_is_shown() -> None:
    assert repr(Prompt(text="dog")) == "Prompt(text='dog')"
    logits = np.zeros((8, 8), np.float32)
    assert repr(Focus((0, 1, 8, 9), logits)) == "Focus(region=(0, 1, 8, 9))"
    shown = repr(Prompt(box=[0, 0, 5, 5], mask=logits, region=(0, 0, 9, 9)))
    assert shown == "Prompt(box=[0.0, 0.0, 5.0, 5.0], mask=<8x8 float32>, region=(0, 0, 9, 9))"


def test_a_region_of_no_whole_numbers_is_refused() -> None:
    wrong: Any = (0, 0, 9)
    with pytest.raises(PromptError, match="expected four whole numbers"):
        Prompt(points=[[1, 1]], mask=np.zeros((8, 8), np.float32), region=wrong)


def test_steps_beyond_those_foreseen_are_among_all() -> None:
    told: list[tuple[int, int]] = []
    for total in (1, 0):  # 0: nobody knows
        steps = Steps(total, progress=lambda done, of: told.append((done, of)))
        steps.step()
        steps.step()
    assert told == [(1, 1), (2, 2), (1, 0), (2, 0)]
