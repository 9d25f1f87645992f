"""What a run leaves for people: rows and TensorBoard's events, also after it was interrupted."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from samedge.distill.run_log import RunLog


def steps(folder: Path) -> list[int]:
    with (folder / "log.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def curves(folder: Path) -> list[tuple[int, float]]:
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return [(event.step, round(event.value, 3)) for event in board.Scalars("loss")]


def test_tensorboard_reads_it_and_a_resumed_run_takes_the_place_of_later_steps(
    tmp_path: Path,
) -> None:
    before = set(threading.enumerate())
    log = RunLog(tmp_path, done=0)
    log.write(1, {"stage": "prompts", "loss": 0.5})
    log.write(2, {"stage": "prompts", "loss": 0.4})
    log.picture(2, np.zeros((8, 8, 3), np.uint8))
    assert set(threading.enumerate()) <= before  # none begun, whose errors nobody would hear
    log.close()
    assert curves(tmp_path) == [(1, 0.5), (2, 0.4)]
    log = RunLog(tmp_path, done=1)
    log.write(2, {"loss": 0.3})
    log.close()
    assert steps(tmp_path) == [1, 2]
    assert curves(tmp_path) == [(1, 0.5), (2, 0.3)]


def test_a_row_that_a_full_disk_has_torn_is_dropped(tmp_path: Path) -> None:
    log = RunLog(tmp_path, done=0)
    for step in range(1, 12):
        log.write(step, {"loss": 0.5})
    log.close()
    path = tmp_path / "log.csv"
    text = path.read_text()
    path.write_text(text[: text.rindex("11,") + 1])  # "1" of "11"
    RunLog(tmp_path, done=10).close()
    assert steps(tmp_path) == list(range(1, 11))


def test_a_disk_that_fails_is_heard_of_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = RunLog(tmp_path, done=0)
    log._board._records._writer.close()
    with Path("/dev/full").open("ab", buffering=0) as full:
        log._board._records._writer = full
        with pytest.raises(OSError, match="No space left"):
            log.write(1, {"loss": 0.5})
    assert "Traceback" not in capfd.readouterr().err
