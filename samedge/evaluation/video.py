"""How well objects are followed: J, F and J&F on folders laid out as DAVIS is.

The tracker sees the first frame's prompt and then only pictures. The first frame, which was the
prompt, and the last one are left out; every object counts the same.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from samedge.errors import DatasetError, ImageError, OptionError
from samedge.evaluation import video_metrics
from samedge.evaluation.video_metrics import Statistics, contour_accuracy, region_similarity
from samedge.files.error_documents import error_record
from samedge.pixels.folder_listing import pictures_listed
from samedge.pixels.image_files import pictures_in
from samedge.pixels.images import load_image
from samedge.pixels.metrics import bounding_box, center_point
from samedge.pixels.numbering import frame_gaps
from samedge.pixels.picture_files import opened_picture
from samedge.records import DatasetRecord, FailedImage, Subject, VideoRow, subject_fields
from samedge.types import Array, Progress, Prompt, Stage, Steps

logger = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]

PROMPTS = ("mask", "box", "click")
FEWEST_FRAMES = 3
"""A first one with the prompt, a last one that is left out, and one between them."""

_PICTURES, _MASKS = "JPEGImages", "Annotations"
_VOID, _WHITE = 255, 255


class Follower(Protocol):
    """What can be evaluated: a tracker on a bundle, or a baseline."""

    def follow(self, images: Iterator[Array], prompts: Sequence[Prompt]) -> Iterator[list[Mask]]:
        """The masks of all objects in each image, in the order of the prompts."""


@dataclasses.dataclass(frozen=True)
class VideoSubject:
    """A follower with the identity that its figures are filed under."""

    subject: Subject
    follower: Follower
    strategy: str


@dataclasses.dataclass(frozen=True)
class Video:
    """One video: its pictures and the masks of its objects.

    Attributes:
        name: of its folder.
        pictures: one file a frame.
        masks: one file a frame, of the same names.
        remarks: what is missing among their numbers (:func:`frame_gaps`), and what else is there.
    """

    name: str
    pictures: tuple[Path, ...]
    masks: tuple[Path, ...]
    remarks: tuple[str, ...] = ()

    def images(self) -> Iterator[Array]:
        """(H, W, 3) uint8 RGB, frame by frame."""
        return map(load_image, self.pictures)

    def check(self) -> None:
        """Whether every file is what it should be, asked before any work.

        Raises:
            DatasetError: no object to follow, or a mask of another size than its picture.
            ImageError: a file that is no picture.
        """
        self.first_objects()
        for frame, image in enumerate(self.images()):
            with opened_picture(self.masks[frame]) as (picture, _):
                picture.load()
                size = picture.height, picture.width
            self.check_size(frame, truth=size, given=image.shape[:2])

    def first_objects(self) -> dict[int, Mask]:
        """What is followed: the masks of the first frame.

        Raises:
            DatasetError: it shows nothing.
            ImageError: the file is no mask.
        """
        found = self.objects(0)
        if not found:
            raise DatasetError(
                f"{self.masks[0]} shows no object: the first frame's masks are the prompts. Leave "
                "the video out, or begin it where its objects are seen."
            )
        return found

    def check_size(self, frame: int, *, truth: tuple[int, ...], given: tuple[int, ...]) -> None:
        """Whether a mask is as large as its picture, both ``(height, width)``.

        Raises:
            DatasetError: it is not.
        """
        if truth != given:
            raise DatasetError(
                f"{self.masks[frame]} is {truth[0]} x {truth[1]} (height x width), and "
                f"{self.pictures[frame]} {given[0]} x {given[1]}: masks and pictures of one "
                "resolution belong together."
            )

    def objects(self, frame: int) -> dict[int, Mask]:
        """The mask of each object in a frame, by its number.

        Raises:
            ImageError: the file is no mask.
        """
        with opened_picture(self.masks[frame]) as (picture, _):
            values = np.asarray(picture if picture.mode in ("L", "P") else picture.convert("L"))
        numbers = set(np.unique(values).tolist()) - {0}
        if numbers <= {_WHITE}:  # DAVIS 2016: white on black
            return {1: values == _WHITE} if numbers else {}
        return {number: values == number for number in sorted(numbers - {_VOID})}


def load_sequences(folder: Path, *, limit: int | None = None) -> list[Video]:
    """Every video of a folder with ``JPEGImages`` and ``Annotations``.

    Below each lies a folder a video, or a folder a resolution with those.

    Raises:
        DatasetError: another layout, or a video whose pictures and masks do not belong together.
    """
    pictures, masks = folder / _PICTURES, folder / _MASKS
    for part in (pictures, masks):
        if not part.is_dir():
            raise DatasetError(
                f"{folder} has no folder {part.name}: expected DAVIS's layout, "
                f"{_PICTURES}/480p/NAME/00000.jpg and {_MASKS}/480p/NAME/00000.png."
            )
    found = [_sequence(found, masks, pictures) for found in _video_folders(pictures)]
    if not found:
        raise DatasetError(f"{pictures} holds no video: expected a folder of pictures for each.")
    return found[:limit]


def _video_folders(pictures: Path) -> list[Path]:
    below = sorted(path for path in pictures.iterdir() if path.is_dir())
    videos = [path for path in below if pictures_in(path)]
    return videos or sorted(
        path for resolution in below[:1] for path in resolution.iterdir() if path.is_dir()
    )


def _sequence(folder: Path, masks: Path, pictures: Path) -> Video:
    theirs = masks / folder.relative_to(pictures)
    if not theirs.is_dir():
        raise DatasetError(f"{folder} has no masks: expected them in {theirs}.")
    shown, annotated = pictures_in(folder), pictures_in(theirs)
    if [path.stem for path in shown] != [path.stem for path in annotated]:
        raise DatasetError(
            f"{folder} holds {len(shown)} pictures and {theirs} {len(annotated)} masks, whose "
            "names differ: every frame needs both, of the same name."
        )
    if len(shown) < FEWEST_FRAMES:
        raise DatasetError(
            f"{folder} holds {len(shown)} frames, expected {FEWEST_FRAMES} or more: "
            "leave the video out."
        )
    missing = frame_gaps(shown)
    others = pictures_listed(folder, below=False).skipped
    remarks = [*([missing] if missing else []), *(f"left out {entry}" for entry in others)]
    for remark in remarks:
        logger.warning("%s: %s.", folder, remark)
    return Video(folder.name, tuple(shown), tuple(annotated), remarks=tuple(remarks))


def parse_prompts(text: str) -> tuple[str, ...]:
    """``"mask,box"`` as names of first-frame prompts.

    Raises:
        OptionError: another word.
    """
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    unknown = [word for word in words if word not in PROMPTS]
    if unknown or not words:
        raise OptionError(
            f"{text!r} is not a list of first-frame prompts: expected some of {', '.join(PROMPTS)}."
        )
    return words


def first_prompt(kind: str, mask: Mask) -> Prompt:
    """What the tracker is told about an object, from its mask in the first frame.

    Args:
        kind: ``mask``, ``box`` or ``click`` (at the mask's center point).
        mask: (H, W) bool, not empty.
    """
    if kind == "mask":
        return Prompt(mask=mask)
    if kind == "box":
        return Prompt(box=bounding_box(mask))
    center = center_point(mask)
    assert center is not None  # the mask is not empty
    return Prompt(points=[center])


@dataclasses.dataclass(frozen=True)
class ObjectScore:
    """One object of one video, as one subject followed it.

    Attributes:
        video: its name.
        number: of the object.
        region: J over the frames that count.
        contour: F.
    """

    video: str
    number: int
    region: Statistics
    contour: Statistics


def evaluate_video(
    subjects: Sequence[VideoSubject],
    sequences: Sequence[Video],
    *,
    prompts: Sequence[str],
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> tuple[list[VideoRow], DatasetRecord]:
    """Score every subject on every video, prompted in every way.

    Args:
        subjects: what is compared.
        sequences: from :func:`load_sequences`.
        prompts: some of ``PROMPTS``.
        progress: hears of every video, for each subject and prompt.
        stage: is told which.

    Raises:
        DatasetError: no video can be used.

    Returns:
        A row for each subject and prompt, and what they were measured on. A video that cannot be
        used, by :meth:`Video.check`, counts nowhere and is named there.
    """
    sequences, failures = _usable(sequences)
    rows = []
    count = len(subjects) * len(prompts) * len(sequences)
    steps = Steps(count, progress=progress, stage=stage)
    for one in subjects:
        for kind in prompts:
            started = time.perf_counter()
            scores: list[ObjectScore] = []
            for sequence in sequences:
                scores += score_sequence(one.follower, sequence, prompt=kind)
                steps.step(f"{sequence.name}, {kind}")
            rows.append(_row(one, kind, scores, sequences, time.perf_counter() - started))
    frames = sum(len(sequence.pictures) for sequence in sequences)
    objects = sum(len(sequence.objects(0)) for sequence in sequences)
    root = sequences[0].pictures[0].parents[1]
    return rows, DatasetRecord(
        path=str(root),
        images=frames,
        instances=objects,
        failed={failed.image: failed.error.message for failed in failures},
        failures=failures,
        warnings=[f"{one.name}: {remark}." for one in sequences for remark in one.remarks],
    )


def _usable(sequences: Sequence[Video]) -> tuple[list[Video], list[FailedImage]]:
    """The videos that can be measured on, and why others cannot."""
    looked = [(sequence, _problem(sequence)) for sequence in sequences]
    kept = [sequence for sequence, problem in looked if problem is None]
    failures = [problem for _, problem in looked if problem is not None]
    if not kept:
        reason = failures[0].error.message if failures else "there is none."
        raise DatasetError(f"No video can be used: {reason}")
    return kept, failures


def _problem(sequence: Video) -> FailedImage | None:
    try:
        sequence.check()
    except (DatasetError, ImageError, OSError) as error:
        return FailedImage(image=sequence.name, error=error_record(error))
    return None


def score_sequence(follower: Follower, sequence: Video, *, prompt: str) -> list[ObjectScore]:
    """Follow all objects of one video together, and score each.

    Args:
        follower: what follows.
        sequence: the video.
        prompt: one of ``PROMPTS``.

    Raises:
        DatasetError: the first frame shows no object, or a mask has another size than its picture.
        ImageError: a file that is no picture.
    """
    first = sequence.first_objects()
    prompts = [first_prompt(prompt, mask) for mask in first.values()]
    region: dict[int, list[float]] = {number: [] for number in first}
    contours: dict[int, list[float]] = {number: [] for number in first}
    last = len(sequence.pictures) - 1
    for index, masks in enumerate(follower.follow(sequence.images(), prompts)):
        if index in (0, last):
            continue
        truth = sequence.objects(index)
        for number, mask in zip(first, masks, strict=True):
            wanted = truth.get(number, np.zeros_like(mask))
            sequence.check_size(index, truth=wanted.shape, given=mask.shape)
            region[number].append(region_similarity(wanted, mask))
            contours[number].append(contour_accuracy(wanted, mask))
    return [
        ObjectScore(
            sequence.name,
            number,
            video_metrics.statistics(region[number]),
            video_metrics.statistics(contours[number]),
        )
        for number in first
    ]


def _row(
    one: VideoSubject,
    prompt: str,
    scores: Sequence[ObjectScore],
    sequences: Sequence[Video],
    seconds: float,
) -> VideoRow:
    j, f = _means([score.region for score in scores]), _means([score.contour for score in scores])
    return VideoRow(
        prompt=prompt,
        strategy=one.strategy,
        n=len(scores),
        videos=len(sequences),
        frames=sum(len(sequence.pictures) for sequence in sequences),
        jf=(j.mean + f.mean) / 2,
        j=j.mean,
        j_recall=j.recall,
        j_decay=j.decay,
        f=f.mean,
        f_recall=f.recall,
        f_decay=f.decay,
        jf_by_video=_by_video(scores),
        seconds=round(seconds, 3),
        **subject_fields(one.subject),
    )


def _means(found: Sequence[Statistics]) -> Statistics:
    columns = np.array([dataclasses.astuple(one) for one in found]).mean(axis=0)
    return Statistics(*map(float, columns))


def _by_video(scores: Sequence[ObjectScore]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for score in scores:
        found.setdefault(score.video, []).append((score.region.mean + score.contour.mean) / 2)
    return {name: round(float(np.mean(values)), 6) for name, values in found.items()}
