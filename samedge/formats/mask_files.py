"""Results as files: a mask picture, an overlay, COCO annotations, NumPy arrays; and as records.

Files are written under a temporary name and renamed, so that a reader never sees half of one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from samedge.errors import ImageError, UnknownNameError
from samedge.files.writing import replacing, write_text
from samedge.pixels.overlay import draw_masks
from samedge.pixels.rle import rle_from_mask
from samedge.types import Masks, Prompt, Size

Array = npt.NDArray[Any]

SUFFIXES = {"png": ".png", "overlay": ".png", "coco": ".json", "npz": ".npz"}
"""The formats and the suffix that each is written with when no file name is given."""

_FORMATS = {".json": "coco", ".npz": "npz", ".jpg": "overlay", ".jpeg": "overlay"}
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_ENDINGS = {"png": (".png",), "overlay": _PICTURES, "coco": (".json",), "npz": (".npz",)}


def format_from_path(path: Path) -> str:
    """Format that a file name asks for: ``.json`` COCO, ``.npz``, ``.jpg`` an overlay; else png."""
    return _FORMATS.get(path.suffix.lower(), "png")


def check_ending(path: Path, file_format: str) -> None:
    """Whether a file's ending fits what is written into it, asked before there is any work.

    Raises:
        ImageError: it does not.
        UnknownNameError: there is no such format.
    """
    if file_format not in _ENDINGS:
        raise UnknownNameError("format", file_format, SUFFIXES)
    if path.suffix.lower() not in _ENDINGS[file_format]:
        fitting = [name for name, endings in _ENDINGS.items() if path.suffix.lower() in endings]
        other = f", or name --format {fitting[0]}" if fitting else ""
        raise ImageError(
            f"{path} cannot be written: {file_format} results go to "
            f"{', '.join(_ENDINGS[file_format])}. Change the file's ending{other}."
        )


def mask_records(prompts: Sequence[Prompt], results: Sequence[Masks]) -> list[dict[str, Any]]:
    """One record a mask: prompt, run lengths, box, area and the model's estimates.

    Args:
        prompts: what was asked.
        results: what came back, one entry a prompt.
    """
    return [
        {
            "prompt": _prompt_record(prompt, index),
            **_shape_record(result.masks[row]),
            "predicted_iou": _number(result.iou_predictions[row]),
            "stability_score": _number(result.stability_scores[row]),
        }
        for index, (prompt, result) in enumerate(zip(prompts, results, strict=True))
        for row in range(len(result.masks))
    ]


def _number(value: Any) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _prompt_record(prompt: Prompt, index: int) -> dict[str, Any]:
    return {
        "index": index,
        "points": prompt.points.tolist(),
        "labels": prompt.labels.tolist(),
        "box_xyxy": None if prompt.box is None else prompt.box.tolist(),
        "mask": prompt.mask is not None,
    }


def _shape_record(mask: Array) -> dict[str, Any]:
    """Run lengths, box ``[x, y, width, height]`` and area of a mask; an empty one has no box."""
    area = int(np.count_nonzero(mask))
    box = None
    if area:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        extent = columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1
        box = [int(value) for value in extent]
    return {"rle": rle_from_mask(mask), "bbox": box, "area": area}


def coco_document(images: Sequence[tuple[str, Size, Sequence[dict[str, Any]]]]) -> dict[str, Any]:
    """COCO's instances format, which annotation tools and pycocotools read.

    Args:
        images: file name, (height, width) and mask records of each.
    """
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (name, (height, width), records) in enumerate(images, start=1):
        entries.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for record in records:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "iscrowd": 0,
                    "segmentation": record["rle"],
                    "bbox": record["bbox"] or [0, 0, 0, 0],
                    "area": record["area"],
                    "score": record["predicted_iou"],
                }
            )
    return {
        "images": entries,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }


def write_masks(
    path: Path,
    *,
    file_format: str,
    image: Array,
    prompts: Sequence[Prompt],
    results: Sequence[Masks],
) -> list[Path]:
    """Write the masks of one image as ``png``, ``overlay`` or ``npz``.

    ``png`` is one grey picture a mask, 255 inside; with more than one mask the files are numbered.

    Returns:
        The files that were written.

    Raises:
        UnknownNameError: another format.
    """
    masks = np.concatenate([result.masks for result in results])
    if file_format == "overlay":
        return [save_picture(path, draw_masks(image, masks, prompts=prompts))]
    if file_format == "npz":
        return [_save_arrays(path, masks, results)]
    check_ending(path, file_format)
    if len(masks) == 1:
        return [save_picture(path, masks[0].astype(np.uint8) * 255)]
    return [
        save_picture(path.with_stem(f"{path.stem}_{index}"), mask.astype(np.uint8) * 255)
        for index, mask in enumerate(masks)
    ]


def write_json(path: Path, document: dict[str, Any]) -> Path:
    """Write a JSON file in one step."""
    return write_text(path, json.dumps(document) + "\n")


def save_picture(path: Path, pixels: Array) -> Path:
    """Write an (H, W) or (H, W, 3) uint8 picture in one step.

    Raises:
        ImageError: the file's ending is no format for it.
    """
    check_ending(path, "png" if pixels.ndim == 2 else "overlay")
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary)
    return path


def _save_arrays(path: Path, masks: Array, results: Sequence[Masks]) -> Path:
    counts = [len(result.masks) for result in results]
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            masks=masks,
            prompt=np.repeat(np.arange(len(results)), counts),
            iou_predictions=np.concatenate([result.iou_predictions for result in results]),
            stability_scores=np.concatenate([result.stability_scores for result in results]),
            low_res_logits=np.concatenate([result.low_res_logits for result in results]),
        )
    return path
