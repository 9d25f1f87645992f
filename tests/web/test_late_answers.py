"""Answers that come late: of a photo, an object or a click that is not there any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import Tab

CUP, TABLE = (0.45, 0.25), (0.05, 0.08)
HOLD = """(name) => { const { engine } = samedge, own = engine[name].bind(engine);
    const held = new Promise((resolve) => { window.letGo = resolve; });
    engine[name] = async (...given) => {
        const found = await own(...given); await held; return found; }; }"""


@pytest.fixture
def held(tab: Tab) -> Iterator[Tab]:
    """A tab whose engine's functions a test exchanges."""
    yield tab
    tab.page.evaluate(
        "for (const name of ['decode', 'encode', 'everything']) delete samedge.engine[name]"
    )


@pytest.mark.parametrize("rests", [True, False])
def test_a_click_s_answer_begins_before_its_button_is_let_go(held: Tab, rests: bool) -> None:
    page = held.page
    page.evaluate("samedge.hoverLimitMs = Infinity")
    page.set_checked("#hover", rests)
    page.evaluate("""() => { const { engine } = samedge, own = engine.decode.bind(engine);
        window.asked = 0;
        engine.decode = (...given) => { window.asked += 1; return own(...given); }; }""")
    page.mouse.move(*held.place(*CUP))
    page.wait_for_function("rests => window.asked === Number(rests)", arg=rests)
    with held.answer():
        page.mouse.down()
        page.wait_for_function("window.asked === 1")
        page.mouse.up()
    assert held.covers(*CUP)
    assert page.evaluate("window.asked") == 1
    with held.answer():  # the mask so far goes with the next one, which is another prompt
        page.mouse.click(*held.place(*CUP))
    assert page.evaluate("window.asked") == 2
    page.set_checked("#hover", True)


@pytest.fixture
def cat(cup: Path) -> Path:
    return cup.with_name("chelsea.jpg")


def show(tab: Tab, photo: Path) -> None:
    """Open a photo and wait until it is shown, encoded or not."""
    tab.page.evaluate("delete document.documentElement.dataset.encoded")  # of the photo before
    tab.page.set_input_files("#file", photo)
    tab.page.wait_for_selector(f"#stage[aria-label^='{photo.name}']")


def test_a_mask_of_the_photo_before_is_not_shown(held: Tab, cat: Path) -> None:
    page = held.page
    page.evaluate(HOLD, "decode")
    page.evaluate(
        """() => { window.clicked = samedge.segmenter.click([100, 100], 1);
            window.hovering = samedge.segmenter.hover([100, 100]); }"""
    )
    page.evaluate("void (window.letDecode = window.letGo)")  # a function would be called
    page.evaluate(HOLD, "encode")
    show(held, cat)
    assert page.evaluate("letDecode(), Promise.all([clicked, hovering])")[1] is None
    assert page.evaluate("[samedge.masks.objects.length, samedge.segmenter.hovered]") == [0, None]
    page.evaluate("letGo()")
    held.encoded()
    assert held.shares() == []


@pytest.mark.parametrize("end", ["undo", "clear"])
def test_a_click_that_is_taken_back_gives_no_mask(held: Tab, end: str) -> None:
    page = held.page
    held.click(*CUP)
    page.evaluate(HOLD, "decode")
    page.evaluate("void (window.clicked = samedge.segmenter.click([300, 300], 1))")
    page.click(f"#{end}")
    page.evaluate("letGo(), clicked")
    assert len(held.shares()) == (1 if end == "undo" else 0)
    if end == "undo":  # it took back the click that was on its way, and no other
        assert page.evaluate("samedge.masks.objects[0].points.length") == 1


def test_a_click_belongs_to_the_object_of_its_time(held: Tab) -> None:
    page = held.page
    page.evaluate(HOLD, "decode")
    page.evaluate(
        """() => { const { segmenter, masks } = samedge;
            segmenter.click([270, 100], 1); segmenter.click([280, 110], 1);
            samedge.newObject(); segmenter.click([450, 340], 1);
            segmenter.box([100, 100, 300, 300]); samedge.masks.select(null);
            window.clicked = segmenter.box([50, 50, 200, 200]); }"""
    )
    page.evaluate("letGo(), clicked")
    counts = "samedge.masks.objects.map((one) => [one.points.length, one.box !== null])"
    assert page.evaluate(counts) == [[2, False], [1, True], [0, True]]


def test_a_deleted_object_does_not_come_back_and_a_name_stays(held: Tab) -> None:
    page = held.page
    held.click(*CUP)
    page.evaluate(HOLD, "decode")
    page.evaluate("void (window.clicked = samedge.segmenter.click([300, 200], 1))")
    page.evaluate("samedge.masks.rename(samedge.masks.objects[0].id, 'mug')")
    page.evaluate("letGo(), clicked")
    assert page.locator(".object input").input_value() == "mug"
    assert page.evaluate("samedge.masks.objects[0].points.length") == 2
    page.evaluate("delete samedge.engine.decode")
    page.evaluate(HOLD, "decode")
    page.evaluate("void (window.clicked = samedge.segmenter.click([310, 210], 1))")
    page.get_by_role("button", name="Delete").first.click()
    page.evaluate("letGo(), clicked")
    assert held.shares() == []


def test_a_file_that_is_no_photo_leaves_the_one_that_is_on_its_way(held: Tab, cat: Path) -> None:
    page = held.page
    page.evaluate(HOLD, "encode")
    show(held, cat)
    file: Any = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no photo"}
    page.set_input_files("#file", file)
    page.wait_for_selector("#alert:not([hidden])")
    page.evaluate("delete document.documentElement.dataset.encoded")
    page.evaluate("letGo()")
    held.encoded()
    held.click(0.5, 0.5)
    assert len(held.shares()) == 1


def test_a_slow_sample_does_not_replace_a_photo_that_was_opened_after_it(
    held: Tab, cup: Path
) -> None:
    page = held.page
    page.evaluate(
        "void samedge.open(new Promise((resolve) => (window.letBlob = resolve)), 'slow.jpg')"
    )
    held.open(cup)
    page.evaluate("letBlob(samedge.photo.blob)")
    page.wait_for_selector("#work[aria-busy=false]")
    assert (page.get_attribute("#stage", "aria-label") or "").startswith("coffee")


def test_a_box_over_the_photo_before_is_forgotten(tab: Tab, cat: Path) -> None:
    tab.page.mouse.move(*tab.place(0.2, 0.2))
    tab.page.mouse.down()
    tab.page.mouse.move(*tab.place(0.6, 0.6), steps=4)
    assert tab.page.evaluate("samedge.stage.pendingBox")
    show(tab, cat)
    assert tab.page.evaluate("samedge.stage.pendingBox") is None
    tab.page.mouse.up()
    tab.encoded()


FOUND_AT_ITS_END = """() => { samedge.engine.everything = (handle, { signal }) =>
    new Promise((resolve) => signal.addEventListener("abort", () => resolve([]))); }"""
NOTHING = "() => { samedge.engine.everything = async () => []; }"


def test_nothing_found_is_said_only_where_it_is_true(held: Tab, cat: Path) -> None:
    page = held.page
    page.evaluate(FOUND_AT_ITS_END)
    for end in (lambda: page.click("#everything-stop"), lambda: show(held, cat)):
        page.click("#everything")
        end()
        page.wait_for_selector("#everything-progress", state="hidden")
        assert page.is_hidden("#alert")
    page.wait_for_selector("#everything:enabled")
    page.evaluate(NOTHING)
    page.click("#everything")
    page.wait_for_selector("#alert:not([hidden])")
    assert "Nothing was found" in page.inner_text("#alert-text")
