"""The page in a real browser, with the model on the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from samedge.bundle.bundle import Bundle, embedded_path
from samedge.predict.predictor import Predictor
from tests.web.conftest import Tab, new_tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CUP, TABLE = (0.45, 0.25), (0.05, 0.08)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    from samedge.web.server.running import running
    from samedge.web.server.settings import ServeSettings

    bundle = embedded_path("samedge-pico")
    with (
        Predictor.from_bundle(bundle, any_backend=True) as predictor,
        running(predictor, ServeSettings(port=0)) as found,
    ):
        yield found


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
    context.close()
    assert tab.complaints == []
    assert tab.strangers == []
