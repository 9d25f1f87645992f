"""Masks find their way out: arrays, COCO, polygons, files, supervision."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import samedge
from samedge.errors import BackendUnavailableError, ImageError, PromptError
from samedge.formats.results import Masks
from samedge.pixels.polygons import fill
from samedge.pixels.rle import mask_from_rle
from samedge.types import ActiveBackend, Prompt


def result(*, masks: np.ndarray, iou: list[float]) -> Masks:
    return Masks(
        masks=masks,
        iou_predictions=np.array(iou, np.float32),
        low_res_logits=np.zeros((len(masks), 4, 4), np.float32),
        stability_scores=np.full(len(masks), 0.5, np.float32),
        backend=ActiveBackend("onnxruntime", "1", "cpu"),
        timing_ms={"decode": 2.0, "postprocess": 1.0},
    )


@pytest.fixture
def ring() -> np.ndarray:
    mask = np.zeros((24, 32), np.bool_)
    mask[4:16, 6:20] = True
    mask[8:12, 10:14] = False
    mask[18:22, 24:30] = True
    return mask


@pytest.fixture
def three(ring: np.ndarray) -> Masks:
    return result(masks=np.stack([~ring, ring, np.zeros_like(ring)]), iou=[0.2, 0.9, 0.1])


def test_best_is_the_one_that_the_model_rates_highest(three: Masks, ring: np.ndarray) -> None:
    assert np.array_equal(three.best, ring)
    assert three.best.shape == (24, 32)
    with pytest.raises(PromptError, match="no mask"):
        _ = result(masks=np.zeros((0, 24, 32), np.bool_), iou=[]).best


def test_coco_entries_hold_the_very_masks(three: Masks, ring: np.ndarray) -> None:
    entries = three.to_coco(image_id=7, category_id=2, first_id=11)
    assert [entry["id"] for entry in entries] == [11, 12]  # the empty one is left out
    assert {entry["image_id"] for entry in entries} == {7}
    assert np.array_equal(mask_from_rle(dict(entries[1]["segmentation"])), ring)
    assert entries[1]["bbox"] == [6, 4, 24, 18]
    assert entries[1]["area"] == ring.sum()
    assert entries[1]["score"] == pytest.approx(0.9)
    json.dumps(entries)  # plain values only


def test_polygons_draw_the_very_masks(three: Masks, ring: np.ndarray) -> None:
    polygons = three.to_polygons()
    assert [len(parts) for parts in polygons] == [2, 2, 0]
    assert np.array_equal(fill(polygons[1], (24, 32)), ring)


def test_supervision_gets_what_it_checks(
    three: Masks, ring: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        import supervision  # noqa: F401
    except ImportError:
        monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    detections = three.to_supervision()
    assert detections.xyxy.shape == (2, 4)
    assert detections.xyxy[1].tolist() == [6, 4, 30, 22]
    assert np.array_equal(detections.mask[1], ring)
    assert detections.confidence.tolist() == pytest.approx([0.2, 0.9])


def test_without_supervision_the_error_says_what_to_install(
    three: Masks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(BackendUnavailableError, match="pip install supervision"):
        three.to_supervision()


@pytest.mark.parametrize("name", ["out.json", "out.npz", "out.jpg", "sub/out.png"])
def test_saved_files_are_there(three: Masks, tmp_path: Path, name: str) -> None:
    files = three.save(tmp_path / name, image=np.full((24, 32, 3), 90, np.uint8))
    assert files
    assert all(file.is_file() for file in files)
    assert files[0].suffix == Path(name).suffix


def test_a_saved_coco_file_is_read_again(three: Masks, ring: np.ndarray, tmp_path: Path) -> None:
    (file,) = three.save(tmp_path / "out.json", name="photo.jpg")
    document = json.loads(file.read_text())
    assert document["images"][0]["file_name"] == "photo.jpg"
    assert np.array_equal(mask_from_rle(document["annotations"][1]["segmentation"]), ring)


def test_saving_refuses_another_image(three: Masks, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="the image that they were made of"):
        three.save(tmp_path / "out.jpg", image=np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ImageError, match="cannot be written"):
        three.save(tmp_path / "out.json", file_format="npz")
    assert not list(tmp_path.iterdir())


def test_results_of_one_image_join(three: Masks) -> None:
    both = Masks.joined([three, three])
    assert len(both) == 6
    assert both.timing_ms == {"decode": 4.0, "postprocess": 2.0}
    other = result(masks=np.zeros((1, 8, 8), np.bool_), iou=[0.5])
    with pytest.raises(ImageError, match="one image"):
        Masks.joined([three, other])
    with pytest.raises(PromptError, match="no masks"):
        Masks.joined([])


def test_reprs_are_short_and_say_what_counts(three: Masks, toy_bundle: Path) -> None:
    assert repr(three) == "Masks(3 of 24x32 px, predicted IoU 0.20, 0.90, 0.10)"
    clicks = Prompt([[1, 2]], box=[0, 0, 4, 4], mask=np.ones((4, 4), np.bool_))
    assert repr(clicks) == (
        "Prompt(points=[[1.0, 2.0]], labels=[1], box=[0.0, 0.0, 4.0, 4.0], mask=<4x4 bool>)"
    )
    with samedge.Predictor.from_bundle(toy_bundle) as predictor:
        embedding = predictor.encode(np.zeros((24, 32, 3), np.uint8))
        shown = [repr(value) for value in (predictor, predictor.bundle, embedding)]
        shown.append(repr(samedge.Tracker(predictor)))
    assert all(
        len(text) < 300 and "\n" not in text and " object at 0x" not in text for text in shown
    )
    assert predictor.bundle.id in shown[2]
