"""The page of `samedge annotate` in a real browser, by keys and by the pointer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from samedge.annotate.desk.serving import DeskOptions, OpenDesk
from samedge.annotate.tasks import AutoSettings
from samedge.bundle.bundle import embedded_path
from samedge.pixels.rle import rle_from_mask
from samedge.predict.predictor import Predictor
from samedge.web.server.settings import ServeSettings
from tests.annotate.desk.conftest import desk_running
from tests.web.conftest import Tab, new_tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Route

pytestmark = pytest.mark.slow

PHOTOS = ("chelsea.jpg", "coffee.jpg")
CUP, TABLE = (0.45, 0.25), (0.05, 0.08)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "masks"


@pytest.fixture
def address(tmp_path: Path, output: Path) -> Iterator[str]:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in PHOTOS:
        shutil.copy(embedded_path().parent / "photos" / name, photos)
    settings = AutoSettings(bundle="samedge-pico", points_per_side=8)
    options = DeskOptions(
        annotator="ann", categories=("cat", "cup"), order="name", most_proposals=6
    )
    with Predictor.from_bundle(embedded_path("samedge-pico"), any_backend=True) as predictor:
        desk = OpenDesk(photos, output, predictor=predictor, settings=settings, options=options)
        with desk_running(desk, predictor, ServeSettings(port=0)) as found:
            yield found


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 800})
    yield made
    made.close()


def seated(context: BrowserContext, address: str) -> Tab:
    """A tab in which a photo is open and the model has proposed."""
    tab = new_tab(context, address)
    tab.page.goto(address)
    settled(tab)
    return tab


def settled(tab: Tab) -> None:
    tab.page.wait_for_selector("html[data-encoded]", state="attached")
    tab.page.wait_for_selector("#busy[hidden]", state="attached")


def count(tab: Tab, what: str) -> int:
    return int(tab.page.locator("html").get_attribute(f"data-{what}") or 0)


def wait_for(tab: Tab, what: str, value: int | str) -> None:
    tab.page.wait_for_selector(f'html[data-{what}="{value}"]', state="attached")


def photo_of(tab: Tab) -> str:
    title: str = tab.page.title()
    return title.partition(" - ")[0]


def reviewed(output: Path) -> dict[str, list[str]]:
    """Categories of the finished photos' masks, by photo."""
    document = json.loads((output / "reviewed.json").read_text())
    names = {one["id"]: one["name"] for one in document["categories"]}
    photos: dict[str, list[str]] = {one["file_name"]: [] for one in document["images"]}
    by_id = {one["id"]: one["file_name"] for one in document["images"]}
    for one in document["annotations"]:
        photos[by_id[one["image_id"]]].append(names[one["category_id"]])
    return photos


def test_a_round_by_keys_alone(context: BrowserContext, address: str, output: Path) -> None:
    tab = seated(context, address)
    page = tab.page
    assert photo_of(tab) == "chelsea.jpg"
    proposals = count(tab, "undecided")
    assert 1 < proposals <= 6
    page.keyboard.press("1")  # a cat
    page.keyboard.press("r")
    wait_for(tab, "undecided", proposals - 2)
    page.keyboard.press("Control+z")
    wait_for(tab, "undecided", proposals - 1)
    page.keyboard.press("Control+Shift+z")
    wait_for(tab, "undecided", proposals - 2)
    page.keyboard.press("Shift+R")
    wait_for(tab, "undecided", 0)
    page.keyboard.press("n")
    page.keyboard.press("Enter")  # a click in the middle
    wait_for(tab, "accepted", 2)
    wait_for(tab, "saved", "saved")
    page.reload()  # what was decided is on disk, and the page gets its photo back
    settled(tab)
    assert (photo_of(tab), count(tab, "accepted")) == ("chelsea.jpg", 2)
    page.keyboard.press("d")
    page.wait_for_selector('#stage[aria-label^="coffee"]')
    settled(tab)
    page.keyboard.press("s")
    page.wait_for_selector("html[data-finished]", state="attached")
    assert "Every photo is done" in page.inner_text("#finished")
    page.keyboard.press("l")
    page.wait_for_selector("#photos button")
    page.click("#export")
    page.wait_for_selector('#list-hint:has-text("Wrote 2 masks of 1 photo")')
    assert reviewed(output) == {"chelsea.jpg": ["cat", "cat"]}
    assert tab.complaints == []
    assert tab.strangers == []


def test_clicks_pick_draw_and_mend(context: BrowserContext, address: str, output: Path) -> None:
    tab = seated(context, address)
    page = tab.page
    page.keyboard.press("l")
    page.click('#photos button:has-text("coffee.jpg")')
    page.wait_for_selector('#stage[aria-label^="coffee"]')
    settled(tab)
    page.keyboard.press("Shift+R")
    wait_for(tab, "undecided", 0)
    page.mouse.click(*tab.place(*CUP))  # nothing is left there, so a click draws
    wait_for(tab, "accepted", 1)
    assert tab.covers(*CUP)
    page.click("#new-object")
    page.mouse.move(*tab.place(0.3, 0.1))
    page.mouse.down()
    page.mouse.move(*tab.place(0.8, 0.8), steps=4)
    page.mouse.up()
    wait_for(tab, "accepted", 2)
    page.check("input[value=pick]")
    page.mouse.click(*tab.place(*CUP))
    page.wait_for_selector(".mask[data-active]")
    page.mouse.click(*tab.place(*CUP), button="right")  # takes that place away
    page.wait_for_selector(".mask[data-active] .pick[aria-label*=drawn]")
    wait_for(tab, "saved", "saved")
    page.click('.category:has-text("cup")')
    wait_for(tab, "saved", "saved")
    page.click("#done")
    page.wait_for_selector('#stage[aria-label^="chelsea"]')
    page.keyboard.press("l")
    page.wait_for_selector("#photos button")
    page.click("#export")
    page.wait_for_selector('#list-hint:has-text("Wrote")')
    assert sorted(reviewed(output)["coffee.jpg"]) == ["cup", "object"]
    assert tab.complaints == []
    assert tab.strangers == []


def test_a_proposal_is_shown_to_the_pixel(context: BrowserContext, address: str) -> None:
    rng = np.random.default_rng(0)
    masks = [np.kron(rng.random((9, 7)) > 0.5, np.ones((3, 4))) > 0 for _ in range(3)]
    masks += [np.zeros((5, 6), bool), np.ones((5, 6), bool)]
    script = """async (rles) => { const { ExactMask } = await import("/desk/exact.js");
        return rles.map((rle) => [...new ExactMask(rle).found(rle.size).mask]); }"""
    shown = seated(context, address).page.evaluate(script, [rle_from_mask(m) for m in masks])
    assert shown == [mask.astype(int).ravel().tolist() for mask in masks]


def test_back_and_forward_and_a_reload_come_to_the_same_photo(
    context: BrowserContext, address: str
) -> None:
    tab = seated(context, address)
    tab.page.keyboard.press("l")
    tab.page.click('#photos button:has-text("coffee.jpg")')  # not the first in the order
    tab.page.wait_for_selector('#stage[aria-label^="coffee"]')
    settled(tab)
    before = count(tab, "undecided")
    tab.page.keyboard.press("a")
    wait_for(tab, "saved", "saved")
    tab.page.go_back()
    tab.page.go_forward()
    settled(tab)
    assert (photo_of(tab), count(tab, "undecided")) == ("coffee.jpg", before - 1)
    tab.page.reload()
    settled(tab)
    assert (photo_of(tab), count(tab, "accepted")) == ("coffee.jpg", 1)
    assert tab.complaints == []


def test_what_is_decided_while_the_next_photo_loads_goes_nowhere_else(
    context: BrowserContext, address: str
) -> None:
    tab = seated(context, address)
    saves = []

    def late(route: Route) -> None:
        saves.append(route.request.post_data_json)
        tab.page.wait_for_timeout(2000 if len(saves) > 1 else 0)
        route.continue_()

    def slow(route: Route) -> None:
        tab.page.wait_for_timeout(700)
        route.continue_()

    tab.page.route("**/save", late)
    tab.page.route("**/desk/next", slow)
    tab.page.evaluate("""() => {
        const press = (key) => dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        press("d");
        setTimeout(() => press("a"), 400);
    }""")
    tab.page.wait_for_selector('#stage[aria-label^="coffee"]')
    settled(tab)
    tab.page.keyboard.press("a")
    wait_for(tab, "accepted", 1)
    tab.page.wait_for_timeout(100)
    tab.page.wait_for_selector(
        'html[data-saved="saved"], html[data-saved="lost"]', state="attached"
    )
    assert tab.page.inner_text("#saved") == "Saved"
    assert len(saves) == 2  # the finished photo, and the decision about the next one
    assert tab.complaints == []


def test_a_category_that_was_renamed_meanwhile_is_said_and_masks_keep_it(
    context: BrowserContext, address: str, output: Path
) -> None:
    tab = seated(context, address)
    tab.page.keyboard.press("2")  # a cup
    wait_for(tab, "saved", "saved")
    record = output / "desk.json"
    record.write_text(record.read_text().replace('"cup"', '"mug"'))
    tab.page.fill("#category-new", "plate")
    tab.page.press("#category-new", "Enter")
    tab.page.wait_for_selector('#alert-text:has-text("cup: not among the categories any more")')
    assert tab.page.inner_text("#categories").split()[-4:] == ["2", "mug", "3", "plate"]
    tab.page.keyboard.press("2")
    wait_for(tab, "accepted", 2)
    tab.page.keyboard.press("d")
    tab.page.wait_for_selector('#stage[aria-label^="coffee"]')
    tab.page.keyboard.press("l")
    tab.page.click("#export")
    tab.page.wait_for_selector('#list-hint:has-text("Wrote")')
    assert sorted(reviewed(output)["chelsea.jpg"]) == ["cup", "mug"]
    assert tab.complaints == []


def test_two_tabs_get_two_photos(context: BrowserContext, address: str) -> None:
    first, second = seated(context, address), seated(context, address)
    assert {photo_of(first), photo_of(second)} == set(PHOTOS)
    second.page.keyboard.press("l")
    taken = second.page.locator('#photos button:has-text("somebody works on it")')
    taken.wait_for()
    assert taken.is_disabled()


def test_a_server_that_is_away_loses_nothing(context: BrowserContext, address: str) -> None:
    tab = seated(context, address)
    before = count(tab, "undecided")
    context.set_offline(True)
    tab.page.keyboard.press("a")
    wait_for(tab, "saved", "failed")
    tab.page.keyboard.press("a")
    assert "Not saved" in tab.page.inner_text("#saved")
    context.set_offline(False)
    wait_for(tab, "saved", "saved")
    tab.page.reload()
    settled(tab)
    assert count(tab, "undecided") == before - 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it(browser: Browser, address: str, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True
    )
    tab = seated(context, address)
    page = tab.page
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    for control in ("#accept", "#reject", "#done", "#skip"):
        box = page.locator(control).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["height"] >= 32
    before = count(tab, "undecided")
    page.tap("#accept")
    wait_for(tab, "undecided", before - 1)
    context.close()
    assert tab.complaints == []
