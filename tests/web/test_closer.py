"""Closer looks in the page: masks of Python's ``focus="auto"``, and what a visitor sees of them."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge import Masks, Predictor, Prompt, load_image
from samedge.bundle.bundle import embedded_path
from samedge.pixels.metrics import mask_iou
from samedge.pixels.rle import mask_from_rle
from samedge.predict.focus_plan import FocusSettings
from samedge.types import Array
from samedge.web.static import StaticServer
from tests.web.conftest import Tab, new_tab

pytestmark = pytest.mark.slow

LEAST_IOU = 0.99
EYE = (0.385, 0.405)  # of the cat
ASK = """async (prompt) => {
  const from = (name) => import(new URL(`modules/${name}.js`, document.baseURI));
  const [{ SecondLook }, { maskOfResult, rleFromMask }, { resultOf }, { isAmbiguous }] =
    await Promise.all(["second-look", "masks", "document", "prompts"].map(from));
  const { engine, manifest, segmenter, view } = samedge;
  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const floats = (text) => new Float32Array(bytes(text).buffer);
  const asked = { ...prompt, mask: prompt.mask && floats(prompt.mask) };
  const first = resultOf(await engine.decode(segmenter.handle, { ...asked, mask: null }),
    { isAmbiguous: isAmbiguous(asked) });
  const look = new SecondLook(engine, manifest, { handle: segmenter.handle, view });
  const better = await look.result(asked, first);
  look.release();
  const result = better ?? first;
  const drawn = maskOfResult(result, view, { threshold: manifest.thresholds.mask });
  return { rle: rleFromMask(drawn), encoded: look.encoded,
    region: better?.focus?.region ?? null, iou: result.iou[result.token] };
}"""


@pytest.fixture(scope="module")
def cat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cat, without loss and larger than the model's input."""
    path = tmp_path_factory.mktemp("closer") / "cat.png"
    photo = Image.open(embedded_path().parent / "photos" / "chelsea.jpg")
    photo.resize((902, 600), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture(scope="module")
def page(browser: Any, server: StaticServer, cat: Path) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    tab = new_tab(context, server.address)
    tab.go(closer=True)
    tab.open(cat)
    yield tab
    context.close()
    assert tab.complaints == []
    assert tab.strangers == []


@pytest.fixture
def tab(page: Tab) -> Tab:
    page.page.evaluate("samedge.masks.reset()")
    page.page.set_checked("#closer", True)
    return page


def plain(prompt: Prompt) -> dict[str, Any]:
    mask = prompt.mask
    return {
        "points": prompt.points.tolist(),
        "labels": prompt.labels.tolist(),
        "box": None if prompt.box is None else prompt.box.tolist(),
        "mask": None if mask is None else base64.b64encode(mask.tobytes()).decode(),
        "region": prompt.region,
    }


def test_the_rules_are_python_s(page: Tab) -> None:
    script = """async () => (await import(
        new URL("modules/focus-plan.js", document.baseURI))).SETTINGS"""
    found = page.page.evaluate(script)
    own = dataclasses.asdict(FocusSettings())
    # The page asks one prompt at a time, which takes two looks: no bound of a call is reached.
    expected = {name: value for name, value in own.items() if not name.startswith("most_")}

    def spelled(name: str) -> str:
        first, *more = name.split("_")
        return first + "".join(word.capitalize() for word in more)

    def page_like(value: Any) -> Any:
        if isinstance(value, dict):
            return {spelled(name): page_like(one) for name, one in value.items()}
        return value

    assert found == page_like(expected)


def asked(image: Array, first: Masks) -> dict[str, Prompt]:
    """Of every kind, about what is small, medium and large in the photo of the cat."""
    height, width = image.shape[:2]
    eye, ear = [EYE[0] * width, EYE[1] * height], [0.09 * width, 0.09 * height]
    other_eye = [640, 270]  # its first mask is small
    return {
        "eye": Prompt(box=[272, 172, 410, 294]),
        "eye at the edge of a thing": Prompt(box=[598, 220, 684, 326]),
        "nose": Prompt(box=[464, 456, 582, 532]),
        "at the photo's edge": Prompt(box=[0, 470, 120, 600]),
        "box with a click": Prompt([eye], [1], box=[272, 172, 410, 294]),
        "box with a click away": Prompt([ear], [0], box=[272, 172, 410, 294]),
        "medium box": Prompt(box=[200, 150, 620, 560]),
        "large box": Prompt(box=[10, 10, 890, 590]),
        "click": Prompt([other_eye]),
        "click on something large": Prompt([eye]),
        "clicks": Prompt([other_eye, ear], [1, 0]),
        "click on a mask": first.refined([eye], [1], box=[272, 172, 410, 294]),
    }


def test_masks_are_python_s(page: Tab, site: Path, cat: Path) -> None:
    image = load_image(cat)
    looks = dict[str, int]()
    with Predictor.from_bundle(site, threads=1, focus="auto") as predictor:
        first = predictor.predict(image, Prompt(box=[272, 172, 410, 294]))
        assert first.focus is not None
        for name, prompt in asked(image, first).items():
            found = page.page.evaluate(ASK, plain(prompt))
            expected = predictor.predict(image, prompt)
            iou = mask_iou(mask_from_rle(found["rle"]), expected.masks[0])
            looks[name] = found["encoded"]
            print(f"{name}: IoU {iou:.4f}, {found['encoded']} parts, {found['region']}")
            region = None if expected.focus is None else list(expected.focus.region)
            assert found["region"] == region, name
            assert iou >= LEAST_IOU, name
            assert found["iou"] == pytest.approx(expected.iou_predictions[0], abs=0.01), name
    assert looks["eye"] == 2
    assert looks["medium box"] == 1
    assert looks["large box"] == 0
    assert looks["click"] == looks["click on a mask"] == 1
    assert looks["click on something large"] == 0


def looked(tab: Tab, count: int) -> None:
    tab.page.wait_for_function(
        "count => Number(document.documentElement.dataset.looks ?? 0) >= count", arg=count
    )


def looks(tab: Tab) -> int:
    return int(tab.page.locator("html").get_attribute("data-looks") or 0)


STATE = """() => samedge.masks.objects.map(({ result, points, box }) => ({
    region: result.focus?.region ?? null, prompts: points.length + Number(Boolean(box)) }))"""


def test_a_box_is_answered_at_once_and_then_closer(tab: Tab) -> None:
    before = looks(tab)
    tab.drag((0.3, 0.28), (0.46, 0.5))
    looked(tab, before + 1)
    (one,) = tab.page.evaluate(STATE)
    assert one["region"] is not None
    assert tab.page.inner_text(".object .closer") == "looked closer"
    assert tab.page.inner_text("#look-time").startswith("Closer look ")
    tab.page.click("#undo")  # the click and its closer look are one step
    assert tab.shares() == []
    tab.page.click("#redo")
    assert tab.page.evaluate(STATE) == [one]


def test_a_look_is_dropped_where_the_prompt_has_changed(tab: Tab) -> None:
    hold = """() => { const { engine } = samedge, own = engine.encodePart.bind(engine);
        const held = new Promise((resolve) => { window.letGo = resolve; });
        engine.encodePart = async (...given) => { await held; return own(...given); }; }"""
    tab.page.evaluate(hold)
    try:
        before = looks(tab)
        tab.drag((0.51, 0.75), (0.65, 0.89))  # the nose: no part of it is there from before
        with tab.answer():  # while the look is under way: no click waits for one
            tab.page.mouse.click(*tab.place(0.58, 0.82))
        tab.page.evaluate("delete samedge.engine.encodePart; letGo()")
        looked(tab, before + 1)  # of the second answer alone
        (one,) = tab.page.evaluate(STATE)
        assert one["prompts"] == 2
        assert one["region"] is not None
        tab.page.click("#undo")
        assert tab.page.evaluate(STATE) == [{"prompts": 1, "region": None}]
    finally:
        tab.page.evaluate("delete samedge.engine.encodePart; letGo()")


def test_what_is_large_is_asked_again_and_not_marked(tab: Tab) -> None:
    before = looks(tab)
    tab.drag((0.02, 0.02), (0.98, 0.98))
    looked(tab, before + 1)
    assert tab.page.evaluate(STATE) == [{"prompts": 1, "region": None}]
    assert tab.page.inner_text(".object .closer") == ""


def test_the_switch_turns_it_off(tab: Tab) -> None:
    tab.page.set_checked("#closer", False)
    before = looks(tab)
    tab.drag((0.3, 0.28), (0.46, 0.5))
    tab.click(*EYE)
    assert looks(tab) == before
    assert tab.page.evaluate(STATE) == [{"prompts": 2, "region": None}]


def test_a_worker_that_cannot_start_is_said(tab: Tab) -> None:
    fail = """() => { const failing = async () => { throw new Error("there is no memory"); };
        samedge.engine.encodePart = failing; }"""
    tab.page.evaluate(fail)
    try:
        tab.drag((0.3, 0.28), (0.46, 0.5))
        tab.page.wait_for_selector("#note:not([hidden])")
        assert "there is no memory" in tab.page.inner_text("#note")
        assert not tab.page.is_checked("#closer")
        assert len(tab.shares()) == 1
        tab.click(*EYE)
    finally:
        tab.page.evaluate("delete samedge.engine.encodePart")


def test_the_finer_mask_is_what_is_saved(tab: Tab, tmp_path: Path) -> None:
    before = looks(tab)
    tab.drag((0.3, 0.28), (0.46, 0.5))
    looked(tab, before + 1)
    with tab.page.expect_download() as download:
        tab.page.click("[data-download=png]")
    path = tmp_path / "mask.png"
    download.value.save_as(path)
    script = """async () => { const { maskOfResult, rleFromMask } =
        await import(new URL("modules/masks.js", document.baseURI));
        const [{ result }] = samedge.masks.objects;
        const cut = (one) => rleFromMask(maskOfResult(one, samedge.view, { threshold: 0 }));
        return [cut(result), cut({ ...result, focus: null })]; }"""
    finer, coarser = (mask_from_rle(rle) for rle in tab.page.evaluate(script))
    saved = np.asarray(Image.open(path).convert("L")) > 0
    assert np.array_equal(saved, finer)
    assert mask_iou(finer, coarser) < 1
