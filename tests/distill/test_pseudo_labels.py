"""tools/pseudo_labels.py: a mask passes when the model draws it again, however it is asked."""

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
import pseudo_labels
from pseudo_labels import Rules, kept_of

SIZE = (60, 80)


def _rectangle(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.bool_)
    mask[y : y + height, x : x + width] = True
    return mask


STEADY = _rectangle(5, 5, 20, 20)
FICKLE = _rectangle(50, 5, 20, 20)
LABELLED = _rectangle(5, 35, 20, 20)
PART = _rectangle(7, 37, 18, 18)
WHOLE = _rectangle(0, 0, 80, 55)
TINY = _rectangle(70, 50, 3, 3)


class _Model:
    """Answers a prompt with the thing whose middle is nearest; the fickle one shrinks mirrored."""

    def __init__(self) -> None:
        self.encodes = 0
        self.asked: list[int] = []

    def __enter__(self) -> _Model:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def encode(self, pixels: np.ndarray) -> bool:
        """Whether the photo, white in its first column, is mirrored."""
        self.encodes += 1
        return bool(pixels[0, 0, 0] == 0)

    def decode_batch(self, mirrored: bool, prompts: Sequence[Prompt]) -> list[Any]:
        self.asked.append(len(prompts))
        return [SimpleNamespace(masks=self._near(p, mirrored=mirrored)[None]) for p in prompts]

    def _near(self, prompt: Prompt, *, mirrored: bool) -> np.ndarray:
        if prompt.box is not None:
            x0, y0, x1, y1 = np.asarray(prompt.box)
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
        else:
            ((x, y),) = np.asarray(prompt.points)
        things = [STEADY, FICKLE & (_rectangle(50, 5, 10, 20) if mirrored else FICKLE), PART]
        things = [t[:, ::-1] if mirrored else t for t in things]
        middles = [np.argwhere(t).mean(0)[::-1] for t in things]
        nearest: np.ndarray = things[int(np.argmin([np.hypot(*(m - (x, y))) for m in middles]))]
        return nearest


def _photo() -> np.ndarray:
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[:, 0] = 255
    return pixels


def test_what_stays_the_same_and_shows_something_new_is_kept() -> None:
    found = [FICKLE, STEADY, STEADY & _rectangle(5, 5, 19, 20), PART, WHOLE, TINY]
    kept = kept_of(
        _Model(),
        _photo(),
        found=found,
        labels=[LABELLED],
        rules=Rules(least_px=100),
    )
    assert len(kept) == 1
    np.testing.assert_array_equal(kept[0].mask, STEADY)
    assert kept[0].agreement == 1


def test_what_failed_once_is_not_asked_about_again() -> None:
    model = _Model()
    other = STEADY & _rectangle(5, 5, 10, 20)
    arguments = {"labels": [], "rules": Rules(least_px=100)}
    kept = kept_of(model, _photo(), found=[other, FICKLE, STEADY], **arguments)
    assert len(kept) == 1
    assert model.asked == [3, 2, 1], "half of a thing fails at once, the fickle one when mirrored"
    assert model.encodes == 2
    model = _Model()
    assert kept_of(model, _photo(), found=[other], **arguments) == []
    assert (model.asked, model.encodes) == ([1], 1)


def test_a_photo_without_candidates_is_not_encoded() -> None:
    model = _Model()
    rules = Rules(least_px=100)
    arguments = {"found": [TINY, PART], "labels": [LABELLED], "rules": rules}
    assert kept_of(model, _photo(), **arguments) == []
    assert model.encodes == 0


def _written(path: Path, masks: dict[str, list[np.ndarray]]) -> Path:
    images = [
        {"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
        for number, name in enumerate(masks, 1)
    ]
    annotations = [
        {"id": number, "image_id": image, "segmentation": rle_from_mask(mask)}
        for number, (image, mask) in enumerate(
            ((i, m) for i, ms in enumerate(masks.values(), 1) for m in ms), 1
        )
    ]
    document = {"images": images, "annotations": annotations}
    path.write_text(json.dumps(document))
    return path


def test_the_file_has_the_labels_and_then_what_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(_photo()).save(tmp_path / "images" / name)
    found = _written(tmp_path / "found.json", {"b.png": [STEADY], "a.png": [STEADY, PART]})
    labels = _written(tmp_path / "labels.json", {"a.png": [LABELLED]})
    output = tmp_path / "out.json"
    monkeypatch.setattr(pseudo_labels, "open_predictor", lambda _name: (_Model(), None))
    arguments = [str(found), str(tmp_path / "images"), "--labels", str(labels), "-o", str(output)]
    monkeypatch.setattr(sys, "argv", ["pseudo_labels.py", *arguments])
    pseudo_labels.main()
    folder = CocoFolder(tmp_path, annotations=output, images=tmp_path / "images")
    rng = np.random.default_rng(0)
    assert [folder.path(n).name for n in range(len(folder))] == ["a.png", "b.png"]
    first, second = (folder.scene(n, rng) for n in range(2))
    np.testing.assert_array_equal(first.read_mask(0), LABELLED)
    np.testing.assert_array_equal(first.read_mask(1), STEADY)
    assert (len(first.boxes), len(second.boxes)) == (2, 1)
    scores = [a.get("score") for a in json.loads(output.read_text())["annotations"]]
    assert scores == [None, 1.0, 1.0]
