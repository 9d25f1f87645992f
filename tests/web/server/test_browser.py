"""The page in a real browser, with the model on the server."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from samedge.bundle.bundle import Bundle, embedded_path
from samedge.predict.predictor import Predictor
from tests.web.conftest import Tab, new_tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

CUP, TABLE = (0.45, 0.25), (0.05, 0.08)
ASTRONAUT = embedded_path().parent / "photos" / "astronaut.jpg"


@contextlib.contextmanager
def serving(model: str) -> Iterator[str]:
    from samedge.web.server.running import running
    from samedge.web.server.settings import ServeSettings

    with (
        Predictor.from_bundle(embedded_path(model), any_backend=True) as predictor,
        running(predictor, ServeSettings(port=0)) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving("samedge-pico") as found:
        yield found


@pytest.fixture(scope="module")
def knowing(browser: Browser) -> Iterator[Tab]:
    """A tab of a server whose model knows words, with a photo."""
    with serving("samedge-nano") as address:
        context = browser.new_context(viewport={"width": 390, "height": 844}, bypass_csp=True)
        tab = new_tab(context, address)
        tab.go("")
        tab.open(ASTRONAUT)
        yield tab
        context.close()
        assert [one for one in tab.complaints if "status of 422" not in one] == []
        assert tab.strangers == []


@pytest.mark.slow
def test_clicks_and_everything(browser: Browser, address: str, cup: Path) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    tab: Tab = new_tab(context, address)
    tab.go("")
    assert "on the server" in tab.page.inner_text("#engine")
    assert tab.page.inner_text("#where") == "the server of this page"
    own = Bundle.open(embedded_path("samedge-pico")).manifest.thresholds.own_everything
    assert tab.page.input_value("#detail") == str(own.points_per_side)  # as in tests/web/test_page
    tab.open(cup)
    tab.click(*CUP)
    assert tab.covers(*CUP)
    assert not tab.covers(*TABLE)
    tab.click(0.5, 0.85, button="right")  # refined, from the logits of the mask before
    tab.page.click("#clear")
    tab.page.click("#everything")
    tab.page.wait_for_selector("html[data-everything=done]", state="attached")
    assert tab.shares()
    assert tab.page.is_hidden("#words-card")  # this model understands none
    context.close()
    assert tab.complaints == []
    assert tab.strangers == []


@pytest.mark.slow
def test_words_find_objects_by_keys_alone(knowing: Tab) -> None:
    page = knowing.page
    page.focus("#stage")
    page.keyboard.press("f")
    assert page.evaluate("document.activeElement.id") == "words"
    said = knowing.ask("people, elephant")
    assert re.search(r"Person: \d+ found. Elephant: none, the best candidate is .+ % sure.", said)
    names = page.locator(".object input").evaluate_all("all => all.map((one) => one.value)")
    assert set(names) == {"person"}
    assert re.fullmatch(r"\d+ % sure", page.locator(".object .sure").first.inner_text())
    assert knowing.covers(0.4, 0.6)
    page.click("#undo")  # one step
    assert knowing.shares() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    assert [one["id"] for one in axe.Axe().run(page).response["violations"]] == []


@pytest.mark.slow
def test_unknown_words_get_the_nearest_known_ones(knowing: Tab) -> None:
    page = knowing.page
    said = knowing.ask("persn")
    assert "'person'" in said
    assert page.get_attribute("#words", "aria-invalid") == "true"
    assert knowing.shares() == []
    options = page.locator("#words-known option").evaluate_all("all => all.map((one) => one.value)")
    assert "person" in options
    page.fill("#words", "person, ")
    options = page.locator("#words-known option").evaluate_all("all => all.map((one) => one.value)")
    assert "person, cat" in options
    assert "person, person" not in options
    knowing.ask("elephant")
    assert page.get_attribute("#words", "aria-invalid") == "false"


HELD = """() => { window.letFind = []; samedge.engine.find = (handle, { signal, progress }) =>
    new Promise((resolve) => { progress(1, 4);
        letFind.push(() => resolve({ found: [], words: [] }));
        signal.addEventListener("abort", () => resolve({ found: [], words: [] })); }); }"""


@pytest.mark.slow
def test_a_search_is_stopped_by_hand_and_by_another_photo(knowing: Tab, cup: Path) -> None:
    page = knowing.page
    page.evaluate(HELD)
    page.fill("#words", "cat")
    page.click("#words-find")
    assert page.inner_text("#words-count") == "25 %"
    assert page.is_disabled("#everything")
    page.click("#words-stop")
    page.wait_for_selector("#words-answer:has-text('Stopped')")
    page.click("#words-find")
    knowing.open(cup)
    assert page.inner_text("#words-answer") == ""
    assert page.is_hidden("#words-progress")
    page.evaluate("delete samedge.engine.find")


@pytest.mark.slow
def test_another_model_on_the_server_is_said(knowing: Tab, cup: Path) -> None:
    page = knowing.page

    def exchanged(route: Route) -> None:
        answer = route.fetch()
        document = answer.json()
        document["bundle"]["id"] = "another"
        route.fulfill(response=answer, json=document)

    page.route("**/api/v1/images", exchanged)
    page.set_input_files("#file", cup)
    page.wait_for_selector("#alert:has-text('another model now')")
    page.unroute("**/api/v1/images")
    knowing.open(cup)
