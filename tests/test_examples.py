"""The Python that the documentation shows runs, on the photos that come with samedge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from samedge.pixels.boxes import crop_boxes
from tools import docs_check

pytest.importorskip("onnxruntime")
pytest.importorskip("cv2")

SLOW_PAGES = {"everything.md": pytest.mark.slow}  # everything mode over whole photos
PYTHON = {
    page: blocks
    for page in docs_check.PAGES
    if (blocks := [one for one in docs_check.examples(page) if one.language == "python"])
}


@pytest.fixture
def _whole_photos_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything mode without its second looks at parts, which are most of its time.

    `make docs-check` runs the same blocks with them.
    """
    monkeypatch.setattr("samedge.predict.everything.crop_boxes", _without_layers)


def _without_layers(size: tuple[int, int], *, layers: int, overlap_ratio: float) -> Any:
    return crop_boxes(size, layers=0, overlap_ratio=overlap_ratio)


@pytest.mark.usefixtures("_whole_photos_only")
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=SLOW_PAGES.get(page.name, ())) for page in PYTHON],
    ids=lambda page: page.name,
)
def test_python_runs(page: Path, tmp_path: Path) -> None:
    blocks = [one for one in PYTHON[page] if not one.not_run]
    if not blocks:
        pytest.skip("; ".join(one.not_run for one in PYTHON[page]))
    docs_check.furnish(tmp_path)
    docs_check.run_python(blocks, tmp_path)


def test_what_is_not_run_says_why() -> None:
    left_out = [
        one for page in docs_check.PAGES for one in docs_check.examples(page) if one.not_run
    ]
    assert left_out, "the mark is not found any more"
    assert all(len(one.not_run.split()) > 1 for one in left_out)


def test_the_checker_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Text.\n\n    samedge segment photo.jpg \\\n      --point 1,2  # a click\n\n"
        "<!-- not run: needs a board -->\n```sh\nsamedge build x\n```\n\n"
        "```python\nraise KeyError\n```\n"
    )
    indented, marked, python = docs_check.examples(page)
    assert indented.commands() == [["samedge", "segment", "photo.jpg", "--point", "1,2"]]
    assert (marked.not_run, python.not_run) == ("needs a board", "")
    with pytest.raises(KeyError):
        docs_check.run_python([python], tmp_path)
    assert docs_check.run_command(["samedge", "segmnet"], tmp_path).returncode == 2
