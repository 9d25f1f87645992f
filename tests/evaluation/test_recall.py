"""Average recall against pycocotools, and by hand."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from samedge.evaluation import recall
from samedge.pixels.metrics import bounding_box
from samedge.pixels.rle import rle_from_mask

SIZE = (120, 160)


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = rng.integers(0, 90, (count, 2))
    return np.concatenate([corners, corners + rng.integers(4, 60, (count, 2))], axis=1)


def _masks(boxes: np.ndarray) -> np.ndarray:
    masks = np.zeros((len(boxes), *SIZE), np.bool_)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def _scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Objects, and found masks: most of them moved objects, the best ranked first."""
    rng = np.random.default_rng(seed)
    objects = _boxes(rng, 9)
    near = np.repeat(objects, 3, axis=0) + rng.integers(-4, 5, (27, 4))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 2)
    found = rng.permutation(np.concatenate([np.clip(near, 0, 118), _boxes(rng, 12)]))
    return _masks(objects), _masks(found)


def _ours(scenes: list[tuple[np.ndarray, np.ndarray]]) -> list[recall.ImageRecall]:
    images = []
    for objects, found in scenes:
        pairs = [(bounding_box(mask) or (0, 0, 1, 1), mask) for mask in found]
        ious = recall.mask_ious(pairs, objects)
        images.append(recall.image_recall(ious, objects.sum(axis=(1, 2)).tolist()))
    return images


def _theirs(scenes: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """``stats`` of COCOeval: AR@10, AR@100, AR@1000, and AR@100 of small, medium and large."""
    coco, evaluation = (
        pytest.importorskip("pycocotools.coco"),
        pytest.importorskip("pycocotools.cocoeval"),
    )
    truth: dict[str, Any] = {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(len(scenes))],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [],
    }
    results = []
    for image, (objects, found) in enumerate(scenes):
        for mask in objects:
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "segmentation": rle_from_mask(mask),
                    "area": int(mask.sum()),
                    "bbox": [0, 0, 1, 1],
                    "iscrowd": 0,
                }
            )
        for rank, mask in enumerate(found):
            results.append(
                {
                    "image_id": image,
                    "category_id": 1,
                    "segmentation": rle_from_mask(mask),
                    "score": 1 - rank / 1000,
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        database = coco.COCO()
        database.dataset = truth
        database.createIndex()
        run = evaluation.COCOeval(database, database.loadRes(results), "segm")
        run.params.useCats = 0
        run.params.maxDets = [10, 100, 1000]
        run.evaluate()
        run.accumulate()
    values = run.eval["recall"]  # (T, K, A, M)
    picked = [values[:, 0, 0, m] for m in range(3)] + [values[:, 0, a, 1] for a in (1, 2, 3)]
    return np.array([v[v > -1].mean() if (v > -1).any() else np.nan for v in picked])


def test_equals_pycocotools() -> None:
    scenes = [_scene(seed) for seed in range(6)]
    images = _ours(scenes)
    ours = [recall.average_recall(images, limit=limit) for limit in recall.LIMITS]
    ours += [recall.average_recall_of_size(images, size) for size in recall.SIZES]
    expected = _theirs(scenes)
    for own, other in zip(ours, expected, strict=True):
        assert (own is None) == bool(np.isnan(other))
        assert own is None or own == pytest.approx(other, abs=1e-12)
    assert 0.2 < expected[0] < expected[1] < 1


def test_by_hand() -> None:
    """Two masks fit one object best: the better ranked takes it, the other one's is next best."""
    ious = np.array([[0.82, 0.60], [0.90, 0.55], [0.0, 0.30]])
    image = recall.image_recall(ious, [500.0, 20000.0])
    # Object 0 is taken at 0.50 ... 0.80 by the first mask, at 0.85 and 0.90 by the second. Object 1
    # is taken by the second mask where the first took object 0 already: at 0.50 and 0.55.
    assert image.hits[100][:, 0].sum() == 9
    assert image.hits[100][:, 1].sum() == 2
    assert recall.average_recall([image], limit=100) == pytest.approx(11 / 20)
    assert recall.average_recall_of_size([image], "small") == pytest.approx(9 / 10)
    assert recall.average_recall_of_size([image], "medium") is None
    assert recall.mean_best_iou([image]) == pytest.approx(0.75)
    assert recall.mean_best_iou([image], size="large") == pytest.approx(0.60)


def test_nothing_found_is_zero_and_no_object_is_no_figure() -> None:
    image = recall.image_recall(np.zeros((0, 3)), [1.0, 2.0, 3.0])
    assert recall.average_recall([image], limit=10) == 0
    assert recall.mean_best_iou([image]) == 0
    assert recall.average_recall([], limit=10) is None
    assert recall.mean_best_iou([]) is None
