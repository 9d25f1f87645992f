"""Files to write are refused before the work: one place for two, an ending, a library."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import invoke


@pytest.mark.parametrize(
    "command",
    [
        ("report", "RECORD", "--html", "out/x", "--csv", "./out/x"),
        ("calibrate", "BUNDLE", "-o", "plan.svg", "--plot", "plan.svg"),
    ],
    ids=lambda command: command[0],
)
def test_one_file_for_two_results(
    command: tuple[str, ...], toy_bundle: Path, tmp_path: Path
) -> None:
    """The second would take the place of the first, which may have taken hours."""
    (tmp_path / "r.json").write_text("{}")
    named = {"RECORD": tmp_path / "r.json", "BUNDLE": toy_bundle}
    before = set(tmp_path.rglob("*"))
    result = invoke(*(named.get(word, word) for word in command))
    assert result.exit_code == 2
    assert "named twice on the command line" in result.stderr
    assert set(tmp_path.rglob("*")) == before


def test_a_plot_that_cannot_be_drawn(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was told after the search."""
    monkeypatch.setattr("samedge.calibration.search.find_plan", _begun)
    refused = invoke("calibrate", toy_bundle, "--plot", "plan.html")
    assert (refused.exit_code, "end it in .svg" in refused.stderr) == (1, True)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused = invoke("calibrate", toy_bundle, "--plot", "plan.svg")
    assert (refused.exit_code, "samedge[report]" in refused.stderr) == (1, True)


def _begun(*_: object, **__: object) -> None:
    raise AssertionError("the search has begun")
