"""The automatic stage of the data engine: everything mode over a folder, to annotation files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from samedge.annotate import engines
from samedge.annotate.engines import EngineOptions
from samedge.annotate.layout import ANNOTATIONS, KEPT, LOCK, PARTS, RUN_FILE, is_annotations
from samedge.annotate.merging import Merged, Merger, check_format
from samedge.annotate.parts import Parts
from samedge.annotate.rounds import Round, add_round
from samedge.annotate.tasks import (
    RUN_SCHEMA,
    AutoSettings,
    Job,
    Outcome,
    RunRecord,
    Task,
    decoded,
)
from samedge.annotate.worker import tiling_of
from samedge.bundle.bundle import Bundle, bundle_path
from samedge.bundle.manifest import Manifest
from samedge.errors import DatasetError, OptionError
from samedge.files.json_text import json_text
from samedge.files.lines import created_now
from samedge.files.locking import locked
from samedge.files.reading import read_bytes
from samedge.files.writing import remove, write_text
from samedge.pixels.folder_listing import Listing, SkippedFiles, listed_images
from samedge.pixels.image_files import is_picture
from samedge.types import Progress

SHARD_IMAGES = 20_000


@dataclasses.dataclass(frozen=True)
class AutoResult:
    """What a run made.

    Attributes:
        merged: the annotation files, and what is in them.
        bundle_id: of the bundle that made the masks.
        done_before: images that an earlier run had done.
        done_now: images that this run did, failures among them.
        skipped: files among the images that are none, by reason.
    """

    merged: Merged
    bundle_id: str
    done_before: int
    done_now: int
    skipped: tuple[SkippedFiles, ...] = ()


def annotate_automatically(
    images: Path,
    output: Path,
    *,
    settings: AutoSettings | None = None,
    engine: str = "local",
    options: EngineOptions | None = None,
    file_format: str = "coco",
    shard_images: int = SHARD_IMAGES,
    restart: bool = False,
    progress: Progress | None = None,
) -> AutoResult:
    """Find the masks of every image below a folder, and write them as annotations.

    An image that fails is listed and ends nothing else. Whatever ends the run, the images that were
    done are kept: the same call goes on with the others and tries the failed ones again. The files
    do not depend on how often it was interrupted, nor on the engine and its workers.

    Args:
        images: the folder; pictures in its subfolders count.
        output: a folder for the annotation files and for what a run needs to go on.
        settings: which masks; ``None`` means those of the embedded model.
        engine: name of an engine.
        options: workers and limits of it.
        file_format: a format's name.
        shard_images: most images of one annotation file; more make several files.
        restart: forget an earlier run in ``output``, whatever its settings.
        progress: hears of images that are done, and of all.

    Raises:
        DatasetError: the folder is missing or holds no pictures.
        OptionError: ``output`` holds a run with other settings, or annotations of somebody else's,
            or another process works in it; or ``shard_images`` is below 1.
        UnknownNameError: no such engine or format.
        BundleError, BackendUnavailableError, InferenceError: the bundle does not open.
        WriteError: something cannot be written.
    """
    settings = settings or AutoSettings()
    check_format(file_format, by_tiles=tiling_of(settings) is not None)
    chosen = engines.get(engine)
    images, output = absolute(images), absolute(output)
    listing = photos_listed(images, results=output).tell()
    tasks = tasks_of(listing)
    manifest = Bundle.open(bundle_path(settings.bundle), verify=False).manifest
    record = RunRecord(
        schema=RUN_SCHEMA, images=str(images), bundle_id=manifest.id, settings=settings
    )
    with locked(output, LOCK):
        parts = Parts(output / PARTS)
        merger = Merger(
            parts, output / ANNOTATIONS, file_format=file_format, shard_images=shard_images
        )
        _begin(output, record, merger, restart=restart)
        left = [task for task in tasks if not parts.is_done(task)]
        counter = _Counter(len(tasks), len(tasks) - len(left), progress)
        if left:
            job = Job(settings=_for_workers(settings), parts=str(parts.folder))
            chosen.run(left, job, options=options or EngineOptions(), on_outcome=counter)
        merged = merger.merge(tasks)
        add_round(output, _round(merged, manifest))
    return AutoResult(
        merged, manifest.id, len(tasks) - len(left), len(left), skipped=listing.skipped
    )


def absolute(path: Path) -> Path:
    """A path that means the same in a worker elsewhere; links stay."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links


def _for_workers(settings: AutoSettings) -> AutoSettings:
    """The same settings, with the path of a bundle as it is from any folder."""
    if settings.bundle is None or not Path(settings.bundle).exists():
        return settings  # an embedded model's name
    return msgspec.structs.replace(settings, bundle=str(absolute(Path(settings.bundle))))


def _round(merged: Merged, manifest: Manifest) -> Round:
    return Round(
        stage="auto",
        ended=created_now(),
        bundle_id=manifest.id,
        model=manifest.model.name,
        images=merged.images,
        masks=merged.masks,
        seconds_per_mask=round(merged.seconds / merged.masks, 4) if merged.masks else None,
    )


def photos_listed(images: Path, *, results: Path) -> Listing:
    """The pictures below a folder, and what is left out there; results of a run are neither.

    Args:
        images: the folder.
        results: the folder for results.

    Raises:
        DatasetError: the folder is missing or holds no pictures.
    """
    return listed_images(images, passed_over=_results_in(images, absolute(results)))


def tasks_of(listing: Listing) -> list[Task]:
    """The pictures of a listing as tasks, sorted by name."""
    root = listing.folder
    tasks = [Task(name=p.relative_to(root).as_posix(), path=str(p)) for p in listing.pictures]
    return sorted(tasks, key=lambda task: task.name)


def _results_in(root: Path, results: Path) -> Callable[[Path], bool]:
    """Tells what below ``root`` was written by a run, whose results may lie there, too."""

    def is_result(path: Path) -> bool:
        if results != absolute(root):
            return absolute(path) == results
        if is_picture(path):
            return False  # those of results lie in folders that were passed over
        first = path.relative_to(root).parts[0]
        return is_annotations(first) or (first in KEPT and not path.is_dir())

    return is_result


class _Counter:
    """Counts what an engine tells of, from what was done before."""

    def __init__(self, total: int, done: int, progress: Progress | None) -> None:
        self._total, self._done, self._progress = total, done, progress
        if progress is not None:
            progress(done, total)

    def __call__(self, _: Outcome) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


def _begin(output: Path, record: RunRecord, merger: Merger, *, restart: bool) -> None:
    """Check that a folder belongs to this very run, or make it so."""
    file = output / RUN_FILE
    if restart:
        remove(output / PARTS)
    elif file.exists():
        _check_same(read_record(file), record, output)
        return
    elif (output / PARTS).exists():
        raise OptionError(
            f"{output} holds parts without {RUN_FILE}: add --restart, or name another."
        )
    elif there := merger.there():
        raise OptionError(
            f"{there[0]} is there already, and no run in {output} made it: name another output "
            "folder with -o, or add --restart to write over it."
        )
    write_text(file, json_text(record, indent=2) + "\n")


def read_record(file: Path) -> RunRecord:
    """What a run was asked for.

    Raises:
        DatasetError: the file is damaged.
    """
    data = read_bytes(file, limit="document_bytes", expected="a run's record", error=DatasetError)
    try:
        return decoded(data, RunRecord)
    except ValueError as error:
        raise DatasetError(
            f"{file} is no record of a run ({error}): name another output folder, or --restart."
        ) from error


def _check_same(found: RunRecord, wanted: RunRecord, output: Path) -> None:
    if found == wanted:
        return
    before, now = (_flat(record) for record in (found, wanted))
    changed = [f"{key} was {before[key]}, is {now[key]}" for key in now if before[key] != now[key]]
    raise OptionError(
        f"{output} holds a run with other settings ({'; '.join(changed)}): name another output "
        "folder with -o, or add --restart to begin again."
    )


def _flat(record: RunRecord) -> dict[str, object]:
    fields = {"images": record.images, "bundle_id": record.bundle_id, "schema": record.schema}
    return fields | dict(msgspec.structs.asdict(record.settings))
