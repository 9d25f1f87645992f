"""The images that a model is calibrated on, as the runtime itself would feed them to its graphs.

A calibration set is a folder of images, a COCO file with its images, or, by default, the photos
that come with samedge. The sample is the same in every run. Preprocessing is the runtime's own
(:mod:`samedge.pixels.frames`, :mod:`samedge.pixels.prompts`); there is no second copy of it here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from samedge.bundle.canary import Graphs
from samedge.bundle.manifest import file_hash
from samedge.errors import CalibrationError, SamedgeError
from samedge.evaluation.ground_truth import GroundTruth, load_ground_truth
from samedge.files.reading import read_bytes
from samedge.formats.reading import image_name
from samedge.pixels.folder_listing import Listing, SkippedFiles, pictures_listed
from samedge.pixels.frames import Frame
from samedge.pixels.image_files import IMAGE_SUFFIXES, PHOTOS
from samedge.pixels.images import load_image
from samedge.pixels.prompts import Bucket, feeds_of
from samedge.types import IMAGE, Array, Prompt, Role, Size

Feeds = dict[str, Array]
"""One array for every input of a graph."""

TRUTH_NAME = "instances.json"
MIN_IMAGES = 2
FEW_IMAGES = 16
"""Below this many images, quarters of each are looked at as well, which shows more scales."""

_THUMBNAIL = 16
_NAMED = 8
_SAME = 2.0  # mean difference of two thumbnails, of 255, below which the images count as one

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CalibrationSet:
    """A fixed sample of images.

    Attributes:
        source: what was given: a folder or a COCO file.
        images: the sampled files.
        truth: the COCO file that describes them; ``None`` where there is none.
        images_dir: folder that the COCO file's names are relative to.
        skipped: what else was found, or missed, by reason.
    """

    source: Path
    images: tuple[Path, ...]
    truth: Path | None = None
    images_dir: Path | None = None
    skipped: tuple[SkippedFiles, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Short hash over what the files hold: tells whether a cached figure still holds."""
        described = () if self.truth is None else (self.truth,)
        facts = [(path.name, file_hash(path)) for path in (*self.images, *described)]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]

    def photos(self) -> Iterator[Array]:
        """(H, W, 3) uint8 RGB of every image."""
        for path in self.images:
            yield load_image(path)

    def pictures(self) -> Iterator[Array]:
        """(H, W, 3) uint8 RGB of every image; of few images their quarters too."""
        for picture in self.photos():
            yield picture
            if len(self.images) < FEW_IMAGES:
                yield from _quarters(picture)

    def encoder_feeds(self, frame: Frame) -> Iterator[Feeds]:
        """Feeds of an encoder whose input is made by ``frame``."""
        for picture in self.pictures():
            yield {IMAGE: frame.view_of(picture).encoder_input(picture)}

    def decoder_feeds(
        self, frame: Frame, encoder: Graphs, *, bucket: Bucket | None = None
    ) -> Iterator[Feeds]:
        """Feeds of a decoder: boxes, clicks, both, and earlier masks about every image.

        Args:
            frame: how images get into the encoder.
            encoder: gives the embeddings.
            bucket: fixed shapes of the decoder, where it has them.
        """
        for index, picture in enumerate(self.pictures()):
            view = frame.view_of(picture)
            tensors = encoder.run(Role.ENCODER, {IMAGE: view.encoder_input(picture)})
            for prompt in generated_prompts(view.original_size, frame.low_res_side, seed=index):
                yield {**tensors, **feeds_of([prompt], view, bucket=bucket)}

    def ground_truth(self, *, limit: int | None = None) -> GroundTruth | None:
        """The annotations of the COCO file, ``None`` where there is none.

        Args:
            limit: the first so many images; ``None`` takes all, sampled or not.

        Raises:
            DatasetError: the file cannot be read.
            BackendUnavailableError: pycocotools is not installed.
        """
        if self.truth is None or self.images_dir is None:
            return None
        return load_ground_truth(self.truth, self.images_dir, limit=limit)


def load_calibration(
    source: str | Path | None = None, *, limit: int = 32, seed: int = 0
) -> CalibrationSet:
    """Choose the images to calibrate on.

    Args:
        source: a folder of images, with or without an ``instances.json``; a COCO file, of whose
            images alone the sample is taken; or ``None`` for the photos that come with samedge.
        limit: at most so many images.
        seed: of the sample; the same seed gives the same images on every machine.

    Raises:
        CalibrationError: no such folder, no or too few readable images, or all alike.
    """
    path = PHOTOS if source is None else Path(source)
    truth, folder = _locate(path)
    if path.is_file():
        listing = _named_by(path, folder)
    else:
        listing = pictures_listed(folder, passed_over=lambda found: found == truth)
    found = listing.pictures
    if len(found) < MIN_IMAGES:
        raise CalibrationError(
            f"{path} holds {len(found)} images ({', '.join(IMAGE_SUFFIXES)}), expected at least "
            f"{MIN_IMAGES} and better some dozens: give a folder of photos like those that the "
            f"device will see.{listing.instead()}"
        )
    if source is not None:
        listing.tell()
    chosen = _sampled(found, limit, seed)
    _check_readable_and_different(path, chosen)
    return CalibrationSet(
        path, chosen, truth, folder if truth else None, listing.skipped if source else ()
    )


def generated_prompts(size: Size, low_res_side: int, *, seed: int = 0) -> list[Prompt]:
    """Prompts of every kind about an image of which nothing is known.

    Args:
        size: ``(height, width)`` of the image, pixels.
        low_res_side: side of the grid of earlier masks, S/4.
        seed: of their places.

    Returns:
        A box, a click, two clicks, a click in a box, and a box with an earlier mask.
    """
    random = np.random.default_rng(seed)
    height, width = size
    boxes = [_box(random, height, width) for _ in range(3)]
    points = random.uniform(0.05, 0.95, (3, 2)) * (width, height)
    inside = boxes[1][:2] + random.uniform(0.3, 0.7, 2) * (boxes[1][2:] - boxes[1][:2])
    earlier = _blob_logits(random, low_res_side)
    return [
        Prompt(box=boxes[0]),
        Prompt(points=points[:1]),
        Prompt(points=points[1:], labels=[1, 0]),
        Prompt(points=[inside], box=boxes[1]),
        Prompt(points=points[:1], labels=[1], mask=earlier),
        Prompt(box=boxes[2], mask=earlier),
    ]


def _box(random: np.random.Generator, height: int, width: int) -> Array:
    """A box of a twentieth to nine tenths of the sides, small ones as likely as large."""
    sides = np.exp(random.uniform(np.log(0.05), np.log(0.9), 2)) * (width, height)
    sides = np.maximum(sides, 2.0)
    start = random.uniform(0, 1, 2) * np.maximum((width, height) - sides, 0)
    return np.concatenate([start, np.minimum(start + sides, (width, height))])


def _blob_logits(random: np.random.Generator, side: int) -> Array:
    """Low-res logits of an ellipse, in the range that mask decoders give."""
    rows, columns = np.mgrid[:side, :side] / side
    centre, radii = random.uniform(0.3, 0.6, 2), random.uniform(0.1, 0.3, 2)
    distance = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2
    return np.asarray(np.clip(8.0 * (1.0 - distance), -16.0, 8.0), np.float32)


def _quarters(picture: Array) -> Iterator[Array]:
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    if min(height, width) < _THUMBNAIL:
        return
    for top in (0, height):
        for left in (0, width):
            yield picture[top : top + height, left : left + width]


def _locate(path: Path) -> tuple[Path | None, Path]:
    """The COCO file, if there is one, and the folder of the images."""
    if not path.exists():
        raise CalibrationError(
            f"There is no {path}: give a folder of photos, or a COCO file beside its images."
        )
    truth = path if path.is_file() else path / TRUTH_NAME
    if path.is_file() and path.suffix.lower() != ".json":
        raise CalibrationError(
            f"{path} is one file, expected a folder of photos or a COCO file (.json)."
        )
    inside = truth.parent / "images"
    folder = inside if inside.is_dir() else truth.parent
    return (truth if truth.is_file() else None), folder


def _named_by(truth: Path, folder: Path) -> Listing:
    """The images that a COCO file names and that are there, and those that are not."""
    data = read_bytes(
        truth, limit="annotation_bytes", expected="a COCO file", error=CalibrationError
    )
    try:
        names = [str(image["file_name"]) for image in json.loads(data)["images"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CalibrationError(
            f"{truth} is no COCO file ({type(error).__name__}: {error}): expected a JSON object "
            "with `images` and `annotations`."
        ) from error
    found = [folder / image_name(name, folder) for name in names]
    gone = sorted(name for name, path in zip(names, found, strict=True) if not path.is_file())
    missing = f"not in {folder}, though the file names them (put them there)"
    skipped = (SkippedFiles.of(missing, gone),) if gone else ()
    return Listing(truth, tuple(sorted(filter(Path.is_file, found))), skipped)


def _sampled(found: Sequence[Path], limit: int, seed: int) -> tuple[Path, ...]:
    if limit < MIN_IMAGES:
        raise CalibrationError(f"At most {limit} images were asked for, expected {MIN_IMAGES} up.")
    if len(found) <= limit:
        return tuple(found)
    chosen = np.random.default_rng(seed).choice(len(found), size=limit, replace=False)
    return tuple(found[index] for index in sorted(chosen))


def _check_readable_and_different(source: Path, images: Sequence[Path]) -> None:
    thumbnails: list[Array] = []
    broken: list[str] = []
    first = ""
    for path in images:
        try:
            picture = Image.fromarray(load_image(path))
        except SamedgeError as error:
            first = first or str(error)
            broken.append(path.name)
            continue
        small = picture.convert("L").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
        thumbnails.append(np.asarray(small, np.float32))
    if broken:
        raise CalibrationError(
            f"{len(broken)} of {len(images)} images of {source} cannot be read "
            f"({', '.join(broken[:_NAMED])}{', ...' if len(broken) > _NAMED else ''}): {first} "
            "Repair or remove them, so that the sample is the one that was meant."
        )
    different = _count_different(thumbnails)
    if different < MIN_IMAGES or different < len(images) / 4:
        raise CalibrationError(
            f"Of {len(images)} images of {source} only {different} differ from one another: "
            "ranges from one scene do not hold elsewhere. Give photos of different scenes."
        )
    if different < len(images):
        logger.warning(
            "%d of %d calibration images repeat others", len(images) - different, len(images)
        )


def _count_different(thumbnails: Sequence[Array]) -> int:
    kept: list[Array] = []
    for thumbnail in thumbnails:
        if all(float(np.abs(thumbnail - other).mean()) >= _SAME for other in kept):
            kept.append(thumbnail)
    return len(kept)
