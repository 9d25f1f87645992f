"""The load of ``make serve-soak``: its pauses, and what its record says of memory."""

from __future__ import annotations

import math
import time

import pytest

from benchmarks import serve_load
from samedge import Prompt


def test_the_slope_is_of_a_line_through_the_samples() -> None:
    samples = [(60.0 * minute, 200_000_000 + 1_000 * minute) for minute in range(60)]
    assert serve_load.slope_per_hour(samples) == pytest.approx(60_000, abs=1)
    assert serve_load.slope_per_hour(samples[:1]) is None


@pytest.mark.parametrize(("pause_s", "least_s"), [(0.0, 0.0), (0.1, 0.3)])
def test_a_client_pauses_after_each_click(
    monkeypatch: pytest.MonkeyPatch, pause_s: float, least_s: float
) -> None:
    made: list[int] = []
    monkeypatch.setattr(serve_load, "click", lambda *given: made.append(given[2]))
    image = serve_load.Expected(b"", (Prompt([[1.0, 1.0]]),), ("",))
    start = time.monotonic()
    serve_load.clicks(
        "http://127.0.0.1:1",
        [image],
        seed=0,
        span=serve_load.Span(3, 0.0, math.inf),
        tally=serve_load.Tally(),
        pause_s=pause_s,
        patience_s=1.0,
    )
    assert len(made) == 3
    assert time.monotonic() - start >= least_s
