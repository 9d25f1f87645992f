"""What a person sees of a training run where there is no terminal."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from samedge.distill import progress
from samedge.distill.progress import TerminalProgress
from samedge.types import Steps


def test_a_line_every_hundredth_and_preparations_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream, clock = io.StringIO(), iter(range(0, 1000, 11))
    # Not the clock itself: servers of other tests may be waiting by it.
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    with TerminalProgress(Console(file=stream, width=200)) as shown:
        steps = Steps(400, progress=shown.progress, stage=shown.stage)
        steps.say("embeddings: 1")
        steps.say("embeddings: 2")
        for done in (2, 4, 6, 8):
            steps.reach(done, f"loss {done}")
    assert stream.getvalue().splitlines() == [
        "embeddings: 1",
        "embeddings: 2",
        "step 4/400 | loss 4",
        "step 8/400 | loss 8",
    ]
