"""A real browser, and the page of a real bundle in it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from samedge import _cache
from samedge.bundle.bundle import Bundle, embedded_path
from samedge.errors import DownloadError
from samedge.web import runtime
from samedge.web.measuring import BROWSERS
from samedge.web.site import RUNTIME, bundle_files, page_files, site_files, write_site
from samedge.web.static import StaticServer, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

KEPT = Path(__file__).resolve().parents[2] / "build" / "test-cache"
PATIENCE_MS = 120_000  # a laden machine takes its time


@pytest.fixture(scope="session")
def library() -> Path:
    """ONNX Runtime Web's files: given, kept from before, or fetched; skips where they are not."""
    given = os.environ.get("SAMEDGE_WEB_RUNTIME")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(_cache.VARIABLE, str(KEPT))  # they are large: once for all runs
        kept = _cache.cache_file("web", f"{runtime.PACKAGE}-{runtime.VERSION}")
        if not given and not kept.is_dir() and not answers(runtime.archive_address()):
            pytest.skip("onnxruntime-web is not here, nor npm's registry: set SAMEDGE_WEB_RUNTIME")
        try:
            return runtime.runtime_folder(Path(given) if given else None)
        except DownloadError as error:
            pytest.skip(f"onnxruntime-web is not here: {error}")


def answers(address: str) -> bool:
    """Whether a server gives a file, asked once and not for long."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=5.0):
            return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, library: Path) -> Path:
    """The embedded model's bundle with the page in its folder."""
    folder = tmp_path_factory.mktemp("web") / "site"
    shutil.copytree(embedded_path("samedge-pico"), folder)
    write_site(folder, library)
    return folder


def exported(path: Path, library: Path, *, input_size: int | None = None) -> Path:
    """What `samedge export --target web` writes: graphs of fixed shapes, and the page."""
    pytest.importorskip("torch")
    from samedge.export.pipeline import export

    options = {"runtime": str(library)}
    export("samedge-pico", "web", output=path, input_size=input_size, gate=False, options=options)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs samedge[web]")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


_COVERS = """([x, y]) => { const c = document.querySelector('#layer-masks');
    const at = [Math.floor(x * c.width), Math.floor(y * c.height)];
    return c.getContext('2d').getImageData(...at, 1, 1).data[3] > 0; }"""


@dataclasses.dataclass
class Tab:
    """The page in one tab, and what went wrong in it.

    Attributes:
        page: Playwright's.
        address: of the site.
        complaints: errors of the console and of scripts.
        strangers: requests that left the page's origin.
    """

    page: Page
    address: str
    complaints: list[str] = dataclasses.field(default_factory=list)
    strangers: list[str] = dataclasses.field(default_factory=list)

    def listen(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("request", self._asked)

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.address, "blob:", "data:")):
            self.strangers.append(request.url)

    def go(self, query: str = "?threads=1", *, closer: bool = False) -> None:
        """Open the page and wait until the model is ready; without closer looks, if not asked."""
        self.page.goto(self.address + query)
        self.page.wait_for_selector("#engine[data-state=ready]")
        self.page.evaluate("on => { document.querySelector('#closer').checked = on; }", closer)

    def open(self, photo: Path | dict[str, Any]) -> None:
        """Open a photo and wait until it is encoded."""
        self.page.evaluate("delete document.documentElement.dataset.encoded")
        given: Any = photo  # Playwright's own types name each form apart
        self.page.set_input_files("#file", given)
        self.encoded()

    def encoded(self) -> None:
        self.page.wait_for_selector("html[data-encoded]", state="attached")

    def wait_until(self, script: str) -> None:
        """Ask until a script is true; the page's own rules forbid Playwright's way of waiting."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not self.page.evaluate(script):
            assert time.monotonic() < deadline, f"never true: {script}"
            self.page.wait_for_timeout(20)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of the window at shares of the photo's sides."""
        box = self.page.locator("#layer-photo").bounding_box()
        assert box is not None
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def click(self, x: float, y: float, *, button: Any = "left") -> None:
        """Click at shares of the photo's sides and wait for the mask."""
        with self.answer():
            self.page.mouse.click(*self.place(x, y), button=button)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw a box and wait for the mask."""
        with self.answer():
            self.page.mouse.move(*self.place(*start))
            self.page.mouse.down()
            self.page.mouse.move(*self.place(*end), steps=4)
            self.page.mouse.up()

    def ask(self, text: str) -> str:
        """Write words, press Enter, and wait; what the page says then."""
        self.page.evaluate("delete document.documentElement.dataset.words")
        self.page.fill("#words", text)
        self.page.press("#words", "Enter")
        self.page.wait_for_selector("html[data-words=done]", state="attached")
        said: str = self.page.inner_text("#words-answer")
        return said

    def answer(self) -> Answer:
        """A context: at its end a mask more has been painted."""
        return Answer(self)

    @property
    def answers(self) -> int:
        return int(self.page.locator("html").get_attribute("data-answers") or 0)

    def shares(self) -> list[str]:
        """What the list says of each object's size."""
        shares: list[str] = self.page.locator(".object .share").all_inner_texts()
        return shares

    def covers(self, x: float, y: float) -> bool:
        """Whether a mask is painted at shares of the photo's sides."""
        return bool(self.page.evaluate(_COVERS, [x, y]))

    def wait_until_covered(self, x: float, y: float) -> None:
        """Wait for a mask there, where others may be shown before."""
        self.page.wait_for_function(_COVERS, arg=[x, y])


class Answer:
    """Waits at its end for one more mask."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab

    def __enter__(self) -> None:
        self.before = self.tab.answers

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            selector = f'html[data-answers="{self.before + 1}"]'
            self.tab.page.wait_for_selector(selector, state="attached")


@pytest.fixture(scope="session")
def server(site: Path) -> Iterator[StaticServer]:
    with serving(site_files(Bundle.open(site))) as running:
        yield running


def new_tab(context: BrowserContext, address: str) -> Tab:
    tab = Tab(context.new_page(), address)
    tab.listen()
    return tab


@pytest.fixture(scope="module")
def opened(browser: Browser, server: StaticServer) -> Iterator[Tab]:
    """One tab for a module's tests: loading takes longer than any of them."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    tab = new_tab(context, server.address)
    tab.go()
    yield tab
    context.close()
    assert tab.complaints == []
    assert tab.strangers == []


@pytest.fixture
def tab(opened: Tab, cup: Path) -> Tab:
    """The module's tab with a photo and no masks."""
    page = opened.page
    page.locator("#alert").evaluate("alert => alert.hidden = true")
    opened.open(cup)
    return opened


@pytest.fixture(scope="session")
def cup() -> Path:
    return embedded_path().parent / "photos" / "coffee.jpg"


def altered_site(site: Path, changes: dict[str, Path]) -> dict[str, Path]:
    """Files of a site, some of them exchanged."""
    bundle = Bundle.open(site)
    kept = {f"{RUNTIME}/{path.name}": path for path in (site / RUNTIME).iterdir()}
    listed = {"site.json": site / "site.json"}
    return {**page_files(), **kept, **listed, **bundle_files(bundle), **changes}
