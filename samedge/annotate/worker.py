"""The automatic annotator: one image in, its masks on disk. Every engine runs this class."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import msgspec

from samedge.annotate.parts import Parts
from samedge.annotate.tasks import AutoSettings, Job, Outcome, Part, PartError, Task, file_state
from samedge.annotate.tiles import KeptTiles
from samedge.errors import ImageError, SamedgeError, WriteError
from samedge.files.error_documents import error_record
from samedge.files.reading import opened, read_bytes
from samedge.pixels.images import load_image
from samedge.pixels.picture_files import BY_TILES
from samedge.pixels.picture_parts import opened_in_parts
from samedge.pixels.sample_range import SampleRange
from samedge.pixels.tiles import Tiling
from samedge.predict.everything import AutomaticMask, EverythingConfig, segment_everything
from samedge.predict.everything_tiles import TileStore, masks_of
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import open_predictor
from samedge.types import Array, Progress, Size

OF_ONE_IMAGE = (SamedgeError, OSError, MemoryError)
"""What ends one image, and not the run."""

_PIECE = 1 << 20


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """An image file that was read: its pixels, or what is wrong with it.

    Attributes:
        task: whose file it is.
        state: bytes and time of change, from before it was read.
        sha256: of its content; empty where it could not be read.
        pixels: (H, W, 3) uint8 RGB; ``None`` where there is an error, or the image is to be read
            by tiles.
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
        if settings.tiles is not None:
            digest = _digest(Path(task.path))
            return Loaded(task, state, digest, seconds=time.perf_counter() - start)
        data = read_bytes(
            Path(task.path),
            limit="image_bytes",
            expected="an image file",
            error=ImageError,
            otherwise=BY_TILES,
        )
        digest = hashlib.sha256(data).hexdigest()
        pixels = load_image(data, range=_range(settings))
    except OF_ONE_IMAGE as error:
        return Loaded(task, state, digest, error=part_error(error))
    return Loaded(task, state, digest, pixels, seconds=time.perf_counter() - start)


def _digest(path: Path) -> str:
    """SHA-256 of a file that need not fit into memory."""
    found = hashlib.sha256()
    with opened(path, limit=None, expected="an image file", error=ImageError) as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def _range(settings: AutoSettings) -> SampleRange:
    found = settings.sample_range
    if isinstance(found, tuple):
        return found
    return "full" if found == "full" else "auto"


def part_error(error: BaseException) -> PartError:
    """An exception as it is kept beside an image."""
    return msgspec.convert(error_record(error), PartError, from_attributes=True)


def tiling_of(settings: AutoSettings) -> Tiling | None:
    """How images are cut, or ``None`` where they are not.

    Raises:
        OptionError: there are no such tiles.
    """
    return None if settings.tiles is None else Tiling(settings.tiles, settings.tile_overlap)


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
        self._tiling = tiling_of(settings)

    def part(
        self,
        loaded: Loaded,
        *,
        progress: Progress | None = None,
        store: TileStore | None = None,
    ) -> Part:
        """An image's masks, or why there are none.

        Args:
            loaded: from :func:`load`.
            progress: hears of every batch of clicks, or of every tile.
            store: of tiles, where the image is read by them.

        Raises:
            WriteError: a tile cannot be kept.
        """
        start, part = time.perf_counter(), _without_masks(loaded)
        if loaded.error is None:
            part = self._with_masks(part, loaded, progress, store)
        seconds = loaded.seconds + time.perf_counter() - start
        return msgspec.structs.replace(part, seconds=round(seconds, 4))

    def _with_masks(
        self, part: Part, loaded: Loaded, progress: Progress | None, store: TileStore | None
    ) -> Part:
        try:
            if self._tiling is not None:
                found, (height, width) = self._by_tiles(loaded, progress, store)
            else:
                assert loaded.pixels is not None
                height, width = loaded.pixels.shape[:2]
                found = segment_everything(
                    self._predictor, loaded.pixels, config=self._config, progress=progress
                )
        except WriteError:
            raise
        except OF_ONE_IMAGE as error:
            return msgspec.structs.replace(part, error=part_error(error))
        masks = tuple(mask.record() for mask in found if self._is_wanted(mask, height * width))
        return msgspec.structs.replace(part, size=(height, width), masks=masks)

    def _by_tiles(
        self, loaded: Loaded, progress: Progress | None, store: TileStore | None
    ) -> tuple[list[AutomaticMask], Size]:
        assert self._tiling is not None
        source = Path(loaded.task.path) if loaded.pixels is None else loaded.pixels
        with opened_in_parts(source, sample_range=_range(self._settings)) as picture:
            found = masks_of(
                self._predictor,
                picture,
                tiling=self._tiling,
                config=self._config,
                progress=progress,
                store=store,
            )
            return found, picture.size

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

    def annotate(self, loaded: Loaded, *, on_tile: Callable[[], None] | None = None) -> Outcome:
        """Find an image's masks and keep them.

        Args:
            loaded: from :func:`load`.
            on_tile: hears of every tile that was done and kept.

        Raises:
            WriteError: the part cannot be written; then no other can.
        """
        store = KeptTiles(self._parts, loaded.task.name, state=loaded.state, on_tile=on_tile)
        part = self._annotator.part(loaded, store=store)
        part = msgspec.structs.replace(part, seconds=round(part.seconds + store.seconds, 4))
        self._parts.write(part)
        return Outcome(
            name=part.name, masks=len(part.masks), seconds=part.seconds, error=part.error
        )
