"""Pictures of the best, the median and the worst masks, side by side across subjects."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from samedge.errors import SamedgeError
from samedge.pixels import metrics
from samedge.pixels.orientation import load_in_frame
from samedge.pixels.overlay import draw_masks
from samedge.pixels.rle import mask_from_rle
from samedge.records import EvalRecord, Example, ExampleMask, Subject
from samedge.report.overview import Overview, dataset_key
from samedge.types import Array

_SIDE = 300
_SMALLEST_CROP = 96
_MARGIN = 0.35
_GREY = 128


@dataclasses.dataclass(frozen=True)
class Picture:
    """One mask of an example.

    Attributes:
        label: the subject, or "ground truth".
        iou: of the mask; ``None`` for the ground truth.
        uri: the picture as a ``data:`` address.
    """

    label: str
    iou: float | None
    uri: str


@dataclasses.dataclass(frozen=True)
class ExampleRow:
    """One instance, as the ground truth has it and as every subject segmented it."""

    title: str
    pictures: tuple[Picture, ...]


def example_rows(overview: Overview, *, photos: bool) -> list[ExampleRow]:
    """Draw the examples of every evaluation, with the other evaluations' masks beside them.

    An evaluation made elsewhere has a mask of the same instance where it is one of its examples,
    or where it was recorded with ``--instances``.

    Args:
        overview: what the report shows.
        photos: draw on the photographs, where they still lie where they were evaluated.
    """
    others = _all_masks(overview)
    several = len(overview.evaluations) > 1
    drawn = []
    for source, record in overview.evaluations:
        for example in record.examples:
            masks = _joined(example.masks, others.get(_key(record, example), ()))
            row = _row(overview, record, example, masks, photos=photos)
            title = f"{row.title} ({source})" if several else row.title
            drawn.append(dataclasses.replace(row, title=title))
    return drawn


Key = tuple[object, ...]


def _key(record: EvalRecord, example: Example) -> Key:
    """The same instance under the same prompts, whoever segmented it."""
    return dataset_key(record.dataset), example.prompt, example.image, example.annotation_id


def _all_masks(overview: Overview) -> dict[Key, list[ExampleMask]]:
    found: dict[Key, list[ExampleMask]] = {}
    for _, record in overview.evaluations:
        for example in record.examples:
            found.setdefault(_key(record, example), []).extend(example.masks)
        for one in record.instances or ():
            key = dataset_key(record.dataset), one.prompt, one.image, one.annotation_id
            mask = ExampleMask(
                bundle=one.bundle, backend=one.backend, device=one.device, iou=one.iou, rle=one.rle
            )
            found.setdefault(key, []).append(mask)
    return found


def _joined(own: Sequence[ExampleMask], others: Sequence[ExampleMask]) -> list[ExampleMask]:
    """One mask a subject, its own record's first."""
    found: dict[tuple[str, str, str | None], ExampleMask] = {}
    for mask in (*own, *others):
        found.setdefault((mask.bundle, mask.backend, mask.device), mask)
    return list(found.values())


def _row(
    overview: Overview,
    record: EvalRecord,
    example: Example,
    found: Sequence[ExampleMask],
    *,
    photos: bool,
) -> ExampleRow:
    truth = mask_from_rle(example.truth)
    image = _photo(record, example, truth.shape) if photos else None
    if image is None or image.shape[:2] != truth.shape:
        image = np.full((*truth.shape, 3), _GREY, np.uint8)
    window = _window(truth)
    labels = [
        overview.name(Subject(bundle=m.bundle, backend=m.backend, device=m.device)) for m in found
    ]
    pictures = [Picture("ground truth", None, _draw(image, truth, window))]
    pictures += [
        Picture(label, mask.iou, _draw(image, mask_from_rle(mask.rle), window))
        for label, mask in zip(labels, found, strict=True)
    ]
    title = f"{example.rank.capitalize()} of {example.prompt}: {Path(example.image).name}"
    return ExampleRow(title, tuple(pictures))


def _photo(record: EvalRecord, example: Example, shape: tuple[int, ...]) -> Array | None:
    """The evaluated photograph the way up it was, or ``None`` where it is not at hand."""
    path = Path(record.dataset.images_dir or "") / example.image
    try:
        return load_in_frame(path, (shape[0], shape[1]), frame=example.frame)
    except (OSError, SamedgeError):
        return None


def _window(truth: Array) -> tuple[slice, slice]:
    """A square around the object with some of its surroundings, inside of the image."""
    x0, y0, x1, y1 = metrics.bounding_box(truth) or (0, 0, truth.shape[1], truth.shape[0])
    side = int(max((x1 - x0) * (1 + 2 * _MARGIN), (y1 - y0) * (1 + 2 * _MARGIN), _SMALLEST_CROP))
    rows, columns = (
        _span((low + high) // 2, side, length)
        for low, high, length in ((y0, y1, truth.shape[0]), (x0, x1, truth.shape[1]))
    )
    return rows, columns


def _span(center: int, side: int, length: int) -> slice:
    side = min(side, length)
    start = min(max(center - side // 2, 0), length - side)
    return slice(start, start + side)


def _draw(image: Array, mask: Array, window: tuple[slice, slice]) -> str:
    cut, inside = image[window], mask[window]
    scale = _SIDE / max(cut.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in (cut.shape[1], cut.shape[0]))
    photo = Image.fromarray(cut).resize((size[0], size[1]), Image.Resampling.BICUBIC)
    shape = Image.fromarray(inside).resize((size[0], size[1]), Image.Resampling.NEAREST)
    drawn = draw_masks(np.asarray(photo), np.asarray(shape, bool)[None])
    stream = io.BytesIO()
    Image.fromarray(drawn).save(stream, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
