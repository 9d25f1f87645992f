"""Small folders in COCO format whose objects are known exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle_codec

Shape = tuple[int, int, int, int]  # x, y, width, height

GROUND = (40, 90, 160)
OBJECT = (250, 220, 30)


def rectangle(size: tuple[int, int], shape: Shape) -> np.ndarray:
    """(H, W) uint8 mask of a rectangle."""
    mask = np.zeros(size, np.uint8)
    x, y, width, height = shape
    mask[y : y + height, x : x + width] = 1
    return mask


def compressed(mask: np.ndarray) -> dict[str, Any]:
    encoded = rle_codec.encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


@pytest.fixture
def make_coco(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder of pictures with yellow rectangles on blue; returns its root.

    Call it with a list of ``(height, width, [rectangle, ...])``; keyword ``edit`` may change the
    annotation document before it is written.
    """

    def make(
        pictures: list[tuple[int, int, list[Shape]]],
        *,
        name: str = "coco",
        edit: Callable[[dict[str, Any]], object] = lambda document: None,
    ) -> Path:
        root = tmp_path / name
        (root / "images").mkdir(parents=True)
        document: dict[str, Any] = {"images": [], "annotations": []}
        for number, (height, width, shapes) in enumerate(pictures, start=1):
            pixels = np.full((height, width, 3), GROUND, np.uint8)
            record = {"id": number, "file_name": f"{number}.png", "height": height, "width": width}
            document["images"].append(record)
            for shape in shapes:
                mask = rectangle((height, width), shape)
                pixels[mask > 0] = OBJECT
                document["annotations"].append(
                    {
                        "id": 100 + len(document["annotations"]),
                        "image_id": number,
                        "category_id": 1,
                        "iscrowd": 0,
                        "bbox": list(shape),
                        "area": int(mask.sum()),
                        "segmentation": compressed(mask),
                    }
                )
            Image.fromarray(pixels).save(root / "images" / f"{number}.png")
        edit(document)
        (root / "instances.json").write_text(json.dumps(document))
        return root

    return make
