"""NumPy arrays: ``masks`` (M, H, W) bool with what the model says of each."""

from __future__ import annotations

import functools
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import UNSET

from samedge.errors import DatasetError
from samedge.files import limits
from samedge.files.writing import replacing
from samedge.formats import reading
from samedge.formats.base import Entry, ImageFormat, Writer
from samedge.formats.masks import ImageMasks, MaskRecord, record_from_mask
from samedge.types import Array


class _Npz(ImageFormat):
    summary = "NumPy arrays of one image"
    endings = (".npz",)
    tail = "_npz"
    chosen_by = (".npz",)
    keeps = frozenset(
        {"holes", "parts", "overlaps", "categories", "predicted_iou", "stability"}
        | {"empty_images", "folders", "endings"}
    )

    def write_image(self, path: Path, image: ImageMasks, *, writer: Writer) -> list[Path]:
        arrays = {
            "masks": image.stacked(),
            "prompt": np.array([_prompt_index(record) for record in image.masks], np.int64),
            "iou_predictions": _column([record.predicted_iou for record in image.masks]),
            "stability_scores": _column([record.stability_score for record in image.masks]),
            "categories": np.array([record.category_name for record in image.masks], np.str_),
            "image": np.array(image.name.encode("utf-8", "backslashreplace").decode()),
        }
        if image.low_res_logits is not None:
            arrays["low_res_logits"] = image.low_res_logits
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)
        return [path]

    def entries(
        self, path: Path, *, images: Path | None, left_out: Counter[str]
    ) -> Iterator[Entry]:
        for file in sorted(path.rglob("*.npz")) if path.is_dir() else [path]:
            yield Entry(str(file), functools.partial(_read, file, images, left_out))

    def recognises(self, path: Path) -> bool:
        return path.suffix.lower() == ".npz" and path.is_file()


def _read(file: Path, images: Path | None, left_out: Counter[str]) -> ImageMasks:
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        limits.check(unpacked, "annotation_bytes", what=f"{file}, unpacked,", error=DatasetError)
        with np.load(file, allow_pickle=False) as arrays:
            return _image(file, arrays, images, left_out)
    except DatasetError:
        raise
    except Exception as error:  # zipfile and NumPy meeting broken bytes raise what they like
        raise DatasetError(
            f"{file} is no archive of NumPy arrays ({error}): expected what "
            "`samedge segment --format npz` writes."
        ) from error


def _prompt_index(record: MaskRecord) -> int:
    return record.prompt.index if record.prompt is not UNSET else -1


def _column(values: list[float | None]) -> Array:
    return np.array([np.nan if value is None else value for value in values], np.float32)


def _image(file: Path, arrays: Any, images: Path | None, left_out: Counter[str]) -> ImageMasks:
    masks = arrays["masks"] if "masks" in arrays.files else None
    if masks is None or masks.ndim != 3 or masks.dtype != np.bool_:
        raise DatasetError(f"{file} has no array `masks` (M, H, W) of bool: name another file.")
    count, height, width = masks.shape
    size = reading.checked_size(height, width, where=f"{file}: a mask")
    iou, stability = (
        arrays[name] if name in arrays.files else np.full(count, np.nan, np.float32)
        for name in ("iou_predictions", "stability_scores")
    )
    names = arrays["categories"] if "categories" in arrays.files else None
    if len(iou) != count or len(stability) != count or (names is not None and len(names) != count):
        raise DatasetError(f"{file} has arrays of different lengths: write it again.")
    records = tuple(
        record_from_mask(
            masks[row],
            predicted_iou=float(iou[row]),
            stability_score=float(stability[row]),
            category=UNSET if names is None else str(names[row]),
        )
        for row in range(count)
        if masks[row].any()
    )
    left_out["empty masks"] += count - len(records)
    name = f"{file.stem}.png"
    if "image" in arrays.files:
        name = reading.image_name(str(arrays["image"]), images, file=file)
    return ImageMasks(name, size, records, frame=None)


FORMAT = _Npz()
