"""The page with WebGPU, on Chromium's software adapter: what it computes; nothing here is timed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from samedge import Predictor
from samedge.bundle.bundle import Bundle, embedded_path
from samedge.web import PAGE
from samedge.web.measuring import BROWSERS
from samedge.web.site import site_files
from samedge.web.static import StaticServer, serving
from tests.web.agreement import KINDS, LEAST_IOU, agreement
from tests.web.conftest import Tab, altered_site, exported, new_tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

CUP = (0.45, 0.25)
FLAGS = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
ADAPTER = """async () => { const found = await navigator.gpu?.requestAdapter();
    return found ? `${found.info.vendor} ${found.info.architecture}` : null; }"""
OPENED, CHECKED = "this.device = device;", "checkFinite(role, found);"
RUN = "for (const [name, tensor] of Object.entries(await session.run(feeds)))"
SIDE = 128  # of the model's input: a processor takes minutes for 512 by these shaders
PATIENCE_MS = 900_000
Make = Callable[..., Tab]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, library: Path) -> Path:
    """The smallest model as `samedge export --target web` writes it, for small inputs."""
    return exported(tmp_path_factory.mktemp("small") / "web", library, input_size=SIDE)


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[StaticServer]:
    with serving(site_files(Bundle.open(site))) as running:
        yield running


@pytest.fixture(scope="module")
def gpu_browser(browser: Browser, server: StaticServer) -> Iterator[Browser]:
    """A Chromium whose WebGPU computes on the processor; skips where no adapter comes up."""
    path = next(filter(None, map(shutil.which, BROWSERS)))
    running = browser.browser_type.launch(executable_path=path, args=["--no-sandbox", *FLAGS])
    page = running.new_page()
    page.goto(f"{server.address}style.css")  # loopback is secure enough for WebGPU
    adapter = page.evaluate(ADAPTER)
    page.close()
    if adapter is None:
        running.close()
        pytest.skip("this Chromium has no software adapter for WebGPU")
    assert "swiftshader" in adapter
    yield running
    running.close()


@pytest.fixture
def make(gpu_browser: Browser) -> Iterator[Make]:
    """Makes tabs in contexts of their own; in the end nothing must have left their origin."""
    made: list[Tab] = []

    def tab(address: str) -> Tab:
        made.append(new_tab(gpu_browser.new_context(), address))
        made[-1].page.set_default_timeout(PATIENCE_MS)
        return made[-1]

    yield tab
    for one in made:
        one.page.context.close()
        assert one.strangers == []


def altered(site: Path, tmp_path: Path, changes: dict[str, str]) -> dict[str, Path]:
    """A site with other lines in the module of graphs; ``isGpu`` tells where they are opened."""
    code = (PAGE / "modules" / "graphs.js").read_text()
    told = {OPENED: f"{OPENED}\n    isGpu = device === 'webgpu';"}
    for own, other in (told | changes).items():
        assert own in code
        code = code.replace(own, other)
    graphs = tmp_path / "graphs.js"
    graphs.write_text("let isGpu = false, runs = 0;\n" + code)
    return altered_site(site, {"modules/graphs.js": graphs})


def test_masks_of_webgpu_are_python_s(make: Make, server: StaticServer, site: Path) -> None:
    tab = make(server.address)
    tab.go("?device=webgpu")
    assert tab.page.inner_text("#engine") == "WebGPU"
    photos = sorted((embedded_path().parent / "photos").glob("*.jpg"))
    with Predictor.from_bundle(site, threads=1) as predictor:
        measured = agreement(tab, predictor, photos)
    assert tab.page.inner_text("#engine") == "WebGPU"  # still, and not what takes its place
    assert set(measured) == set(KINDS)
    assert min(min(values) for values in measured.values()) >= LEAST_IOU
    assert tab.complaints == []


def test_a_software_adapter_is_not_taken_by_itself(make: Make, server: StaticServer) -> None:
    tab = make(server.address)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.go("?threads=1")
    assert tab.page.evaluate(ADAPTER)  # there is one
    assert tab.page.inner_text("#engine") == "WebAssembly, 1 thread"
    assert [url for url in asked if "webgpu" in url or "asyncify" in url] == []
    assert tab.page.is_hidden("#note")


def test_a_gpu_with_another_canary_is_not_used_and_the_page_says_so(
    make: Make, site: Path, tmp_path: Path, cup: Path
) -> None:
    other = "if (isGpu) for (const { data } of Object.values(found)) data.reverse();"
    changes = {CHECKED: f"{other}\n      {CHECKED}"}
    with serving(altered(site, tmp_path, changes)) as server:
        tab = make(server.address)
        tab.go("?device=webgpu&threads=1")
        assert tab.page.inner_text("#engine") == "WebAssembly, 1 thread"
        said = tab.page.inner_text("#note")
        assert "The GPU is not used: it computes something else than the export did" in said
        tab.open(cup)
        tab.click(*CUP)
        assert len(tab.shares()) == 1


def test_a_gpu_that_is_lost_is_followed_by_the_processor(
    make: Make, site: Path, tmp_path: Path, cup: Path
) -> None:
    lose = """if (isGpu && (runs += 1) === 6) {
    const library = await import(new URL("../runtime/ort.webgpu.min.mjs", import.meta.url));
    (await library.env.webgpu.device).destroy();
  }"""
    changes = {RUN: f"{lose}\n  {RUN}"}
    with serving(altered(site, tmp_path, changes)) as server:
        tab = make(server.address)
        tab.go("?device=webgpu&threads=1")
        assert tab.page.inner_text("#engine") == "WebGPU"
        tab.open(cup)
        tab.click(*CUP)  # loses it: the photo is encoded again, and the click answered
        assert tab.page.inner_text("#engine") == "WebAssembly, 1 thread"
        assert "Started again" in tab.page.inner_text("#note")
        assert tab.covers(*CUP)
