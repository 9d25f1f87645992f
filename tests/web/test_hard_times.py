"""The page when things go wrong, and on other devices: each test has a tab of its own."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from samedge.bundle.bundle import embedded_path
from samedge.bundle.manifest import file_hash
from samedge.web import PAGE
from samedge.web.site import write_site
from samedge.web.static import StaticServer, serving
from tests.web.conftest import Tab, altered_site, new_tab

if TYPE_CHECKING:
    from playwright.sync_api import Route

CUP = (0.45, 0.25)
Make = Callable[..., Tab]


@pytest.fixture
def make(browser: object) -> Iterator[Make]:
    """Makes tabs in contexts of their own; in the end nothing must have left their origin."""
    made: list[Tab] = []

    def tab(address: str, **options: object) -> Tab:
        made.append(new_tab(browser.new_context(**options), address))  # type: ignore[attr-defined]
        return made[-1]

    yield tab
    for one in made:
        one.page.context.close()
        assert one.strangers == []


def test_a_damaged_model_is_said_and_nothing_else_breaks(
    make: Make, site: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "encoder.onnx"
    shutil.copy(site / "encoder.onnx", broken)
    with broken.open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    with serving(altered_site(site, {"encoder.onnx": broken})) as server:
        tab = make(server.address)
        tab.page.goto(server.address)
        tab.page.wait_for_selector("#engine[data-state=failed]")
        assert "encoder.onnx is damaged" in tab.page.inner_text("#alert-text")
        assert tab.complaints == []


@pytest.mark.slow
def test_other_answers_than_the_export_s_end_it(
    make: Make, site: Path, tmp_path: Path, cup: Path
) -> None:
    with np.load(site / "canary.npz") as stored:
        arrays = dict(stored)
    name = next(name for name in arrays if name.startswith("decoder:"))
    canary, manifest = tmp_path / "canary.npz", tmp_path / "bundle.json"
    np.savez(canary, **{**arrays, name: -arrays[name]})
    text = json.loads((site / "bundle.json").read_text())
    manifest.write_text(json.dumps({**text, "canary_sha256": file_hash(canary)}))
    with serving(altered_site(site, {"canary.npz": canary, "bundle.json": manifest})) as server:
        tab = make(server.address)
        tab.page.goto(server.address)
        tab.page.wait_for_selector("#engine[data-state=failed]")
        assert "masks cannot be trusted" in tab.page.inner_text("#alert-text")
        tab.page.click("#alert-close")
        tab.page.set_input_files("#file", cup)
        tab.page.wait_for_selector("#alert:has-text('cannot be trusted')")
        assert tab.page.get_attribute("html", "data-encoded") is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"samedge.bundle/2"', '"samedge.bundle/9"', "has schema samedge.bundle/9"),
        ('"longest_side_bilinear"', '"shortest_side"', 'resize "shortest_side"'),
        ('"gate"', '"surprise": 1, "gate"', "has surprise"),
    ],
)
def test_a_manifest_with_an_unknown_word_is_refused(
    make: Make, site: Path, tmp_path: Path, *, old: str, new: str, said: str
) -> None:
    text = (site / "bundle.json").read_text()
    assert old in text
    (tmp_path / "bundle.json").write_text(text.replace(old, new))
    with serving(altered_site(site, {"bundle.json": tmp_path / "bundle.json"})) as server:
        tab = make(server.address)
        tab.page.goto(server.address)
        tab.page.wait_for_selector("#engine[data-state=failed]")
        assert said in tab.page.inner_text("#alert-text")


@pytest.mark.slow
def test_a_gpu_that_is_not_there_is_told(make: Make, server: StaticServer, cup: Path) -> None:
    """Chromium without a window and without its flag gives no adapter."""
    tab = make(server.address)
    tab.page.goto(server.address)
    if tab.page.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
        pytest.skip("this Chromium has an adapter")
    tab.go("?device=webgpu&threads=1")
    assert tab.page.inner_text("#engine") == "WebAssembly, 1 thread"
    assert "The GPU is not used: " in tab.page.inner_text("#note")
    tab.open(cup)
    tab.click(*CUP)
    assert tab.covers(*CUP)


@pytest.mark.slow
def test_a_lost_worker_is_started_again(make: Make, server: StaticServer, cup: Path) -> None:
    tab = make(server.address)
    tab.go()
    tab.open(cup)
    tab.page.evaluate("samedge.engine.worker.terminate()")
    tab.page.wait_for_selector("#note:not([hidden])")
    assert "Started again" in tab.page.inner_text("#note")
    tab.click(*CUP)
    assert tab.covers(*CUP)
    assert tab.complaints == []


def failing_at(site: Path, tmp_path: Path, *turns: int) -> dict[str, Path]:
    """A site whose library runs out of memory at some runs of a worker, counted over all graphs."""
    graphs = tmp_path / "graphs.js"
    own = "for (const [name, tensor] of Object.entries(await session.run(feeds)))"
    code = (PAGE / "modules" / "graphs.js").read_text()
    assert own in code
    fail = f"""runs += 1;
      if ({list(turns)}.includes(runs)) throw new WebAssembly.RuntimeError("out of memory");
      {own}"""
    graphs.write_text("let runs = 0;\n" + code.replace(own, fail))
    return altered_site(site, {"modules/graphs.js": graphs})


RUNS_TO_PHOTO = 5  # two of the canary's pictures, encoded and decoded, and the photo


@pytest.mark.slow
def test_memory_that_runs_out_starts_it_again(
    make: Make, site: Path, tmp_path: Path, cup: Path
) -> None:
    with serving(failing_at(site, tmp_path, RUNS_TO_PHOTO + 2)) as server:
        tab = make(server.address)
        tab.go()
        tab.open(cup)
        tab.click(*CUP)
        tab.page.click("#new-object")
        tab.click(0.75, 0.85)  # fails, and is asked again of a new worker
        assert len(tab.shares()) == 2
        assert "out of memory" in tab.page.inner_text("#note")
        assert tab.page.is_hidden("#alert")


@pytest.mark.slow
def test_memory_that_always_runs_out_is_said_and_the_page_goes_on(
    make: Make, site: Path, tmp_path: Path, cup: Path
) -> None:
    with serving(failing_at(site, tmp_path, RUNS_TO_PHOTO + 1)) as server:
        tab = make(server.address)
        tab.go()
        tab.open(cup)
        tab.page.mouse.click(*tab.place(*CUP))
        tab.page.wait_for_selector("#alert:not([hidden])")
        assert "too little memory" in tab.page.inner_text("#alert-text")
        assert tab.shares() == []
        tab.open(cup)  # another photo is encoded by a new worker
        assert tab.page.get_attribute("#engine", "data-state") == "ready"


@pytest.mark.slow
def test_no_mask_before_the_canary_was_heard(
    make: Make, server: StaticServer, site: Path, cup: Path
) -> None:
    held: list[Route] = []
    tab = make(server.address, service_workers="block")
    tab.page.context.route("**/canary.npz", lambda route: held.append(route))
    tab.go()
    tab.page.set_input_files("#file", cup)
    tab.page.wait_for_selector("#stage[aria-label^='coffee']")
    tab.page.mouse.click(*tab.place(*CUP))
    tab.page.wait_for_timeout(1000)
    assert tab.page.get_attribute("html", "data-encoded") is None
    assert tab.shares() == []
    held[0].fulfill(body=(site / "canary.npz").read_bytes()[:-1] + b"x")  # damaged on its way
    tab.page.wait_for_selector("#engine[data-state=failed]")
    assert "canary.npz is damaged" in tab.page.inner_text("#alert-text")
    assert tab.page.get_attribute("html", "data-encoded") is None


@pytest.mark.slow
def test_offline_after_the_first_visit(make: Make, site: Path, cup: Path) -> None:
    with serving(altered_site(site, {})) as server:
        tab = make(server.address)
        tab.go()
        script = "navigator.serviceWorker.ready.then((found) => Boolean(found.active))"
        assert tab.page.evaluate(script)
    tab.page.context.set_offline(True)  # and the server is gone
    tab.go()
    tab.open(cup)
    tab.click(*CUP)
    assert tab.covers(*CUP)


@pytest.mark.slow
def test_the_site_is_kept_when_nobody_does_anything(make: Make, server: StaticServer) -> None:
    tab = make(server.address)
    tab.go()
    tab.page.evaluate("Promise.resolve(samedge.info.checked).then(() => null)")
    kept = "navigator.serviceWorker.getRegistration().then(Boolean)"
    for _ in range(8):
        tab.page.keyboard.press("Shift")
        tab.page.wait_for_timeout(1000)
        assert not tab.page.evaluate(kept)
    assert tab.page.evaluate("navigator.serviceWorker.ready.then(() => true)")


@contextlib.contextmanager
def served(folder: Path, *, port: int = 0) -> Iterator[str]:
    """`samedge web` in a process of its own: with it go the connections that a browser keeps."""
    command = [sys.executable, "-m", "samedge", "web", str(folder), "--port", str(port), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.JSONDecoder().decode(_document(process.stdout))["address"]
        finally:
            process.kill()


def _document(lines: Iterable[str]) -> str:
    found = ""
    for line in lines:
        found += line
        if line.startswith("}"):
            break
    return found


@pytest.mark.slow
def test_another_model_at_the_same_address_is_told(
    make: Make, site: Path, library: Path, tmp_path: Path, cup: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(embedded_path("samedge-nano"), other)
    write_site(other, library)
    with served(site) as address:
        tab = make(address)
        tab.go()
        assert tab.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        assert tab.page.is_hidden("#note")
    with served(other, port=urlsplit(address).port or 0):
        tab.go()
        assert tab.page.inner_text("#model") == "samedge-pico"  # the kept one, and it says so
        tab.page.wait_for_selector("#note:has-text('reload to use it')")
        tab.page.evaluate("samedge.engine.worker.terminate()")
        tab.open(cup)  # the files of a new worker are still those that the page began with
        tab.click(*CUP)
        assert tab.covers(*CUP)
        second = new_tab(tab.page.context, address)
        second.go()
        assert second.page.inner_text("#model") == "samedge-nano"
        assert second.page.is_hidden("#note")
        tab.page.evaluate("samedge.engine.worker.terminate()")
        tab.open(cup)  # nor are they another's that turned to the new version meanwhile
        tab.click(*CUP)
        assert tab.covers(*CUP)
        assert tab.page.is_hidden("#alert")
    manifest = tmp_path / "bundle.json"  # the lists are new, and a file is not: it is being written
    text = (other / "bundle.json").read_text()
    manifest.write_text(text.replace(file_hash(other / "encoder.onnx"), "0" * 64))
    torn = altered_site(other, {"bundle.json": manifest})
    with serving(torn, port=urlsplit(address).port or 0):
        tab.go()
        assert tab.page.inner_text("#model") == "samedge-nano"  # whole, as it is kept
        tab.page.wait_for_timeout(2000)
        assert tab.page.is_hidden("#note")
        kept = "caches.keys().then((names) => names.filter((name) => name.includes('site')).length)"
        assert tab.page.evaluate(kept) <= 2


@pytest.mark.slow
def test_a_photo_of_50_megapixels(make: Make, server: StaticServer) -> None:
    rows, columns = np.mgrid[:6000, :8400]
    disc = (rows - 3000) ** 2 + (columns - 4000) ** 2 < 1500**2
    pixels = np.where(disc[..., None], [220, 60, 40], [60, 90, 130]).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=80)
    tab = make(server.address)
    tab.go()
    tab.open({"name": "large.jpg", "mimeType": "image/jpeg", "buffer": stream.getvalue()})
    assert "8400 by 6000 pixels" in (tab.page.get_attribute("#stage", "aria-label") or "")
    tab.click(4000 / 8400, 0.5)
    assert tab.covers(4000 / 8400, 0.5)
    assert not tab.covers(0.03, 0.05)
    assert tab.complaints == []


@pytest.mark.slow
def test_everything_stops_and_is_one_step_to_undo(
    make: Make, server: StaticServer, cup: Path
) -> None:
    tab = make(server.address)
    tab.go()
    tab.open(cup)
    tab.page.select_option("#detail", "8")
    tab.page.click("#everything")
    tab.page.wait_for_selector("html[data-everything=done]", state="attached")
    found = len(tab.shares())
    assert found >= 2
    assert f"{found} things were found" in tab.page.inner_text("#announce")
    tab.page.click("#undo")
    assert tab.shares() == []
    tab.page.evaluate("delete document.documentElement.dataset.everything")
    tab.page.select_option("#detail", "32")
    tab.page.click("#everything")
    tab.page.wait_for_selector("#everything-progress:not([hidden])")
    tab.wait_until("document.querySelector('#everything-bar').value > 0.05")
    tab.page.click("#everything-stop")
    tab.page.wait_for_selector("html[data-everything=done]", state="attached")
    assert tab.page.is_hidden("#everything-progress")
    assert tab.shares()  # what was found until then
    assert tab.complaints == []


@pytest.mark.slow
def test_on_a_phone(make: Make, server: StaticServer, cup: Path) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    tab = make(server.address, **phone)
    tab.go()
    tab.open(cup)
    width = tab.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    with tab.answer():
        tab.page.touchscreen.tap(*tab.place(*CUP))
    assert tab.covers(*CUP)
    smallest = tab.page.evaluate(
        """Math.min(...[...document.querySelectorAll('.button:not(.small)')]
            .map((one) => one.getBoundingClientRect()).filter((box) => box.width)
            .map((box) => Math.min(box.width, box.height)))"""
    )
    assert smallest >= 32
    assert tab.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(make: Make, server: StaticServer, cup: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab = make(server.address, color_scheme=scheme, bypass_csp=True)
    tab.go()
    assert report(axe, tab) == []
    tab.open(cup)
    tab.click(*CUP)
    assert report(axe, tab) == []
    tab.page.click("#help-open")
    assert report(axe, tab) == []


def report(axe: object, tab: Tab) -> list[str]:
    found = axe.Axe().run(tab.page)  # type: ignore[attr-defined]
    return [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found.response["violations"]]


@pytest.mark.slow
def test_without_isolation_it_computes_in_one_thread(
    make: Make, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samedge.web import static

    monkeypatch.setattr(static, "HEADERS", {})
    with serving(altered_site(site, {})) as server:
        tab = make(server.address)
        tab.go("?threads=2")
        assert tab.page.inner_text("#engine") == "WebAssembly, 1 thread"
        assert tab.complaints == []
