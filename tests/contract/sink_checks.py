"""What every kind of sink promises; each check fails for one that breaks it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from samedge.errors import BackendUnavailableError
from samedge.live.following import Followed
from samedge.live.frame import VideoFrame
from samedge.live.sinks.base import Drawn, Sink
from samedge.tracking.base import Status, TrackedObject

Check = Callable[[Sink, Path], None]
SIZE = 32, 48


def drawn(number: int) -> Drawn:
    """A frame with one object that is followed and one that is lost."""
    mask = np.zeros(SIZE, bool)
    mask[4 : 10 + number, 8:30] = True
    objects = (
        TrackedObject(0, Status.FOLLOWED, mask, predicted_iou=0.9, similarity=1.0),
        TrackedObject(7, Status.LOST, np.zeros(SIZE, bool)),
    )
    image = np.full((*SIZE, 3), 10 * number, np.uint8)
    frame = VideoFrame(image, number, captured_s=float(number), pts_s=number / 30)
    return Drawn(Followed(frame, objects, result_s=number + 0.01, tracking_ms=5.0), image)


def says_what_it_writes(sink: Sink, folder: Path) -> None:
    del folder
    assert isinstance(sink, Sink)
    assert sink.endings
    assert all(ending == "" or ending == ending.lower() for ending in sink.endings)
    assert all(ending == "" or ending.startswith(".") for ending in sink.endings)


def writes_where_there_is_no_folder_yet(sink: Sink, folder: Path) -> None:
    for ending in sink.endings:
        assert contents(written(sink, folder / "new" / "deeper" / f"out{ending}", count=3))


def writes_nothing_beside(sink: Sink, folder: Path) -> None:
    for ending in sink.endings:
        path = written(sink, folder / f"alone{ending}" / f"out{ending}", count=2)
        assert list(path.parent.iterdir()) == [path]


def keeps_what_an_interruption_left(sink: Sink, folder: Path) -> None:
    """Control-C after three frames leaves the same file as three frames."""
    whole = written(sink, folder / f"whole{sink.endings[0]}", count=3)
    cut = folder / f"cut{sink.endings[0]}"
    with pytest.raises(KeyboardInterrupt):
        written(sink, cut, count=3, interrupted=True)
    assert list(contents(cut)) == list(contents(whole))
    sizes = [{name: len(data) for name, data in contents(p).items()} for p in (cut, whole)]
    assert sizes[0] == sizes[1]


def more_frames_are_more_bytes(sink: Sink, folder: Path) -> None:
    few = written(sink, folder / f"few{sink.endings[0]}", count=1)
    many = written(sink, folder / f"many{sink.endings[0]}", count=6)
    assert sum(map(len, contents(many).values())) > sum(map(len, contents(few).values()))


def a_full_disk_is_said(sink: Sink, folder: Path) -> None:
    """An error of the system, never silence."""
    (folder / "file").touch()
    with pytest.raises(OSError) as caught:
        written(sink, folder / "file" / f"out{sink.endings[0]}", count=2)
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST, None)


CHECKS: tuple[Check, ...] = (
    says_what_it_writes,
    writes_where_there_is_no_folder_yet,
    writes_nothing_beside,
    keeps_what_an_interruption_left,
    more_frames_are_more_bytes,
    a_full_disk_is_said,
)


def written(sink: Sink, path: Path, *, count: int, interrupted: bool = False) -> Path:
    try:
        with sink.open(path, fps=30.0) as recording:
            for number in range(count):
                recording.write(drawn(number))
            if interrupted:
                raise KeyboardInterrupt
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    return path


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a recording, by name."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {file.name if path.is_dir() else "": file.read_bytes() for file in files}
