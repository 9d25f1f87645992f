"""The public names of ``samedge`` resolve, and only those."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import samedge


@pytest.mark.parametrize("name", samedge.__all__)
def test_public_name_resolves(name: str) -> None:
    assert getattr(samedge, name) is not None
    assert name in dir(samedge)


def test_names_are_those_of_their_modules() -> None:
    for name, home in samedge._HOMES.items():
        assert getattr(samedge, name) is getattr(importlib.import_module(home), name)
    assert {*samedge._HOMES, "__version__"} == set(samedge.__all__)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'predictor_of'"):
        _ = samedge.predictor_of


def test_star_import_works_in_a_fresh_interpreter() -> None:
    code = "from samedge import *; print(Predictor.__name__, Prompt(points=[[1, 2]]).is_ambiguous)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert result.stdout == "Predictor True\n"
