"""One COCO file of the photos that training holds out, for ``samedge eval``.

    python tools/held_out.py DATA -o held-out.json
    samedge eval --dataset held-out.json --images DATA/train --bundle samedge-nano

The split is that of ``pack_training.py``. What is chosen is chosen on these photos, and never on
``eval``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from pack_training import SOURCES, photos


class _Image(msgspec.Struct):
    id: int
    file_name: str
    height: int
    width: int


class _Annotation(msgspec.Struct):
    id: int
    image_id: int
    segmentation: dict[str, object]
    category_id: int = 1
    iscrowd: int = 0


def held_out(data: Path, sources: Sequence[str]) -> tuple[list[_Image], list[_Annotation]]:
    """Images, named relative to ``data/train``, and their masks, numbered from 1."""
    names = list(SOURCES)
    images: list[_Image] = []
    annotations: list[_Annotation] = []
    for photo in photos(data):
        if not photo.held_out or names[photo.source] not in sources:
            continue
        height, width = photo.masks[0]["size"]
        name = photo.path.relative_to(data / "train").as_posix()
        images.append(_Image(len(images) + 1, name, height, width))
        annotations += _numbered(photo.masks, first=len(annotations) + 1, image=len(images))
    return images, annotations


def _numbered(
    masks: Sequence[dict[str, object]], *, first: int, image: int
) -> Iterator[_Annotation]:
    for number, mask in enumerate(masks, first):
        yield _Annotation(number, image, mask)


def main() -> None:
    """Write the file and say how much is in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sources", nargs="+", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    images, annotations = held_out(arguments.data, arguments.sources)
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }
    arguments.output.write_bytes(msgspec.json.encode(document))
    print(json.dumps({"images": len(images), "annotations": len(annotations)}))


if __name__ == "__main__":
    main()
