"""A short campaign of random damage; ``benchmarks/corruption.py`` runs ten thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.corruption import SILENT, Campaign
from samedge import runtimes
from samedge.bundle.bundle import embedded_path


@pytest.fixture(autouse=True)
def _cache_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign has a cache of its own."""
    monkeypatch.setenv("SAMEDGE_CACHE", "replaced by the campaign")


def silent(found: dict[str, int]) -> int:
    return sum(times for what, times in found.items() if what.endswith(SILENT))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_damage_never_gives_another_mask(toy_bundle: Path, tmp_path: Path, backend: str) -> None:
    if not runtimes.get(backend).probe().available:
        pytest.skip(f"{backend} is not here")
    found = Campaign(toy_bundle, tmp_path, backend=backend).run(30)
    assert silent(found) == 0
    assert found["bundle: refused"] > 5


def test_without_checks_it_would(toy_bundle: Path, tmp_path: Path) -> None:
    """Positive control."""
    pytest.importorskip("onnxruntime")
    found = Campaign(toy_bundle, tmp_path, backend="onnxruntime", checked=False).run(60)
    assert silent(found) > 0


@pytest.mark.slow
@pytest.mark.skipif(not embedded_path("samedge-pico").exists(), reason="pico is not embedded here")
def test_the_canary_alone_finds_most_pages_of_zeros(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    found = Campaign(embedded_path("samedge-pico"), tmp_path, backend="onnxruntime").run_canary(8)
    assert found["refused by the canary"] >= 4  # with a limit of 0.98 it would be one or none
