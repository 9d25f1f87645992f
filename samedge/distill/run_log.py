"""What a run leaves for people: a CSV file, TensorBoard curves and pictures of predictions."""

from __future__ import annotations

import csv
import io
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samedge.files.writing import write_text

COLUMNS = (
    "stage", "kind", "step", "seconds", "loss", "focal", "dice", "iou_error", "iou", "iou_selected",
    "distill", "lr", "grad_norm", "images_per_second", "loader_share", "val_box_miou",
    "val_point_miou", "val_loss",
)  # fmt: skip


class RunLog:
    """Appends rows to ``log.csv`` and scalars to ``tensorboard/`` in the run's folder.

    Args:
        folder: the run's folder, which exists.
        done: steps that the run resumes after; later rows were written by an interrupted run after
            its last checkpoint, are about to be written again, and are dropped.
    """

    def __init__(self, folder: Path, *, done: int) -> None:
        self.path = folder / "log.csv"
        self._keep_rows_until(done)
        self._board = _Board(folder / "tensorboard", begins=done + 1)

    def _keep_rows_until(self, done: int) -> None:
        kept: list[dict[str, str]] = []
        if done > 0 and self.path.exists():
            written = self.path.read_bytes().decode(errors="replace")
            whole = io.StringIO(written[: written.rfind("\n") + 1])  # a last row may be torn
            kept = [row for row in csv.DictReader(whole) if int(row["step"]) <= done]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
        write_text(self.path, text.getvalue())

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Add one row; numbers also go to TensorBoard.

        Args:
            step: steps done in the whole run.
            values: by column name; what is absent stays empty.
        """
        row = {"step": step, **values}
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, COLUMNS, extrasaction="raise").writerow(
                {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
            )
        self._board.scalars(step, {k: v for k, v in values.items() if isinstance(v, float)})

    def picture(self, step: int, image: Any) -> None:
        """Show an (H, W, 3) uint8 picture in TensorBoard."""
        self._board.picture(step, image)

    def close(self) -> None:
        """Close the file of TensorBoard's events."""
        self._board.close()


class _Board:
    """A file of TensorBoard's events, written by whoever calls.

    PyTorch's ``SummaryWriter`` writes in a thread of its own, which prints a traceback when the
    disk is full.

    Args:
        folder: of the run's event files; made where it is not there.
        begins: the first step; events of an interrupted run from there on are not shown.
    """

    def __init__(self, folder: Path, *, begins: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.0"
        self._records = RecordWriter((folder / name).open("ab", buffering=0))
        self._add(file_version="brain.Event:2")
        self._add(step=begins, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        from torch.utils.tensorboard.summary import scalar

        for name, value in values.items():
            summary = scalar(name, value)  # type: ignore[no-untyped-call]
            self._add(step=step, summary=summary)

    def picture(self, step: int, image: Any) -> None:
        from torch.utils.tensorboard.summary import image as shown

        summary = shown("predictions", image, dataformats="HWC")  # type: ignore[no-untyped-call]
        self._add(step=step, summary=summary)

    def close(self) -> None:
        self._records.close()

    def _add(self, **what: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **what).SerializeToString())
