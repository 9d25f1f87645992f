"""What every kind of source promises; each check fails for one that breaks it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest

from samedge.errors import BackendUnavailableError, SamedgeError
from samedge.live.sources.base import Grab, ReadOptions, Source

Check = Callable[[Source, Path], None]

# Names as users mistype them, none of which is anything.
NOTHINGS = ("", "no such thing", "\0", "x" * 5000, "日本\udce9", "../nowhere.mp4", "nowhere/", "-1")


def says_what_it_reads(source: Source, folder: Path) -> None:
    del folder
    assert isinstance(source, Source)
    assert source.form.strip() == source.form != ""
    assert type(source.is_live) is bool


def claims_nothing_that_is_not_there(source: Source, folder: Path) -> None:
    del folder
    for spec in NOTHINGS:
        assert source.claims(spec) is False, spec


def what_is_not_there_is_our_error(source: Source, folder: Path) -> None:
    for spec in ("no such thing", str(folder / "nowhere")):
        with pytest.raises(SamedgeError) as caught, closing(source, spec) as grabs:
            next(grabs)
        assert str(caught.value)


def gives_frames(source: Source, folder: Path) -> None:
    for grab in frames(source, folder):
        assert grab.image is None or grab.image.dtype == np.uint8
        assert grab.image is None or (grab.image.ndim == 3 and grab.image.shape[2] == 3)
        assert grab.pts_s is None or isinstance(grab.pts_s, float)
    times = [grab.pts_s for grab in frames(source, folder) if grab.pts_s is not None]
    assert times == sorted(times)


def gives_the_same_again(source: Source, folder: Path) -> None:
    first, second = frames(source, folder), frames(source, folder)
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.pts_s == other.pts_s
        assert one.image is None or np.array_equal(one.image, np.asarray(other.image))


def closing_it_closes_the_file(source: Source, folder: Path) -> None:
    spec = example(source, folder)
    before = open_files()
    with closing(source, spec) as grabs:
        next(grabs)
    assert open_files() <= before


CHECKS: tuple[Check, ...] = (
    says_what_it_reads,
    claims_nothing_that_is_not_there,
    what_is_not_there_is_our_error,
    gives_frames,
    gives_the_same_again,
    closing_it_closes_the_file,
)


def example(source: Source, folder: Path) -> str:
    try:
        spec = source.write_example(folder)
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    if spec is None:
        pytest.skip("it needs a device or a network")
    assert source.claims(spec) is True
    return spec


def frames(source: Source, folder: Path) -> list[Grab]:
    with closing(source, example(source, folder)) as grabs:
        found = list(itertools.islice(grabs, 5))
    assert found
    return found


def closing(
    source: Source, spec: str
) -> contextlib.AbstractContextManager[Generator[Grab, None, None]]:
    return contextlib.closing(source.grabs(spec, ReadOptions()))


def open_files() -> int:
    """Files that this process has open, other than devices and pipes."""
    return sum(link.resolve().is_file() for link in Path("/proc/self/fd").iterdir())
