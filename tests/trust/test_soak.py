"""A short soak: memory, files and threads stay, and planted leaks are caught."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.soak import Sample, Soak, soak
from samedge.predict.predictor import Predictor

pytest.importorskip("onnxruntime")
if sys.platform != "linux":
    pytest.skip("memory, files and threads are read from /proc", allow_module_level=True)

PROMPTS, WARM_UP, IMAGES = 2_000, 2_500, 20
LIMIT_BYTES = 6_000_000  # in 10,000 prompts: so few leave more noise than the long run's 100,000


@pytest.fixture
def predictor(toy_bundle: Path) -> Iterator[Predictor]:
    with Predictor.from_bundle(toy_bundle, threads=1) as opened:
        yield opened


def found(predictor: Predictor, *, leak_bytes: int = 0) -> list[str]:
    seen = soak(predictor, prompts=PROMPTS, images=IMAGES, leak_bytes=leak_bytes, samples=30)
    print(f"{seen.growth_bytes / 1e6:.2f} MB in 10,000 prompts")
    return seen.complaints(LIMIT_BYTES)


@pytest.mark.slow
def test_nothing_grows_and_a_leak_of_a_kilobyte_a_prompt_is_caught(predictor: Predictor) -> None:
    soak(predictor, prompts=WARM_UP, images=IMAGES)
    assert found(predictor) == []
    (complaint,) = found(predictor, leak_bytes=1024)
    assert "memory grows" in complaint


@pytest.mark.slow
def test_files_and_threads_that_stay_are_caught(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, end = [], threading.Event()
    decode = predictor.decode

    def leaking(*arguments: object, **options: object) -> object:
        kept.append(Path("/dev/null").open())  # noqa: SIM115 - that is the leak
        thread = threading.Thread(target=end.wait)
        thread.start()
        return decode(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(predictor, "decode", leaking)
    try:
        complaints = soak(predictor, prompts=20, images=2, samples=5).complaints(1e12)
    finally:
        end.set()
        for file in kept:
            file.close()
    assert [complaint.split(" grow")[0] for complaint in complaints] == [
        "open files",
        "open threads",
    ]


def test_the_warm_up_does_not_count() -> None:
    memory = [100, 190, *[200] * 18]
    samples = [Sample((n + 1) * 1000, m * 10**6, 5, 2) for n, m in enumerate(memory)]
    assert Soak("x", samples).complaints() == []
    assert Soak("x", samples[:1] + samples[:3]).complaints() != []
