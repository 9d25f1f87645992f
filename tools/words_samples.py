"""What the embedded model of words learns from: named objects, and regions of everything mode.

Shared by `train_words.py`, `refit_words.py` and the two scripts that choose thresholds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import numpy as np
import safetensors.torch
import torch

from samedge.models.words.head import WordHead
from samedge.models.words.vocabulary import COCO
from samedge.pixels import metrics
from samedge.pixels.images import load_image
from samedge.pixels.rle import mask_from_rle
from samedge.predict.words.crops import region_crops
from samedge.types import Array, Rle

NAMES = [name for name, _ in COCO]
ELSE = len(NAMES)
FOLDS = 4
COVERS, MISSES = 0.5, 0.2
"""IoU from which on a region shows an object, and below which it shows none."""

IMAGENET: Mapping[str, Sequence[int]] = {
    "person": [981, 982, 983],
    "bicycle": [444, 671],
    "car": [436, 468, 511, 609, 627, 656, 661, 751, 817],
    "motorcycle": [665, 670],
    "airplane": [404, 895],
    "bus": [654, 779, 874],
    "train": [466, 547, 565, 705, 820, 829],
    "truck": [555, 569, 675, 717, 734, 864, 867],
    "boat": [472, 484, 510, 554, 576, 625, 628, 814, 871, 914],
    "traffic light": [920],
    "stop sign": [919],
    "parking meter": [704],
    "bench": [703],
    "bird": [*range(7, 25), *range(80, 101), *range(127, 147)],
    "cat": [*range(281, 286)],
    "dog": [*range(151, 269)],
    "horse": [339],
    "sheep": [348, 349],
    "cow": [345, 346],
    "elephant": [101, 385, 386],
    "bear": [*range(294, 298)],
    "zebra": [340],
    "backpack": [414],
    "umbrella": [879],
    "handbag": [636, 748],
    "tie": [457, 906],
    "skis": [795],
    "sports ball": [429, 430, 574, 722, 768, 805, 852, 890],
    "tennis racket": [752],
    "bottle": [440, 720, 737, 898, 907],
    "wine glass": [572, 966],
    "cup": [504, 968],
    "knife": [499, 623],
    "spoon": [618, 910],
    "bowl": [659, 809],
    "banana": [954],
    "apple": [948],
    "sandwich": [933],
    "orange": [950],
    "broccoli": [937],
    "hot dog": [934],
    "pizza": [963],
    "donut": [931],
    "cake": [927],
    "chair": [423, 559, 765, 857],
    "couch": [831],
    "potted plant": [738],
    "bed": [564],
    "dining table": [532],
    "toilet": [861],
    "tv": [664, 782, 851],
    "laptop": [620, 681],
    "mouse": [673],
    "remote": [761],
    "keyboard": [508],
    "cell phone": [487],
    "microwave": [651],
    "oven": [827],
    "toaster": [859],
    "sink": [896],
    "refrigerator": [760],
    "book": [917, 921],
    "clock": [409, 530, 892],
    "vase": [883],
    "teddy bear": [850],
    "hair drier": [589],
}
"""ImageNet's classes, of 1,000, that are one of COCO's things."""


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """One photo and what is known of it.

    Attributes:
        key: its source and id.
        path: its file.
        objects: (name, run lengths) of every object; without a name where nobody gave it one.
        is_complete: whether every object is marked.
    """

    key: str
    path: Path
    objects: tuple[tuple[str, Rle], ...]
    is_complete: bool

    @property
    def order(self) -> int:
        """A number that shuffles photos the same way everywhere."""
        return int(hashlib.md5(self.key.encode(), usedforsecurity=False).hexdigest(), 16)


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Features of regions and what they show.

    Attributes:
        features: (N, C).
        labels: (N,) index of the word, ``ELSE`` for none of them, -1 for half an object.
        photos: (N,) index of the photo.
        regions: (N,) index of the proposed region; -1 for an object.
        folds: (N,) of the photo.
    """

    features: Array
    labels: Array
    photos: Array
    regions: Array
    folds: Array

    def where(self, chosen: Array) -> Samples:
        """Some of them."""
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Samples(*(array[chosen] for array in fields))


def say(text: str) -> None:
    """Report."""
    click.echo(text, err=True)


def read_photos(folder: Path) -> Iterator[Photo]:
    """Photos of `train/coco` and `train/coco_other` with their objects."""
    for source in ("coco", "coco_other"):
        document = json.loads((folder / source / "instances.json").read_text())
        names = json.loads((folder / source / "categories.json").read_text())
        objects: dict[int, list[tuple[str, Rle]]] = {}
        for entry in document["annotations"]:
            name = names.get(str(entry["id"]), "")
            objects.setdefault(entry["image_id"], []).append((name, entry["segmentation"]))
        for image in document["images"]:
            yield Photo(
                key=f"{source}/{image['id']}",
                path=folder / source / "images" / image["file_name"],
                objects=tuple(objects[image["id"]]),
                is_complete=image.get("fully_annotated", True),
            )


def proposals(
    photos: Sequence[Photo], bundle: str, *, points: int, path: Path
) -> dict[str, list[Rle]]:
    """What everything mode finds on photos; kept in a file."""
    if path.is_file():
        kept: dict[str, list[Rle]] = json.loads(path.read_text())
        return kept
    from samedge.predict.everything import EverythingConfig, segment_everything
    from samedge.predict.predictor import Predictor

    found = {}
    with Predictor.from_bundle(bundle) as predictor:
        config = EverythingConfig.for_bundle(predictor.manifest, points_per_side=points)
        for index, photo in enumerate(photos):
            masks = segment_everything(predictor, load_image(photo.path), config=config)
            found[photo.key] = [mask.rle for mask in masks]
            say(f"proposals {index + 1} of {len(photos)}: {len(masks)}")
    path.write_text(json.dumps(found))
    return found


def imagenet_rows(weights: Path) -> Array:
    """(81, 1280): what ImageNet's classifier looks for in each thing, less what is common.

    Things that ImageNet does not know, and everything else, start from nothing.
    """
    file = safetensors.torch.load_file(weights / "mobilenet_v2_imagenet.safetensors")
    classes = file["classifier.1.weight"].float().flatten(1).numpy()[1:]  # 0 is its background
    common = classes.mean(0)
    usual = float(np.linalg.norm(classes - common, axis=1).mean())
    rows = np.zeros((ELSE + 1, classes.shape[1]), np.float32)
    for name, indices in IMAGENET.items():
        row = classes[list(indices)].mean(0) - common
        # The mean of 118 dogs is short; a thing's row is as long as a class's.
        rows[NAMES.index(name)] = row * (usual / np.linalg.norm(row))
    return rows


def features(
    head: WordHead, photos: Sequence[Photo], regions: Mapping[str, Sequence[Rle]], *, path: Path
) -> Samples:
    """Features of every named object and of every proposed region.

    Regions have the label of what they cover, or ``ELSE``, or -1 in between.
    """
    if path.is_file():
        with np.load(path) as file:
            arrays = [file[field.name] for field in dataclasses.fields(Samples)]
        return Samples(arrays[0].astype(np.float32), *arrays[1:])
    parts: list[Samples] = []
    for index, photo in enumerate(photos):
        masks = [(name, mask_from_rle(dict(run))) for name, run in photo.objects]
        named = [(NAMES.index(name), mask, -1) for name, mask in masks if name]
        named += labelled(masks, regions.get(photo.key, ()))
        if named:
            labels, shown, places = (np.array(part) for part in zip(*named, strict=True))
            embedded = _embedded(head, load_image(photo.path), shown)
            where = np.full(len(labels), index), places, np.full(len(labels), photo.order % FOLDS)
            parts.append(Samples(embedded, labels, *where))
        if index % 100 == 0:
            say(f"features {index} of {len(photos)}")
    names = [field.name for field in dataclasses.fields(Samples)]
    arrays = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
    arrays[0] = arrays[0].astype(np.float16)
    np.savez(path, **dict(zip(names, arrays, strict=True)))
    return Samples(arrays[0].astype(np.float32), *arrays[1:])


def labelled(
    masks: Sequence[tuple[str, Array]], runs: Sequence[Rle]
) -> Iterator[tuple[int, Array, int]]:
    """Of every region the label of what it covers, ``ELSE`` or -1, its mask and its place."""
    for index, run in enumerate(runs):
        region = mask_from_rle(dict(run))
        ious = [metrics.mask_iou(mask, region) for _, mask in masks]
        best = int(np.argmax(ious)) if ious else 0
        label = -1
        if ious and ious[best] >= COVERS and masks[best][0]:
            label = NAMES.index(masks[best][0])
        elif not ious or ious[best] < MISSES:
            label = ELSE
        yield label, region, index


def _embedded(head: WordHead, image: Array, masks: Array) -> Array:
    """(N, C) of regions."""
    crops = torch.from_numpy(region_crops(image, masks, record=head.rules, side=head.side))
    with torch.inference_mode():
        return torch.cat(
            [head.embed_regions(part)[:, :-1] for part in torch.split(crops, 32)]
        ).numpy()
