"""tools/teacher_labels.py: a model's own masks take the place of those that it agrees with."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.distill.coco import CocoFolder
from samedge.pixels.rle import rle_from_mask
from samedge.types import Prompt

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import teacher_labels

SIZE = (60, 80)


def _rectangle(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    mask[y : y + height, x : x + width] = True
    return mask


LEFT, LEFT_DRAWN = _rectangle(5, 5, 20, 20), _rectangle(6, 5, 20, 20)
RIGHT = _rectangle(50, 5, 20, 20)


class _Model:
    """Shifts the thing of a box on the left, and finds nothing on the right."""

    def __enter__(self) -> _Model:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def encode(self, pixels: np.ndarray) -> tuple[int, ...]:
        return pixels.shape

    def decode_batch(self, _: tuple[int, ...], prompts: Sequence[Prompt]) -> list[Any]:
        drawn = [LEFT_DRAWN if np.asarray(p.box)[0] < 40 else np.zeros_like(LEFT) for p in prompts]
        return [SimpleNamespace(masks=mask[None]) for mask in drawn]


def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> tuple[Path, list[Any]]:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (SIZE[1], SIZE[0])).save(tmp_path / "images" / name)
    crowd: dict[str, Any] = {"iscrowd": 1, "segmentation": rle_from_mask(LEFT)}
    entries: list[dict[str, Any]] = [
        {"segmentation": rle_from_mask(mask)} for mask in (LEFT, RIGHT)
    ]
    document = {
        "images": [
            {"id": n, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
            for n, name in enumerate(("a.png", "b.png"), 1)
        ],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 7, **entry}
            for number, entry in enumerate([*entries, crowd], 1)
        ],
        "categories": [{"id": 7, "name": "cup"}],
    }
    labels, output = tmp_path / "instances.json", tmp_path / "out.json"
    labels.write_text(json.dumps(document))
    opened: list[Any] = []

    def open_predictor(name: str, **options: Any) -> tuple[_Model, None]:
        opened.append((name, options))
        return _Model(), None

    monkeypatch.setattr(teacher_labels, "open_predictor", open_predictor)
    arguments = [str(labels), str(tmp_path / "images"), "-o", str(output), *more]
    monkeypatch.setattr(sys, "argv", ["teacher_labels.py", *arguments])
    teacher_labels.main()
    return output, opened


def test_only_what_the_model_agrees_with_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, opened = _run(tmp_path, monkeypatch)
    assert opened == [("samedge-nano", {"focus": "auto"})], "the second look is the teacher"
    scene = CocoFolder(tmp_path, annotations=output).scene(0, np.random.default_rng(0))
    np.testing.assert_array_equal(scene.read_mask(0), LEFT_DRAWN)
    np.testing.assert_array_equal(scene.read_mask(1), RIGHT)
    assert len(scene.boxes) == 2
    assert list(scene.boxes[0]) == [6, 5, 20, 20]
    document = json.loads(output.read_text())
    assert document["categories"] == [{"id": 7, "name": "cup"}]
    assert document["annotations"][2]["segmentation"] == rle_from_mask(LEFT), "a crowd stays"
    said = json.loads(capsys.readouterr().out)
    assert (said["masks"], said["replaced"]) == (2, 1)


def test_a_stricter_bound_keeps_the_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, _ = _run(tmp_path, monkeypatch, "--agree", "0.95")
    scene = CocoFolder(tmp_path, annotations=output).scene(0, np.random.default_rng(0))
    np.testing.assert_array_equal(scene.read_mask(0), LEFT)
