"""How a page begins: what is asked for first, and once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from samedge.web.static import StaticServer, serving
from tests.web.conftest import Tab, altered_site, new_tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

LIBRARY = "ort-wasm-simd-threaded.wasm"


@pytest.fixture
def context(browser: Browser) -> Iterator[Any]:
    made = browser.new_context(service_workers="block")
    yield made
    made.close()


def asked_for(tab: Tab) -> list[str]:
    """Names of files that page and workers ask for from now on, in their order."""
    names: list[str] = []

    def told(route: Route) -> None:
        names.append(route.request.url.partition("?")[0].rpartition("/")[2])
        route.fallback()

    tab.page.context.route("**/*", told)
    return names


def wait_for(tab: Tab, names: list[str], name: str) -> None:
    for _ in range(1000):
        if name in names:
            return
        tab.page.wait_for_timeout(50)
    pytest.fail(f"{name} was never asked for")


@pytest.mark.slow
def test_the_library_comes_beside_the_page_s_own_modules(
    context: Any, server: StaticServer
) -> None:
    held: list[Route] = []
    tab = new_tab(context, server.address)
    for late in ("**/app.js", "**/computing.js"):
        context.route(late, lambda route: held.append(route))
    names = asked_for(tab)
    tab.page.goto(f"{server.address}?threads=1&device=wasm", wait_until="commit")
    wait_for(tab, names, LIBRARY)
    assert [route.request.url for route in held]  # and they are not here
    for route in held:
        route.continue_()
    tab.page.wait_for_selector("#engine[data-state=ready]")
    assert names.count(LIBRARY) == 1
    assert names.count("engine-worker.js") == 1
    assert names.index(LIBRARY) < names.index("encoder.onnx")


def test_what_is_asked_for_rarely_comes_after_the_canary(
    context: Any, server: StaticServer
) -> None:
    tab = new_tab(context, server.address)
    names = asked_for(tab)
    tab.go("?threads=1&device=wasm")
    tab.page.evaluate("Promise.resolve(samedge.info.checked).then(() => null)")
    for name in ("everything.js", "word-finder.js", "naming.js", "words.js"):
        wait_for(tab, names, name)
        assert names.index(name) > names.index("canary.npz")


def test_a_page_with_a_server_begins_no_worker(context: Any, site: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"engine": "server"}')
    with serving(altered_site(site, {"config.json": config})) as server:
        tab = new_tab(context, server.address)
        names = asked_for(tab)
        tab.page.goto(server.address)
        tab.page.wait_for_selector("#engine[data-state=failed]")  # there is no such server
        assert "engine-server.js" in names
        assert "engine-worker.js" not in names


@pytest.mark.parametrize("name", ["engine-worker.js", "computing.js", "runtime.js"])
def test_a_worker_whose_code_is_missing_is_told(
    context: Any, server: StaticServer, name: str
) -> None:
    tab = new_tab(context, server.address)
    context.route(f"**/{name}", lambda route: route.abort())
    tab.page.goto(server.address)
    tab.page.wait_for_selector("#engine[data-state=failed]")
    assert tab.page.inner_text("#alert-text")
