"""The page in a real browser: click to mask, box, remove, undo, objects, keys, downloads."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge import load_image
from samedge.bundle.bundle import Bundle, embedded_path
from samedge.formats.convert import convert
from tests.web.conftest import Tab

CUP, TABLE = (0.45, 0.25), (0.05, 0.08)


@pytest.mark.slow
def test_the_detail_is_the_model_s_own(tab: Tab) -> None:
    own = Bundle.open(embedded_path("samedge-pico")).manifest.thresholds.own_everything
    assert tab.page.input_value("#detail") == str(own.points_per_side)


def test_a_click_gives_a_mask(tab: Tab) -> None:
    assert not tab.covers(*CUP)
    tab.click(*CUP)
    assert tab.covers(*CUP)
    assert not tab.covers(*TABLE)
    assert len(tab.shares()) == 1
    candidates = tab.page.locator(".candidate")
    assert candidates.count() == 3
    assert re.search(r"covers \d+ % of the photo", tab.page.inner_text("#announce"))
    assert re.fullmatch(r"Last click [\d.]+ ms", tab.page.inner_text("#click-time"))
    assert re.fullmatch(r"WebAssembly, 1 thread", tab.page.inner_text("#engine"))


def test_another_candidate_is_another_mask(tab: Tab) -> None:
    tab.click(*CUP)
    before = tab.shares()
    other = tab.page.locator(".candidate[aria-checked=false]").first
    name = other.get_attribute("aria-label")
    other.click()
    chosen = tab.page.locator(".candidate[aria-checked=true]")
    assert chosen.get_attribute("aria-label") == name
    assert tab.shares() != before
    tab.page.click("#undo")
    assert tab.shares() == before


def test_right_click_takes_away_and_undo_brings_back(tab: Tab) -> None:
    tab.drag((0.1, 0.05), (0.9, 0.95))
    whole = tab.shares()
    assert tab.covers(0.5, 0.85)
    tab.click(0.5, 0.85, button="right")
    assert not tab.covers(0.5, 0.85)
    assert tab.shares() != whole
    tab.page.click("#undo")
    assert tab.shares() == whole
    tab.page.click("#redo")
    assert not tab.covers(0.5, 0.85)
    tab.page.click("#clear")
    assert tab.shares() == []
    tab.page.keyboard.press("Control+z")
    assert len(tab.shares()) == 1


def test_several_objects_with_names(tab: Tab) -> None:
    tab.click(*CUP)
    tab.page.click("#new-object")
    tab.click(0.75, 0.85)
    field = tab.page.locator(".object input").nth(1)
    field.fill("saucer")
    field.blur()
    assert tab.page.locator(".object input").nth(1).input_value() == "saucer"
    colours = tab.page.locator(".swatch").evaluate_all(
        "all => all.map((one) => one.style.background)"
    )
    assert len(set(colours)) == 2
    tab.page.get_by_role("button", name="Delete Object 1").click()
    assert len(tab.shares()) == 1


def test_keys_alone_do_it_all(tab: Tab) -> None:
    page = tab.page
    page.focus("#stage")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowUp")
    with tab.answer():
        page.keyboard.press("Enter")
    assert len(tab.shares()) == 1
    page.keyboard.press("n")
    page.keyboard.press("b")
    for key in ("Shift+ArrowDown", "Shift+ArrowDown", "Shift+ArrowRight", "Shift+ArrowRight"):
        page.keyboard.press(key)
    with tab.answer():
        page.keyboard.press("b")
    assert len(tab.shares()) == 2
    with tab.answer():
        page.keyboard.press("Delete")
    page.keyboard.press("2")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert len(tab.shares()) == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "tool"


def test_hover_shows_what_a_click_would_give(tab: Tab) -> None:
    tab.page.evaluate("samedge.hoverLimitMs = Infinity")  # also where the machine is laden
    tab.page.mouse.move(*tab.place(0.44, 0.24))
    tab.page.mouse.move(*tab.place(*CUP))
    tab.page.wait_for_selector("html[data-preview=shown]", state="attached")
    tab.wait_until_covered(*CUP)  # what is shown first may be of the place before
    assert tab.shares() == []
    tab.page.mouse.move(2, 2)
    tab.page.wait_for_selector("html[data-preview=none]", state="attached")
    assert not tab.covers(*CUP)


COUNTED = """() => { window.drawn = { cut: 0, whole: 0, sight: 0 };
    const { ImageData: Own, samedge: { painter } } = window, { prototype } = Element;
    const [drawMasks, sight] = [painter.drawMasks.bind(painter), prototype.scrollIntoView];
    window.ImageData = class extends Own { constructor(wide, high) {
        super(wide, high); if (wide > 120 || high > 90) drawn.cut += 1; } };
    painter.drawMasks = (...given) => { drawn.whole += 1; drawMasks(...given); };
    prototype.scrollIntoView = function (...given) { drawn.sight += 1; sight.apply(this, given); };
    window.uncounted = () => { window.ImageData = Own; delete painter.drawMasks;
        prototype.scrollIntoView = sight; }; }"""


def test_a_click_cuts_and_draws_no_more_than_it_must(tab: Tab) -> None:
    page = tab.page
    page.uncheck("#hover")
    tab.click(*CUP)
    page.evaluate(COUNTED)
    page.click("#new-object")
    page.evaluate("Object.assign(drawn, { cut: 0, whole: 0, sight: 0 })")
    tab.click(0.75, 0.85)
    assert page.evaluate("drawn") == {"cut": 1, "whole": 1, "sight": 1}
    tab.click(0.7, 0.8)
    assert page.evaluate("drawn") == {"cut": 2, "whole": 2, "sight": 1}
    page.locator(".swatch").first.click()
    assert page.evaluate("drawn") == {"cut": 2, "whole": 3, "sight": 2}
    page.evaluate("uncounted()")
    page.check("#hover")


def test_an_object_that_is_not_active_is_paler(tab: Tab) -> None:
    script = """() => { const { painter, masks } = samedge, { masks: layer } = painter.layers;
        const [one] = masks.objects, other = { ...one, id: -1 };
        return [one, other].map((active) => { painter.drawMasks([one], { active });
            const { data } = layer.getContext("2d").getImageData(0, 0, layer.width, layer.height);
            const counts = new Uint32Array(256); // of each opacity
            for (let i = 3; i < data.length; i += 4) counts[data[i]] += 1;
            return counts.indexOf(Math.max(...counts.subarray(1))) / 255; }); }"""
    tab.click(*CUP)
    active, other = tab.page.evaluate(script)
    assert active == pytest.approx(0.42, abs=0.01)
    assert other == pytest.approx(0.3, abs=0.01)


def downloaded(tab: Tab, kind: str) -> tuple[str, bytes]:
    with tab.page.expect_download() as waiting:
        tab.page.click(f"[data-download={kind}]")
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_downloads_hold_the_same_masks(tab: Tab, cup: Path, tmp_path: Path) -> None:
    size = load_image(cup).shape[:2]
    tab.click(*CUP)
    name, content = downloaded(tab, "png")
    mask = np.asarray(Image.open(io.BytesIO(content)).convert("L")) > 127
    assert name == "coffee_mask.png"
    assert mask.shape == size
    assert mask[int(CUP[1] * size[0]), int(CUP[0] * size[1])]

    name, content = downloaded(tab, "coco")
    document = json.loads(content)
    assert document["images"][0]["file_name"] == "coffee.jpg"
    from samedge.pixels.rle import mask_from_rle

    (annotation,) = document["annotations"]
    assert np.array_equal(mask_from_rle(annotation["segmentation"]), mask)
    assert annotation["area"] == mask.sum()

    name, content = downloaded(tab, "svg")
    drawing = tmp_path / "drawings" / name
    drawing.parent.mkdir()
    drawing.write_bytes(content)
    convert(drawing, tmp_path / "from-svg.json", target_format="coco")
    again = json.loads((tmp_path / "from-svg.json").read_text())["annotations"][0]
    assert np.array_equal(mask_from_rle(again["segmentation"]), mask)

    name, content = downloaded(tab, "cutout")
    rows, columns = np.nonzero(mask)
    cut = np.asarray(Image.open(io.BytesIO(content)))
    assert cut.shape == (np.ptp(rows) + 1, np.ptp(columns) + 1, 4)
    inside = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert np.array_equal(cut[..., 3] > 0, inside)

    tab.page.click("#new-object")
    tab.click(0.75, 0.85)
    name, content = downloaded(tab, "png")
    assert name == "coffee_masks.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["coffee_mask_0.png", "coffee_mask_1.png"]


@pytest.mark.parametrize("kind", ["png", "cutout"])
def test_empty_masks_are_no_pictures(opened: Tab, kind: str) -> None:
    """They were an empty archive, and a message about a canvas of negative size."""
    said = opened.page.evaluate(
        """async (kind) => {
            const { makeFile } = await import("./modules/downloads.js");
            const { View } = await import("./modules/frame.js");
            const view = new View({ resize: "longest_side_bilinear", target_length: 64 }, [48, 64]);
            const result = { logits: new Float32Array(16 * 16).fill(-9), iou: [1], token: 0 };
            const objects = [{ name: "Object 1", colour: "#56b4e9", result }];
            const photo = { name: "a.jpg", blob: new Blob() };
            const given = { photo, objects, view, threshold: 0 };
            return makeFile(kind, given).then(() => "a file", String);
        }""",
        kind,
    )
    assert said == "Error: The masks are empty: click on a thing first."


@pytest.mark.parametrize(
    ("name", "content"), [("notes.txt", b"no photo"), ("half.jpg", b"\xff\xd8\xff\xe0\x00\x10")]
)
def test_what_is_no_photo_is_said(opened: Tab, name: str, content: bytes) -> None:
    file: Any = {"name": name, "mimeType": "image/jpeg", "buffer": content}
    opened.page.set_input_files("#file", file)
    opened.page.wait_for_selector("#alert:not([hidden])")
    assert f"{name} is no photo that this browser reads" in opened.page.inner_text("#alert-text")
    opened.page.click("#alert-close")
