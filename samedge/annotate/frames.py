"""Frames of videos as pictures, so that they can be annotated like photos."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from samedge.annotate.run import absolute
from samedge.errors import DatasetError, SourceError
from samedge.files.writing import replacing, write_text
from samedge.live.sources import pyav
from samedge.live.sources.base import ReadOptions
from samedge.pixels.folder_listing import Listing, SkippedFiles, pictures_listed
from samedge.pixels.image_files import VIDEO_SUFFIXES, is_hidden, is_video
from samedge.types import Progress

_DONE = ".complete"  # in a video's folder, with what it was made of


def video_files(folder: Path) -> tuple[Path, ...]:
    """The videos below a folder, sorted by path; hidden ones, as of pictures, are left out.

    Raises:
        DatasetError: the folder is missing.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder: expected one with pictures or videos in it.")
    found = (p for p in folder.rglob("*") if is_video(p) and p.is_file())
    return tuple(sorted(p for p in found if not is_hidden(p.relative_to(folder))))


def photos_beside(folder: Path, *, results: Path) -> tuple[SkippedFiles, ...]:
    """The pictures beside the videos of a folder, which are no frames; they are told of.

    Args:
        folder: of the videos.
        results: the folder for results, whose pictures are not meant.
    """
    if not folder.is_dir():
        return ()
    found = pictures_listed(folder, passed_over=lambda path: absolute(path) == absolute(results))
    names = [path.relative_to(folder).as_posix() for path in found.pictures]
    why = "pictures beside the videos (annotate them without --every, into another folder)"
    skipped = (SkippedFiles.of(why, names),) if names else ()
    return Listing(folder, (), skipped).tell().skipped


def extract_frames(
    folder: Path, destination: Path, *, every: int, progress: Progress | None = None
) -> list[tuple[Path, SourceError]]:
    """Write every so many frames of each video below a folder as PNG.

    A video that was done with the same ``every`` is not read again.

    Args:
        folder: of the videos.
        destination: gets ``VIDEO/000000.png`` a frame, numbered as in the video.
        every: frames from one to the next.
        progress: hears of each video.

    Returns:
        The videos that could not be read to their end, and why; their frames up to there are kept.

    Raises:
        DatasetError: no videos.
        BackendUnavailableError: PyAV is not installed.
        WriteError: a frame cannot be written.
    """
    videos = video_files(folder)
    if not videos:
        raise DatasetError(
            f"{folder} holds no videos: expected files ending in {', '.join(VIDEO_SUFFIXES)}."
        )
    pyav.library()
    failed = []
    for count, video in enumerate(videos, start=1):
        try:
            _extract(video, destination / video.relative_to(folder), every=every)
        except SourceError as error:
            failed.append((video, error))
        if progress is not None:
            progress(count, len(videos))
    return failed


def _extract(video: Path, destination: Path, *, every: int) -> None:
    status = video.stat()
    made_of = f"{status.st_size} {status.st_mtime_ns} {every}\n"
    done = destination / _DONE
    if done.is_file() and done.read_text() == made_of:
        return
    for old in destination.glob("*.png"):
        old.unlink()
    for number, grab in enumerate(pyav.grabs(str(video), ReadOptions(), low_delay=False)):
        if number % every == 0 and grab.image is not None:
            with replacing(destination / f"{number:06d}.png") as temporary:
                Image.fromarray(grab.image).save(temporary)
    write_text(done, made_of)
