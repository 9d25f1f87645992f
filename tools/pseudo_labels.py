r"""Masks that `samedge annotate` found and that stay the same when asked for otherwise, as labels.

    samedge annotate DATA/train/coco_other/images --auto --crop-layers 0 -o found
    python tools/pseudo_labels.py found/annotations.json DATA/train/coco_other/images \
        --labels DATA/train/coco_other/instances.json -o with-pseudo-labels.json

A mask is kept when the model draws it again from its box, from its box in the mirrored photo, and
from a click in its middle there, each time with an IoU of at least ``--agree``, and when it shows
something that no label and no better mask covers yet. The labels come first in the file, the kept
masks after them, their least agreement as ``score``: a recipe takes it as ``annotations``.
"""

from __future__ import annotations

import argparse
import collections
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samedge.files.writing import write_text
from samedge.formats.annotation_file import AnnotatedImage, Annotation, read_annotations
from samedge.pixels import metrics
from samedge.pixels.images import load_image
from samedge.pixels.rle import rle_from_mask
from samedge.pixels.segmentations import mask_from_segmentation
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import open_predictor
from samedge.types import Array, Prompt

COVERED = 0.5
"""Share of the smaller of two masks that both have: they show the same thing, or a part of it."""


class Rules(NamedTuple):
    """What a mask has to be.

    Attributes:
        agree: least IoU with itself, asked for otherwise.
        least_px: area.
        most_share: of the photo.
        most: masks kept of a photo.
    """

    agree: float = 0.85
    least_px: int = 256
    most_share: float = 0.5
    most: int = 6


class Kept(NamedTuple):
    """A mask that passed, and the least of its agreements."""

    mask: Array
    agreement: float


def agreements(
    predictor: Predictor, pixels: Array, masks: Sequence[Array], *, least: float
) -> list[float]:
    """Of every mask the least IoU with what the model draws when it is asked otherwise.

    A mask that falls below ``least`` is not asked about again.

    Args:
        predictor: the model.
        pixels: (H, W, 3) uint8 RGB.
        masks: (H, W) bool, none empty.
        least: what has to be reached.
    """
    found = [1.0] * len(masks)
    mirrored = [mask[:, ::-1] for mask in masks]
    asking = [(False, _box), (True, _box), (True, _click)]
    embedding = None
    for mirror, prompt_of in asking:
        left = [number for number, agreement in enumerate(found) if agreement >= least]
        if not left:
            break
        if embedding is None or mirror != embedding[0]:
            seen = np.ascontiguousarray(pixels[:, ::-1]) if mirror else pixels
            embedding = mirror, predictor.encode(seen)
        goals = [(mirrored if mirror else masks)[number] for number in left]
        answers = predictor.decode_batch(embedding[1], [prompt_of(goal) for goal in goals])
        for number, goal, answer in zip(left, goals, answers, strict=True):
            found[number] = min(found[number], metrics.mask_iou(goal, answer.masks[0]))
    return [float(value) for value in found]


def _box(mask: Array) -> Prompt:
    return Prompt(box=metrics.bounding_box(mask))


def _click(mask: Array) -> Prompt:
    center = metrics.center_point(mask)
    assert center is not None
    return Prompt(points=[center], labels=[1])


def kept_of(
    predictor: Predictor,
    pixels: Array,
    *,
    found: Sequence[Array],
    labels: Sequence[Array],
    rules: Rules,
) -> list[Kept]:
    """Masks of one photo that pass, the surest first.

    Args:
        predictor: the model that found them.
        pixels: (H, W, 3) uint8 RGB.
        found: (H, W) bool each.
        labels: masks that people drew.
        rules: what passes.
    """
    most = rules.most_share * pixels.shape[0] * pixels.shape[1]
    fitting = [m for m in found if rules.least_px <= m.sum() <= most]
    fitting = [m for m in fitting if not _covered(m, labels)]
    if not fitting:
        return []
    sure = [
        Kept(mask, agreement)
        for mask, agreement in zip(
            fitting, agreements(predictor, pixels, fitting, least=rules.agree), strict=True
        )
        if agreement >= rules.agree
    ]
    kept: list[Kept] = []
    for candidate in sorted(sure, key=lambda each: -each.agreement):
        if len(kept) < rules.most and not _covered(candidate.mask, [k.mask for k in kept]):
            kept.append(candidate)
    return kept


def _covered(mask: Array, others: Sequence[Array]) -> bool:
    return any((mask & other).sum() > COVERED * min(mask.sum(), other.sum()) for other in others)


def _drawn(annotations: Sequence[Annotation], image: AnnotatedImage) -> list[Array]:
    return [mask_from_segmentation(a.segmentation, image.size) > 0 for a in annotations]


def _labels_by_name(path: Path | None) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """A file of labels as it is, and its annotations by the name of their photo."""
    if path is None:
        return {"images": [], "annotations": []}, {}
    read_annotations(path)  # refuses what is malformed
    document = json.loads(path.read_text())
    names = {image["id"]: image["file_name"] for image in document["images"]}
    by_name = collections.defaultdict(list)
    for annotation in document["annotations"]:
        by_name[names[annotation["image_id"]]].append(annotation)
    return document, by_name


def _entry(kept: Kept, number: int, image: int) -> Mapping[str, Any]:
    box = metrics.bounding_box(kept.mask)
    assert box is not None
    x0, y0, x1, y1 = box
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "segmentation": rle_from_mask(kept.mask),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": int(kept.mask.sum()),
        "score": round(kept.agreement, 4),
    }


def main() -> None:
    """Check, write, and say how many passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("found", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--labels", type=Path, help="What people drew on the same photos.")
    parser.add_argument("--bundle", default="samedge-nano")
    parser.add_argument("--agree", type=float, default=Rules().agree)
    parser.add_argument("--most", type=int, default=Rules().most)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    rules = Rules(agree=arguments.agree, most=arguments.most)
    document, by_name = _labels_by_name(arguments.labels)
    numbers = {image["file_name"]: image["id"] for image in document["images"]}
    last_image = max(numbers.values(), default=0)
    last = max((a["id"] for a in document["annotations"]), default=0)
    looked_at = passed = 0
    predictor, _ = open_predictor(arguments.bundle)
    with predictor:
        for image, annotations in read_annotations(arguments.found):
            labels = [
                mask_from_segmentation(a["segmentation"], image.size) > 0
                for a in by_name.get(image.file_name, [])
            ]
            pixels = load_image(image.path_in(arguments.images))
            found = _drawn(annotations, image)
            kept = kept_of(predictor, pixels, found=found, labels=labels, rules=rules)
            if kept and image.file_name not in numbers:
                last_image += 1
                numbers[image.file_name] = last_image
                height, width = image.size
                document["images"].append(
                    {
                        "id": last_image,
                        "file_name": image.file_name,
                        "height": height,
                        "width": width,
                    }
                )
            for each in kept:
                last += 1
                document["annotations"].append(_entry(each, last, numbers[image.file_name]))
            looked_at, passed = looked_at + len(found), passed + len(kept)
    document.setdefault("categories", [{"id": 1, "name": "object"}])
    write_text(arguments.output, json.dumps(document))
    print(json.dumps({"found": looked_at, "kept": passed}))


if __name__ == "__main__":
    main()
