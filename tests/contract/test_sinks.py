"""Every kind of sink that discovery finds keeps its promises, and a broken one is found."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from samedge.live import sinks
from samedge.live.sinks.base import Drawn, Recording, Sink
from tests.contract import sink_checks as checks


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", sinks.names())
def test_sink(name: str, check: checks.Check, tmp_path: Path) -> None:
    check(sinks.get(name), tmp_path)


def test_an_ending_means_one_kind() -> None:
    counts = Counter(ending for name in sinks.names() for ending in sinks.get(name).endings)
    assert max(counts.values()) == 1
    for name in sinks.names():
        for ending in sinks.get(name).endings:
            assert sinks.from_path(Path(f"out{ending}")) == name


# ---- the checks must be able to fail


class _Lines(Recording):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, drawn: Drawn) -> None:
        self.lines.append(f"{drawn.followed.frame.number}\n")


class Sound(Sink):
    """The numbers of the frames."""

    endings = (".txt",)

    @contextlib.contextmanager
    def open(self, path: Path, *, fps: float | None) -> Iterator[Recording]:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = _Lines()
        try:
            yield lines
        finally:
            path.write_text("".join(lines.lines))


class Shouting(Sound):
    endings = (".TXT",)


class NeedsAFolder(Sound):
    @contextlib.contextmanager
    def open(self, path: Path, *, fps: float | None) -> Iterator[Recording]:
        path.parent.rmdir() if path.parent.is_dir() and not any(path.parent.iterdir()) else None
        if not path.parent.is_dir():
            yield _Lines()
            return
        with super().open(path, fps=fps) as recording:
            yield recording


class Untidy(Sound):
    @contextlib.contextmanager
    def open(self, path: Path, *, fps: float | None) -> Iterator[Recording]:
        with super().open(path, fps=fps) as recording:
            path.with_suffix(".part").touch()
            yield recording


class LosesWhatItHad(Sound):
    @contextlib.contextmanager
    def open(self, path: Path, *, fps: float | None) -> Iterator[Recording]:
        lines = _Lines()
        yield lines
        path.write_text("".join(lines.lines))


class KeepsTheLast(Sound):
    @contextlib.contextmanager
    def open(self, path: Path, *, fps: float | None) -> Iterator[Recording]:
        lines = _Lines()
        yield lines
        path.write_text(lines.lines[-1])


class Silent(Sound):
    @contextlib.contextmanager
    def open(self, path: Path, *, fps: float | None) -> Iterator[Recording]:
        lines = _Lines()
        yield lines
        with contextlib.suppress(OSError):
            path.write_text("".join(lines.lines))


BREAKS: dict[str, type[Sink]] = {
    "says_what_it_writes": Shouting,
    "writes_where_there_is_no_folder_yet": NeedsAFolder,
    "writes_nothing_beside": Untidy,
    "keeps_what_an_interruption_left": LosesWhatItHad,
    "more_frames_are_more_bytes": KeepsTheLast,
    "a_full_disk_is_said": Silent,
}


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_a_broken_sink_is_found(check: checks.Check, tmp_path: Path) -> None:
    check(Sound(), tmp_path)
    (tmp_path / "again").mkdir()
    with pytest.raises((AssertionError, FileNotFoundError, pytest.fail.Exception)):
        check(BREAKS[check.__name__](), tmp_path / "again")
