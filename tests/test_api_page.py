"""docs/api.md names every public name, and the reference under it holds all of their modules."""

from __future__ import annotations

import re
from pathlib import Path

import samedge

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "api.md").read_text()


def test_every_public_name_is_listed_and_no_other() -> None:
    listed = set(re.findall(r"^\| `samedge\.(\w+)[`(]", PAGE, re.MULTILINE))
    assert listed == set(samedge.__all__) - {"__version__"}


def test_the_reference_holds_every_home() -> None:
    shown = set(re.findall(r"\.\. auto(?:module|function|class):: ([\w.]+)", PAGE))
    for name, home in samedge._HOMES.items():
        assert home in shown or f"{home}.{name}" in shown, f"{home} of {name}"
