"""What `samedge.benchmark.bench` is asked to measure: efforts, images, prompt rates, deadlines."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from samedge.errors import DatasetError, UnknownNameError
from samedge.pixels.image_files import IMAGE_SUFFIXES, PHOTOS, is_picture
from samedge.pixels.metrics import PERCENTILE_MIN_COUNT


@dataclasses.dataclass(frozen=True)
class Effort:
    """When a measurement is enough: all three of these, for every subject.

    Attributes:
        seconds: of recorded blocks.
        count: recorded samples.
        launches: fresh processes.
    """

    seconds: float
    count: int
    launches: int


EFFORTS = {
    "quick": Effort(3.0, 64, 1),
    "default": Effort(10.0, 200, 3),
    "strict": Effort(60.0, 662, 5),
}


def effort(name: str) -> Effort:
    """One of ``EFFORTS``.

    Raises:
        UnknownNameError: it has another name.
    """
    if name not in EFFORTS:
        raise UnknownNameError("effort", name, EFFORTS)
    return EFFORTS[name]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to measure beside the stages.

    Attributes:
        images: files that the blocks rotate over.
        effort: when it is enough.
        threads: for the backends; ``None`` leaves it to them.
        prompts_per_frame: points of the prompt-rate curve; empty leaves it out.
        sustained_s: length of the sustained run; 0 leaves it out.
        deadline_ms: limit that the 99th percentile of ``end_to_end`` has to meet, if any.
        deadline_count: samples to take for that verdict, unless it is certain with fewer.
        keep_samples: put every sample into the record, so that several runs can be joined.
    """

    images: tuple[Path, ...]
    effort: Effort = EFFORTS["default"]
    threads: int | None = None
    prompts_per_frame: tuple[int, ...] = ()
    sustained_s: float = 0.0
    deadline_ms: float | None = None
    deadline_count: int = PERCENTILE_MIN_COUNT[99]
    keep_samples: bool = False


def find_images(folder: Path = PHOTOS) -> tuple[Path, ...]:
    """The pictures in a folder, by name; samedge's own photos by default.

    Raises:
        DatasetError: there is none.
    """
    found = tuple(sorted(filter(is_picture, folder.glob("*"))))
    if not found:
        raise DatasetError(
            f"{folder} holds no picture ({', '.join(IMAGE_SUFFIXES)}) to measure on."
        )
    return found
