"""A recipe and data so small that whole runs take a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle_codec

VIT = {
    "width": 32,
    "depth": 2,
    "heads": 2,
    "global_blocks": [1],
    "window": 2,
    "embed_dim": 32,
    "mlp_dim": 64,
}


def recipe_text(**changes: Any) -> str:
    """TOML of a tiny recipe; keyword ``stage`` replaces the stages, others merge into sections."""
    recipe: dict[str, Any] = {
        "name": "tiny",
        "licence": "CC0-1.0",
        "model": {
            "encoder": "vit",
            "encoder_options": VIT,
            "decoder_options": {"embed_dim": 32, "heads": 2, "mlp_dim": 32},
            "image_size": 64,
        },
        "data": {"sources": [{"path": "photos"}], "masks": 2, "validation": 0.3},
        "optim": {"warmup": 2, "lr": 1e-3},
        "stage": [{"kind": "prompts", "steps": 6, "batch_size": 2, "clicks": 1}],
        "run": {"workers": 0, "eval_every": 100, "log_every": 1, "threads": 1, "seed": 3},
    }
    for section, values in changes.items():
        if isinstance(values, dict):
            recipe[section] = {**recipe.get(section, {}), **values}
        else:
            recipe[section] = values
    return "\n".join(f"{key} = {_toml(value)}" for key, value in recipe.items())


def _toml(value: Any) -> str:
    """A value in one line; JSON and TOML agree on strings, numbers, booleans and lists."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def write_photos(root: Path, *, count: int = 12) -> Path:
    """A COCO folder ``root/photos`` of bright ellipses on noise."""
    folder = root / "photos" / "images"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    document: dict[str, Any] = {"images": [], "annotations": []}
    for number in range(count):
        height, width = (48, 64) if number % 2 else (64, 56)
        pixels = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
        rows, columns = np.mgrid[:height, :width]
        for _ in range(2):
            y, x = rng.integers(14, height - 14), rng.integers(14, width - 14)
            mask = ((rows - y) ** 2 + (columns - x) ** 2 < rng.integers(5, 12) ** 2).astype(
                np.uint8
            )
            pixels[mask > 0] = rng.integers(150, 255, 3)
            encoded = rle_codec.encode(np.asfortranarray(mask))
            document["annotations"].append(
                {
                    "id": len(document["annotations"]) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [float(v) for v in rle_codec.toBbox(encoded)],
                    "area": int(mask.sum()),
                    "segmentation": {
                        "size": [height, width],
                        "counts": encoded["counts"].decode(),
                    },
                }
            )
        name = f"photo{number:02d}.png"
        document["images"].append(
            {"id": number, "file_name": name, "height": height, "width": width}
        )
        Image.fromarray(pixels).save(folder / name)
    (root / "photos" / "instances.json").write_text(json.dumps(document))
    return root
