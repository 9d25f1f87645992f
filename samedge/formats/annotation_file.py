"""COCO's annotation files, read strictly: one check of types, ids and uniqueness for everybody.

Evaluation, calibration and training read ground truth, where a silent mistake becomes a wrong
figure: a duplicate image counts its objects twice, a crowd flag in quotes drops an object. So a
file with a wrong type or a duplicate id is refused, and the message names the entry. What is
well-formed and cannot be used (a polygon of two points, a box outside of its image) is left out,
counted by reason, and does not end a run.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from samedge.errors import DatasetError
from samedge.files import limits
from samedge.files.reading import read_bytes
from samedge.types import Size

_NAMED_IDS = 5
_SHOWN = 60
Corners = tuple[float, float, float, float]
_Id = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]
_Side = Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)]

logger = logging.getLogger(__name__)


class AnnotatedImage(msgspec.Struct, frozen=True):
    """One image of a file.

    Attributes:
        frame: which way up its masks are, where samedge wrote the file.
    """

    id: _Id
    file_name: str
    height: _Side
    width: _Side
    frame: str | None = None

    @property
    def size(self) -> Size:
        """``(height, width)`` px."""
        return self.height, self.width

    def path_in(self, folder: Path) -> Path:
        """Its file; a name of Windows' has backslashes between folders."""
        path = folder / self.file_name
        other = folder / self.file_name.replace("\\", "/")
        return other if other.is_file() and not path.is_file() else path


class Annotation(msgspec.Struct, frozen=True):
    """One object of an image.

    Attributes:
        segmentation: polygons or run lengths; :mod:`samedge.pixels.segmentations` draws them.
            ``None`` of a box alone.
        bbox: ``(x, y, width, height)`` px.
        area: square px.
        score: another program's, or samedge's predicted IoU.
        stability_score: of samedge's masks.
        word_score: how sure a model of words is of the category.
    """

    id: _Id
    image_id: _Id
    segmentation: Any = None
    bbox: tuple[float, float, float, float] | None = None
    area: float | None = None
    iscrowd: bool | int | None = None
    category_id: int | None = None
    score: float | None = None
    stability_score: float | None = None
    word_score: float | None = None

    @property
    def corners(self) -> Corners | None:
        """``(x0, y0, x1, y1)`` px of its box; ``None`` where it has none with an inside."""
        if self.bbox is None or not all(map(math.isfinite, self.bbox)) or min(self.bbox[2:]) <= 0:
            return None
        x, y, width, height = self.bbox
        return x, y, x + width, y + height


class _Category(msgspec.Struct, frozen=True):
    id: _Id
    name: str


Entry = TypeVar("Entry", AnnotatedImage, Annotation, _Category)


@dataclasses.dataclass(frozen=True, eq=False)
class AnnotationFile:
    """A checked annotation file.

    Attributes:
        path: the file.
        images: in its order; no id is there twice.
        by_image: the annotations of each image that has some, by its id, in the file's order.
        categories: names by id.
        description: what the file says of itself.
    """

    path: Path
    images: list[AnnotatedImage]
    by_image: dict[int, list[Annotation]]
    categories: dict[int, str] = dataclasses.field(default_factory=dict)
    description: str | None = None

    def __iter__(self) -> Iterator[tuple[AnnotatedImage, list[Annotation]]]:
        """Every image with its annotations."""
        return ((image, self.by_image.get(image.id, [])) for image in self.images)


class LeftOut:
    """Annotations that are not used, by reason.

    Attributes:
        counts: how many, by reason.
        first_ids: ids of the first few, by reason.
    """

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.first_ids: dict[str, list[int]] = {}

    def add(self, reason: str, annotation: Annotation) -> None:
        """Count one."""
        self.counts[reason] += 1
        ids = self.first_ids.setdefault(reason, [])
        if len(ids) < _NAMED_IDS:
            ids.append(annotation.id)

    def __str__(self) -> str:
        return "; ".join(
            f"{count} with {reason} (annotation {', '.join(map(str, self.first_ids[reason]))}"
            f"{', ...' if count > _NAMED_IDS else ''})"
            for reason, count in self.counts.items()
        )

    def say(self, path: Path) -> None:
        """Log what was left out, where there is something that nobody wanted."""
        if set(self.counts) - {CROWD}:
            logger.warning("%s: left out %s.", path, self)


CROWD = "iscrowd"


def read_annotations(path: Path) -> AnnotationFile:
    """Read and check a file in COCO's instances format.

    Raises:
        DatasetError: missing, not JSON, not COCO's format, a field of a wrong type, an id that is
            there twice, or an annotation of no image; names the file and the entry.
    """
    images = _entries(path, document := _document(path), "images", AnnotatedImage)
    annotations = _entries(path, document, "annotations", Annotation)
    _check_unique(path, "image", images)
    _check_unique(path, "annotation", annotations)
    for image in images:
        _check_image(path, image)
    by_image: dict[int, list[Annotation]] = {}
    known = {image.id for image in images}
    for annotation in annotations:
        _check_annotation(path, annotation, known)
        by_image.setdefault(annotation.image_id, []).append(annotation)
    named = _entries(path, {"categories": [], **document}, "categories", _Category)
    _check_unique(path, "category", list(dict.fromkeys(named)))
    names = {entry.id: entry.name for entry in named}
    about = document.get("info")
    described = about.get("description") if isinstance(about, dict) else None
    return AnnotationFile(path, images, by_image, names, described)


def _document(path: Path) -> dict[str, Any]:
    data = read_bytes(
        path, limit="annotation_bytes", expected="an annotation file", error=DatasetError
    )
    try:
        # Not msgspec's decoder: tools write NaN, which then is one annotation's fault.
        document: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON ({error}): fetch or save it again.") from error
    for key in ("images", "annotations", "categories"):
        empty: list[Any] | None = [] if key == "categories" else None  # many tools write none
        if isinstance(document, dict) and document.get(key, empty) is None and empty is not None:
            document[key] = empty
        if not isinstance(document, dict) or not isinstance(document.get(key, empty), list):
            raise DatasetError(f"{path} has no list {key!r}: expected COCO's instances format.")
    checked: dict[str, Any] = document
    return checked


def _entries(path: Path, document: dict[str, Any], key: str, kind: type[Entry]) -> list[Entry]:
    found = []
    entry: Any = None
    try:
        for entry in document[key]:
            found.append(msgspec.convert(entry, kind))
    except (ValueError, RecursionError) as error:  # msgspec's, and lone surrogates where text is
        number = entry.get("id") if isinstance(entry, dict) else None
        one = {"categories": "category"}.get(key, key[:-1])
        name = f"{one} {number!r:.{_SHOWN}}" if number is not None else f"{key}[{len(found)}]"
        raise DatasetError(
            f"{path}: {name} {_problem(entry, str(error))}: mend the file, or export it again."
        ) from error
    return found


def _problem(entry: Any, message: str) -> str:
    """What is wrong with an entry, from msgspec's words."""
    what, _, place = message.partition(" - at `$.")
    field = place.rstrip("`").partition("[")[0]
    if isinstance(entry, dict) and field in entry:
        return f"has {field} {entry[field]!r:.{_SHOWN}}: {what[:1].lower()}{what[1:]}"
    _, lacks, missing = message.partition("missing required field `")
    if lacks:
        return f"has no {missing[:-1]!r}"
    return f"is {entry!r:.{_SHOWN}}: {what[:1].lower()}{what[1:]}"


def _check_unique(path: Path, kind: str, entries: list[Entry]) -> None:
    counts = collections.Counter(entry.id for entry in entries)
    twice = [number for number, count in counts.items() if count > 1]
    if twice:
        raise DatasetError(
            f"{path}: {len(twice)} {kind} ids are there more than once (first {kind} {twice[0]}), "
            "so nobody can tell what belongs to which: give every one an id of its own."
        )


def _check_image(path: Path, image: AnnotatedImage) -> None:
    if not image.file_name or "\0" in image.file_name:
        raise DatasetError(
            f"{path}: image {image.id} has file_name {image.file_name!r:.60}, expected "
            "the image's file: mend the file, or export it again."
        )
    what = f"{path}: image {image.id}"
    limits.check(image.height * image.width, "image_pixels", what=what, error=DatasetError)


def _check_annotation(path: Path, annotation: Annotation, known: set[int]) -> None:
    if annotation.image_id not in known:
        raise DatasetError(
            f"{path}: annotation {annotation.id} names no image: it belongs to image "
            f"{annotation.image_id}, which is not in `images`: remove the annotation, or put the "
            "image back."
        )
    if annotation.iscrowd not in (None, 0, 1):
        raise DatasetError(
            f"{path}: annotation {annotation.id} has iscrowd {annotation.iscrowd}, expected 0 or "
            "1: mend the file, or export it again."
        )
