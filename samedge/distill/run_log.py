"""What a run leaves for people: a CSV file, TensorBoard curves and pictures of predictions."""

from __future__ import annotations

import csv
import io
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
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / "log.csv"
        self._keep_rows_until(done)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1, flush_secs=30)

    def _keep_rows_until(self, done: int) -> None:
        kept: list[dict[str, str]] = []
        if done > 0 and self.path.exists():
            with self.path.open(encoding="utf-8", newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= done]
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
        for name, value in values.items():
            if isinstance(value, float):
                self._board.add_scalar(name, value, step)

    def picture(self, step: int, image: Any) -> None:
        """Show an (H, W, 3) uint8 picture in TensorBoard."""
        self._board.add_image("predictions", image, step, dataformats="HWC")

    def close(self) -> None:
        """Flush what is buffered."""
        self._board.close()
