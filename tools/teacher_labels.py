r"""Labels drawn again by a model with its second look, from their boxes: a teacher's masks.

    python tools/teacher_labels.py DATA/train/coco/instances.json DATA/train/coco/images \
        -o focus-coco.json

Every mask of a COCO file is replaced by what the model answers to its box, unless the two agree by
less than ``--agree`` (IoU): then the model means something else, and the label stays. A recipe
takes the file as ``annotations``. Crowds and masks that cannot be drawn stay as they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from samedge.files.writing import write_text
from samedge.formats.annotation_file import Annotation, read_annotations
from samedge.pixels import metrics
from samedge.pixels.images import load_image
from samedge.pixels.rle import rle_from_mask
from samedge.pixels.segmentations import UndrawableError, mask_from_segmentation
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import open_predictor
from samedge.types import Array, Prompt


class Redrawn(NamedTuple):
    """What the model made of a label, and how much of it that is (IoU)."""

    mask: Array
    agreement: float


def redrawn(predictor: Predictor, pixels: Array, labels: Sequence[Array]) -> list[Redrawn]:
    """The model's own masks for the boxes of labels.

    Args:
        predictor: the teacher.
        pixels: (H, W, 3) uint8 RGB.
        labels: (H, W) bool, none empty.
    """
    prompts = [Prompt(box=metrics.bounding_box(label)) for label in labels]
    answers = predictor.decode_batch(predictor.encode(pixels), prompts)
    masks = [answer.masks[0] for answer in answers]
    return [
        Redrawn(mask, metrics.mask_iou(label, mask))
        for label, mask in zip(labels, masks, strict=True)
    ]


def drawable(annotations: Sequence[Annotation], size: tuple[int, int]) -> dict[int, Array]:
    """The masks by their annotations' numbers; crowds, broken and empty ones left out."""
    found = {}
    for annotation in annotations:
        try:
            mask = mask_from_segmentation(annotation.segmentation, size) > 0
        except UndrawableError:
            continue
        if mask.any() and not annotation.iscrowd:
            found[annotation.id] = mask
    return found


def replace(annotation: dict[str, Any], mask: Array) -> None:
    """Give an annotation of a COCO document another mask."""
    box = metrics.bounding_box(mask)
    assert box is not None
    x0, y0, x1, y1 = box
    annotation["segmentation"] = rle_from_mask(mask)
    annotation["bbox"] = [x0, y0, x1 - x0, y1 - y0]
    annotation["area"] = int(mask.sum())


def main() -> None:
    """Draw, write, and say how many agreed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--bundle", default="samedge-nano")
    parser.add_argument("--focus", default="auto", choices=("auto", "never", "always"))
    parser.add_argument("--agree", type=float, default=0.5)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    file = read_annotations(arguments.labels)
    document = json.loads(arguments.labels.read_text())
    by_number = {annotation["id"]: annotation for annotation in document["annotations"]}
    agreements: list[float] = []
    predictor, _ = open_predictor(arguments.bundle, focus=arguments.focus)
    with predictor:
        for image, annotations in file:
            labels = drawable(annotations, image.size)
            if not labels:
                continue
            pixels = load_image(image.path_in(arguments.images))
            answers = redrawn(predictor, pixels, list(labels.values()))
            for number, answer in zip(labels, answers, strict=True):
                agreements.append(answer.agreement)
                if answer.agreement >= arguments.agree:
                    replace(by_number[number], answer.mask)
    write_text(arguments.output, json.dumps(document))
    replaced = sum(agreement >= arguments.agree for agreement in agreements)
    mean = sum(agreements) / max(len(agreements), 1)
    print(json.dumps({"masks": len(agreements), "replaced": replaced, "mean_iou": round(mean, 4)}))


if __name__ == "__main__":
    main()
