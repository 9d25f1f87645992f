"""Words in a page that has no server: the same names as in Python for the same regions."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from samedge.bundle.bundle import Bundle, embedded_path
from samedge.bundle.manifest import file_hash
from samedge.bundle.words import WordTable, read_table
from samedge.errors import PromptError
from samedge.pixels.images import load_image
from samedge.pixels.rle import mask_from_rle
from samedge.predict.predictor import Predictor
from samedge.predict.words.phrases import asked_words
from samedge.predict.words.regions import RegionScorer
from samedge.web.site import site_files, write_site
from samedge.web.static import serving
from tests.web.conftest import Tab, altered_site, new_tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

ASTRONAUT = embedded_path().parent / "photos" / "astronaut.jpg"
LARGEST_DIFFERENCE = 0.05
"""Of a score from 0 to 1: the page cuts crops out without Pillow's coarse first step."""

FIND = """async (text) => {
  const from = (name) => import(new URL(`modules/${name}.js`, document.baseURI));
  const { View } = await from("frame");
  const { maskFromLogits, rleFromMask } = await from("masks");
  const { segmenter, engine, photo, manifest } = samedge;
  const answer = await engine.find(segmenter.handle, { text });
  const axes = new View(manifest.frame, photo.size).axes();
  const found = answer.found.map(({ logits, word, score }) => ({
    word, score, rle: rleFromMask(maskFromLogits(logits, axes, manifest.thresholds.mask)) }));
  return { found, words: answer.words };
}"""
ASK = """async (texts) => {
  const { WordTable } = await import(new URL("modules/words.js", document.baseURI));
  const response = await fetch(samedge.manifest.words.table);
  const table = await WordTable.read(await response.arrayBuffer());
  return texts.map((text) => {
    try {
      return table.asked(text).map(({ word }) => word);
    } catch (error) {
      return error.message;
    }
  });
}"""
UNDERSTOOD = [
    "person",
    "People, dog, a person",
    "the dogs",
    "an Umbrella",
    "wine-glasses",
    "hotdog",
    "teddybears",
    "knives",
    "scissors",
    "mice",
    "tv",
    "dog's bowls",
]
REFUSED = [
    "",
    " , ",
    "?",
    "the largest dog",
    "zebra crossing at night",
    "persn",
    "qqqqq",
    "x" * 201,
]


@pytest.fixture(scope="module")
def bundle(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The embedded model that knows words, with the page in its folder."""
    folder = tmp_path_factory.mktemp("words") / "site"
    shutil.copytree(embedded_path("samedge-nano"), folder)
    write_site(folder, library)
    return Bundle.open(folder)


@pytest.fixture(scope="module")
def knowing(browser: Browser, bundle: Bundle) -> Iterator[Tab]:
    """A tab of it with a photo."""
    with serving(site_files(bundle)) as server:
        context = browser.new_context(viewport={"width": 390, "height": 844}, bypass_csp=True)
        tab = new_tab(context, server.address)
        tab.go()
        tab.open(ASTRONAUT)
        yield tab
        context.close()
        assert tab.complaints == []
        assert tab.strangers == []


@pytest.fixture(scope="module")
def table(bundle: Bundle) -> WordTable:
    found = read_table(bundle)
    assert found is not None
    return found


def test_regions_have_the_names_and_scores_that_python_gives_them(
    knowing: Tab, bundle: Bundle
) -> None:
    answer: dict[str, Any] = knowing.page.evaluate(FIND, "people, elephant")
    assert [word["word"] for word in answer["words"]] == ["person", "elephant"]
    assert answer["words"][0]["found"] == len(answer["found"]) >= 1
    image = load_image(ASTRONAUT)
    with Predictor.from_bundle(bundle.path) as predictor:
        scorer = RegionScorer(predictor.graphs)
        masks = [mask_from_rle(one["rle"]) for one in answer["found"]]
        margins = scorer.margins(scorer.embed(image, masks), scorer.asked("person"))[:, 0]
    here = 1 / (1 + np.exp(-margins))
    there = np.array([one["score"] for one in answer["found"]])
    assert np.abs(here - there).max() < LARGEST_DIFFERENCE
    assert list(there) == sorted(there, reverse=True)
    assert max(mask.mean() for mask in masks) > 0.2  # the portrait


def test_names_are_understood_as_in_python(knowing: Tab, table: WordTable) -> None:
    asked: list[list[str]] = knowing.page.evaluate(ASK, UNDERSTOOD)
    for text, words in zip(UNDERSTOOD, asked, strict=True):
        try:
            wanted = [word.word for word in asked_words([text], table, free=False)]
        except PromptError:
            wanted = None
        assert isinstance(words, str) if wanted is None else words == wanted, text


def test_what_is_not_understood_is_refused_with_what_is(knowing: Tab, table: WordTable) -> None:
    said: list[str] = knowing.page.evaluate(ASK, REFUSED)
    for text, message in zip(REFUSED, said, strict=True):
        assert isinstance(message, str), text
        with pytest.raises(PromptError):
            asked_words([text], table, free=False)
    assert "of it 'dog' is" in said[3]
    assert "'zebra'" in said[4]
    assert "'person'" in said[5]
    assert "No known one is near" in said[6]


def test_words_find_objects_in_the_page_alone(knowing: Tab) -> None:
    page = knowing.page
    page.focus("#stage")
    page.keyboard.press("f")
    assert page.evaluate("document.activeElement.id") == "words"
    said = knowing.ask("people, elephant")
    assert re.search(r"Person: \d+ found. Elephant: none, the best candidate is .+ % sure.", said)
    names = page.locator(".object input").evaluate_all("all => all.map((one) => one.value)")
    assert set(names) == {"person"}
    assert knowing.covers(0.4, 0.6)
    page.click("#undo")  # one step
    assert knowing.shares() == []
    assert "'person'" in knowing.ask("persn")
    assert page.get_attribute("#words", "aria-invalid") == "true"


def test_a_region_encoder_that_computes_something_else_is_not_believed(
    browser: Browser, bundle: Bundle, tmp_path: Path
) -> None:
    """Its hash is right, its answers are not the canary's."""
    with np.load(bundle.path / "canary.npz") as stored:
        arrays = dict(stored)
    name = "region_encoder:region_embeddings"
    canary, manifest = tmp_path / "canary.npz", tmp_path / "bundle.json"
    np.savez(canary, **{**arrays, name: -arrays[name]})
    text = json.loads((bundle.path / "bundle.json").read_text())
    manifest.write_text(json.dumps({**text, "canary_sha256": file_hash(canary)}))
    files = altered_site(bundle.path, {"canary.npz": canary, "bundle.json": manifest})
    with serving(files) as server:
        context = browser.new_context(bypass_csp=True)
        tab = new_tab(context, server.address)
        tab.go()
        tab.open(ASTRONAUT)
        said = tab.ask("person")
        context.close()
    assert "region_encoder:region_embeddings of picture 0 has cosine" in said
