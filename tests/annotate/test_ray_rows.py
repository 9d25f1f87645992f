"""What the Ray engine hands back of each image, without a cluster: its columns, there and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.annotate import _ray
from samedge.annotate.engines import EngineOptions
from samedge.annotate.tasks import AutoSettings, Job, Outcome, Task


class Dataset:
    """As much of ``ray.data`` as the engine uses, in one process."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.rows = rows

    def map_batches(
        self,
        kind: Callable[..., Any],
        *,
        fn_constructor_kwargs: Mapping[str, Any],
        batch_size: int,
        **_: object,
    ) -> Dataset:
        worker, made = kind(**fn_constructor_kwargs), []
        for start in range(0, len(self.rows), batch_size):
            few = self.rows[start : start + batch_size]
            found = worker({key: np.array([row[key] for row in few], object) for key in few[0]})
            made += [
                dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)
            ]
        return Dataset(made)

    def iter_rows(self) -> Sequence[Mapping[str, Any]]:
        return self.rows


class Data:
    def from_items(self, rows: Sequence[Mapping[str, Any]], **_: object) -> Dataset:
        return Dataset(rows)


def test_failures_keep_what_to_do(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    settings = AutoSettings(bundle=str(toy_bundle), points_per_side=2, crop_layers=0)
    job = Job(settings=settings, parts=str(tmp_path / "parts"))
    tasks = [Task(name=n, path=str(tmp_path / n)) for n in ("good.png", "bad.jpg", "gone.png")]
    monkeypatch.setattr(_ray, "_library", Data)
    found: list[Outcome] = []
    _ray.ENGINE.run(tasks, job, options=EngineOptions(workers=2), on_outcome=found.append)
    good, bad, gone = found
    assert (good.name, good.error) == ("good.png", None)
    for one, name in ((bad, "bad.jpg"), (gone, "gone.png")):
        assert one.name == name
        assert one.error is not None
        assert one.error.kind == "image"
        assert one.error.remedy
        assert one.error.remedy in one.error.message
