"""``samedge bench`` on a page: which bundles are pages, and what is measured of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samedge import records
from samedge.bundle.bundle import Bundle, embedded_path
from samedge.errors import BundleError, OptionError
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import subject
from samedge.web import measuring
from samedge.web.benching import chosen_pages
from samedge.web.measuring import BACKEND, BROWSERS
from tests.cli.conftest import invoke


@pytest.fixture(scope="module")
def web_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model's files as target web has them, without the page."""
    folder = tmp_path_factory.mktemp("bundles") / "web"
    shutil.copytree(embedded_path("samedge-pico"), folder)
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, "target": "web"}))
    return folder


def test_a_bundle_of_target_web_is_a_page_unless_a_backend_is_named(web_bundle: Path) -> None:
    assert [page.folder for page in chosen_pages(web_bundle)] == [web_bundle]
    assert chosen_pages(web_bundle, backends=["onnxruntime"]) == []
    assert chosen_pages("samedge-pico") == chosen_pages(()) == []
    assert len(chosen_pages("samedge-pico", backends=[BACKEND])) == 1


def test_a_page_and_a_backend_name_the_same_files_by_the_same_hash(web_bundle: Path) -> None:
    """`bench --baseline` says "artifacts differ" where they do, not where a page ran them."""
    page = measuring._subject(Bundle.open(web_bundle), "cpu")
    with Predictor.from_bundle(web_bundle) as predictor:
        assert page.artifact_sha256 == subject(predictor).artifact_sha256


def test_pages_are_measured_by_themselves(web_bundle: Path) -> None:
    with pytest.raises(OptionError, match="one after the other"):
        chosen_pages([web_bundle, "samedge-pico"])
    with pytest.raises(OptionError, match="one after the other"):
        chosen_pages([web_bundle], backends=[BACKEND, "onnxruntime"])


@pytest.mark.parametrize("option", ["--deadline=33ms", "--device=cpu", "--sustained=1"])
def test_what_a_page_has_no_answer_to_is_refused(web_bundle: Path, option: str) -> None:
    result = invoke("bench", "--bundle", str(web_bundle), option)
    assert result.exit_code == 1
    assert f"{option.split('=')[0]} does not apply to a page" in result.stderr


def test_a_bundle_without_its_page_is_told(web_bundle: Path) -> None:
    pytest.importorskip("playwright.sync_api", reason="needs samedge[web]")
    result = invoke("bench", "--bundle", str(web_bundle))
    assert result.exit_code == 1
    assert "carries no page" in result.stderr
    assert BundleError.__name__ not in result.stderr


@pytest.mark.slow
def test_a_page_s_record_goes_through_report(site: Path, tmp_path: Path) -> None:
    pytest.importorskip("playwright.sync_api", reason="needs samedge[web]")
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)}")
    record, html = tmp_path / "page.json", tmp_path / "page.html"
    options = ["--backend", BACKEND, "--effort", "quick", "--min-count", "3", "-o", str(record)]
    command = [sys.executable, "-m", "samedge", "bench", "--bundle", str(site), *options]
    subprocess.run(command, check=True, timeout=300)  # Playwright runs once in a process
    found = records.read(record)
    assert isinstance(found, records.BenchRecord)
    assert {row.stage: row.n for row in found.results} == {
        "load": 1,
        "preprocess": 1,
        "encode": 1,
        "decode": 3,
    }
    (page,) = found.pages
    assert page.browser.startswith("Chromium")
    assert page.engine.startswith("WebAssembly")
    assert page.site_bytes > page.transfer_bytes > 5e6
    if Path("/proc/self/status").exists():
        assert page.peak_bytes is not None
        assert page.footprint_bytes is not None
        assert 5e7 < page.footprint_bytes < page.peak_bytes
    assert invoke("report", str(record), "--html", str(html)).exit_code == 0
    assert BACKEND in html.read_text()
