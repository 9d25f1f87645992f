"""Every kind of source that discovery finds keeps its promises, and a broken one is found."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from samedge.errors import SourceError
from samedge.live import sources
from samedge.live.sources.base import Grab, ReadOptions, Source
from tests.contract import source_checks as checks


@pytest.mark.skipif(sys.platform != "linux", reason="it counts open files by /proc")
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", sources.names())
def test_source(name: str, check: checks.Check, tmp_path: Path) -> None:
    check(sources.get(name), tmp_path)


@pytest.mark.parametrize("name", sources.names())
def test_no_other_kind_claims_its_example(name: str, tmp_path: Path) -> None:
    spec = checks.example(sources.get(name), tmp_path)
    assert [other for other in sources.names() if sources.get(other).claims(spec)] == [name]


# ---- the checks must be able to fail


class Sound(Source):
    """One picture as an array in a file."""

    form = "a file of NumPy's"
    is_live = False

    def claims(self, spec: str) -> bool:
        return spec.endswith(".npy")

    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        del options
        try:
            with Path(spec).open("rb") as file:
                for number, image in enumerate(np.load(file)):
                    yield Grab(image, number / 30)
        except OSError as error:
            raise SourceError(f"{spec} cannot be read: {error}.") from error

    def write_example(self, folder: Path) -> str | None:
        path = folder / "frames.npy"
        np.save(path, np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3))
        return str(path)


class Nameless(Sound):
    form = ""


class Greedy(Sound):
    def claims(self, spec: str) -> bool:
        return True


class Raw(Sound):
    """Lets the system's own exception through."""

    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        yield Grab(np.load(spec)[0], 0.0)


class Floats(Sound):
    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        for grab in super().grabs(spec, options):
            assert grab.image is not None
            yield Grab(grab.image.astype(np.float32), grab.pts_s)


class Forgetful(Sound):
    """Goes on where the last reader stopped."""

    count = 0.0

    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        for grab in super().grabs(spec, options):
            Forgetful.count += 1
            yield Grab(grab.image, Forgetful.count)


class Leaking(Sound):
    files: ClassVar[list[Any]] = []

    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        self.files.append(Path(spec).open("rb"))  # noqa: SIM115 - it is the leak
        yield from super().grabs(spec, options)


BREAKS: dict[str, type[Source]] = {
    "says_what_it_reads": Nameless,
    "claims_nothing_that_is_not_there": Greedy,
    "what_is_not_there_is_our_error": Raw,
    "gives_frames": Floats,
    "gives_the_same_again": Forgetful,
    "closing_it_closes_the_file": Leaking,
}


@pytest.mark.skipif(sys.platform != "linux", reason="it counts open files by /proc")
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_a_broken_source_is_found(check: checks.Check, tmp_path: Path) -> None:
    check(Sound(), tmp_path)
    try:
        with pytest.raises((AssertionError, FileNotFoundError)):
            check(BREAKS[check.__name__](), tmp_path)
    finally:
        for file in Leaking.files:
            file.close()
