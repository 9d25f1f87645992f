"""A comparison of what is named: what ``samedge compare`` calls, with its defaults."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samedge.benchmark.plan import find_images
from samedge.errors import BackendUnavailableError, DatasetError, OptionError
from samedge.models import zoo
from samedge.pixels.image_files import PHOTOS
from samedge.pixels.images import load_image
from samedge.predict.subjects import BundleNames, bundle_names
from samedge.report.decision import Limits
from samedge.types import Progress, Stage

if TYPE_CHECKING:
    from samedge.comparison.run import CompareRecord
    from samedge.comparison.writing import Files

DEFAULT_MODEL = "samedge-nano"
DEFAULT_FOLDER = Path("out/compare")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What was found, and where it was written.

    Attributes:
        record: the document of ``samedge compare``.
        files: the document and the report.
    """

    record: CompareRecord
    files: Files

    @property
    def sentence(self) -> str:
        """Which bundle to ship, and why, in one sentence."""
        return self.record.recommendation.sentence

    def __repr__(self) -> str:
        return f"Comparison({len(self.record.rows)} subjects, {self.sentence!r})"


def compare(
    photos: BundleNames = (),
    *,
    model: str | Path = DEFAULT_MODEL,
    targets: Sequence[str] = (),
    precisions: Sequence[str] = (),
    bundles: BundleNames = (),
    dataset: str | Path | None = None,
    images: str | Path | None = None,
    calibration: str | Path | None = None,
    minutes: float | None = None,
    deadline_ms: float | None = None,
    memory_mb: float | None = None,
    max_drop: float | None = None,
    output: str | Path = DEFAULT_FOLDER,
    command: str | None = None,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> Comparison:
    """Export everything that runs here, measure it side by side, and say which bundle to ship.

    What an earlier call with the same things in the same folder finished is kept.

    Args:
        photos: files or folders to compare on; none is samedge's own.
        model: one that ``samedge models`` lists, or a checkpoint's file.
        targets: platforms to export for; none is all that run here.
        precisions: to export in; none is all that each platform runs.
        bundles: from elsewhere, to be measured beside the others.
        dataset: ground truth in COCO's instances format: accuracy instead of agreement with fp32.
        images: folder of its images.
        calibration: photos that INT8 is calibrated on; ``None``: samedge's own.
        minutes: time budget; what was not reached is said.
        deadline_ms: what 99% of the frames have to meet.
        memory_mb: most resident memory of the process, millions of bytes.
        max_drop: mean IoU that the masks may lose against fp32.
        output: folder of bundles, records and report.
        command: what was typed, for the document.
        progress: hears of every step.
        stage: is told which.

    Raises:
        OptionError: a dataset without its images, or images without a dataset; a limit that is no
            number above 0; another process compares in the folder.
        UnknownNameError: an unknown model, target or precision.
        CheckpointError: the model is a file of another kind.
        DatasetError: no photo, a dataset that cannot be read, or a folder of something else.
        ImageError: a photo cannot be read.
        BackendUnavailableError: what exports models is not installed.
    """
    if (dataset is None) != (images is None):
        raise OptionError("A dataset and the folder of its images belong together: give both.")
    _check_numbers(minutes=minutes, deadline_ms=deadline_ms, memory_mb=memory_mb)
    if max_drop is not None and not 0 <= max_drop <= 1:
        raise OptionError(f"max_drop is {max_drop!r}, expected an IoU from 0 to 1.")
    zoo.check_named(model)  # before torch is loaded
    try:
        from samedge.comparison.exporting import Request
        from samedge.comparison.losses import compared_photos
        from samedge.comparison.run import BENCHED_PHOTOS
        from samedge.comparison.run import compare as compare_request
        from samedge.comparison.writing import write_result
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(
            f"Comparing needs {error.name}, which is not installed: pip install 'samedge[export]'"
        ) from error
    limits = Limits(
        max_drop=max_drop,
        deadline_ms=deadline_ms,
        memory_bytes=None if memory_mb is None else round(memory_mb * 1e6),
    )
    folder = Path(output)
    request = Request(
        model=str(model),
        output=folder,
        targets=tuple(targets),
        precisions=tuple(precisions),
        photos=_pictures(tuple(map(Path, bundle_names(photos)))),
        dataset=None if dataset is None or images is None else (Path(dataset), Path(images)),
        bundles=tuple(map(Path, bundle_names(bundles))),
        calibration=None if calibration is None else Path(calibration),
        minutes=minutes,
        limits=limits,
    )
    # What cannot be read ends the comparison before the exports, which take minutes.
    compared = () if request.dataset is not None else compared_photos(request.photos)
    for path in dict.fromkeys([*compared, *request.photos[:BENCHED_PHOTOS]]):
        load_image(path)
    record = compare_request(request, progress=progress, stage=stage)
    typed = "samedge.compare(...)" if command is None else command
    return Comparison(record, write_result(record, folder, command=typed))


def _pictures(given: tuple[Path, ...]) -> tuple[Path, ...]:
    """Files as they are, folders as the pictures in them; samedge's own where nothing is given."""
    if not given:
        return find_images(PHOTOS)
    missing = [path for path in given if not path.exists()]
    if missing:
        raise DatasetError(f"There is no photo at {missing[0]}: check the path.")
    return tuple(p for path in given for p in (find_images(path) if path.is_dir() else (path,)))


def _check_numbers(**given: float | None) -> None:
    for name, value in given.items():
        is_number = isinstance(value, int | float) and math.isfinite(value) and value > 0
        if value is not None and not is_number:
            raise OptionError(f"{name} is {value!r}, expected a number above 0, or None.")
