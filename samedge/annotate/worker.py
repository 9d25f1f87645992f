"""The automatic annotator: one image in, its masks on disk. Every engine runs this class."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from pathlib import Path
from types import TracebackType

import msgspec

from samedge.annotate.parts import Parts
from samedge.annotate.tasks import AutoSettings, Job, Outcome, Part, PartError, Task, file_state
from samedge.errors import ImageError, SamedgeError
from samedge.files.error_documents import error_record
from samedge.files.reading import read_bytes
from samedge.pixels.images import load_image
from samedge.pixels.sample_range import SampleRange
from samedge.predict.everything import AutomaticMask, EverythingConfig, segment_everything
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import open_predictor
from samedge.types import Array, Progress

OF_ONE_IMAGE = (SamedgeError, OSError, MemoryError)
"""What ends one image, and not the run."""


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """An image file that was read: its pixels, or what is wrong with it.

    Attributes:
        task: whose file it is.
        state: bytes and time of change, from before it was read.
        sha256: of its content; empty where it could not be read.
        pixels: (H, W, 3) uint8 RGB, or ``None``.
        error: why there are no pixels.
        seconds: that reading took.
    """

    task: Task
    state: tuple[int, int]
    sha256: str = ""
    pixels: Array | None = None
    error: PartError | None = None
    seconds: float = 0.0


def load(task: Task, settings: AutoSettings) -> Loaded:
    """Read a task's image; never raises for what is wrong with the file."""
    start, state, digest = time.perf_counter(), file_state(Path(task.path)), ""
    try:
        data = read_bytes(
            Path(task.path), limit="image_bytes", expected="an image file", error=ImageError
        )
        digest = hashlib.sha256(data).hexdigest()
        pixels = load_image(data, range=_range(settings))
    except OF_ONE_IMAGE as error:
        return Loaded(task, state, digest, error=part_error(error))
    return Loaded(task, state, digest, pixels, seconds=time.perf_counter() - start)


def _range(settings: AutoSettings) -> SampleRange:
    found = settings.sample_range
    if isinstance(found, tuple):
        return found
    return "full" if found == "full" else "auto"


def part_error(error: BaseException) -> PartError:
    """An exception as it is kept beside an image."""
    return msgspec.convert(error_record(error), PartError, from_attributes=True)


class Annotator:
    """Finds the masks of images with an open predictor.

    Args:
        predictor: an open one; it stays the caller's.
        settings: which masks.

    Raises:
        OptionError: a setting is out of its range.
    """

    def __init__(self, predictor: Predictor, settings: AutoSettings) -> None:
        self._predictor, self._settings = predictor, settings
        self._config = EverythingConfig.without_near_duplicates(
            predictor.manifest,
            points_per_side=settings.points_per_side,
            crop_layers=settings.crop_layers,
            pred_iou_threshold=settings.pred_iou_threshold,
            stability_threshold=settings.stability_threshold,
        )

    def part(self, loaded: Loaded, *, progress: Progress | None = None) -> Part:
        """An image's masks, or why there are none.

        Args:
            loaded: from :func:`load`.
            progress: hears of every batch of clicks.
        """
        start, part = time.perf_counter(), _without_masks(loaded)
        if loaded.pixels is not None:
            part = self._with_masks(part, loaded.pixels, progress)
        seconds = loaded.seconds + time.perf_counter() - start
        return msgspec.structs.replace(part, seconds=round(seconds, 4))

    def _with_masks(self, part: Part, pixels: Array, progress: Progress | None) -> Part:
        try:
            found = segment_everything(
                self._predictor, pixels, config=self._config, progress=progress
            )
        except OF_ONE_IMAGE as error:
            return msgspec.structs.replace(part, error=part_error(error))
        height, width = pixels.shape[:2]
        masks = tuple(mask.record() for mask in found if self._is_wanted(mask, height * width))
        return msgspec.structs.replace(part, size=(height, width), masks=masks)

    def _is_wanted(self, mask: AutomaticMask, pixels: int) -> bool:
        most = self._settings.max_area_share * pixels
        return self._settings.min_area <= mask.area <= most


def _without_masks(loaded: Loaded) -> Part:
    file_bytes, modified_ns = loaded.state
    return Part(
        name=loaded.task.name,
        file_bytes=file_bytes,
        modified_ns=modified_ns,
        sha256=loaded.sha256,
        error=loaded.error,
    )


class AutoWorker:
    """Annotates images with one opened bundle; a context manager.

    The masks of an image depend on the image and the job alone: not on the images before it, nor
    on how many workers there are.

    Args:
        job: what all workers of a run share.

    Raises:
        BundleError, BackendUnavailableError, InferenceError: as ``Predictor.from_bundle``.
        OptionError: a setting is out of its range.
    """

    def __init__(self, job: Job) -> None:
        settings = job.settings
        self._parts = Parts(Path(job.parts))
        self.predictor: Predictor = open_predictor(
            settings.bundle,
            backend=settings.backend,
            device=settings.device,
            threads=settings.threads,
        )[0]
        self._annotator = Annotator(self.predictor, settings)

    def __enter__(self) -> AutoWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.predictor.close()

    def annotate(self, loaded: Loaded) -> Outcome:
        """Find an image's masks and keep them.

        Args:
            loaded: from :func:`load`.

        Raises:
            WriteError: the part cannot be written; then no other can.
        """
        part = self._annotator.part(loaded)
        self._parts.write(part)
        return Outcome(
            name=part.name, masks=len(part.masks), seconds=part.seconds, error=part.error
        )
