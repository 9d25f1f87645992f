"""The pages open in a real browser; what they do then is the slow tests' subject.

These run in `make test`: pages share modules, and one has been broken by what another one needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from samedge.annotate.tasks import AutoSettings
from samedge.predict.predictor import Predictor
from samedge.web.server.running import running
from samedge.web.server.settings import ServeSettings
from tests.annotate.desk.conftest import desk_over, photos, predictor, settings
from tests.web.conftest import new_tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["photos", "predictor", "settings"]


def check_opens(browser: Browser, address: str) -> None:
    """A page finds its engine, and says so without a complaint."""
    with browser.new_context() as context:
        tab = new_tab(context, address)
        tab.page.goto(address)
        tab.page.wait_for_selector("#engine[data-state=ready], #engine[data-state=failed]")
        alert = tab.page.inner_text("#alert")
        assert "on the server" in tab.page.inner_text("#engine"), alert
        assert tab.complaints == []
        assert tab.strangers == []


def test_the_page_of_serve_opens(browser: Browser, predictor: Predictor) -> None:
    with running(predictor, ServeSettings(port=0, stop_s=5), protocols=()) as address:
        check_opens(browser, address)


def test_the_page_of_annotate_opens(
    browser: Browser, photos: Path, predictor: Predictor, settings: AutoSettings, tmp_path: Path
) -> None:
    with desk_over(photos, tmp_path / "masks", predictor, settings) as address:
        check_opens(browser, address)
