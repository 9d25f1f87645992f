"""A process's memory footprint, held against memory that a test itself takes and gives back."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from samedge.web.renderer import FootprintWatch, Renderer, footprint_of, status_kb

HERE = Path("/proc/self")
LENGTH = 64 << 20
SLACK = 8 << 20

pytestmark = pytest.mark.skipif(
    not (HERE / "status").exists(), reason="only Linux says what a process's memory is"
)


def taken(flags: int) -> mmap.mmap:
    """Memory with something on every page of it."""
    memory = mmap.mmap(-1, LENGTH, flags=flags)
    for place in range(0, LENGTH, mmap.PAGESIZE):
        memory[place] = 1
    return memory


def test_the_peak_stays_when_memory_is_given_back() -> None:
    before = footprint_of(HERE)
    with FootprintWatch([HERE]) as watch:
        memory = taken(mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        own_bytes = footprint_of(HERE).own_bytes
        wait_for(watch, own_bytes - SLACK)
        memory.close()
    after, peak = footprint_of(HERE), watch.peak(HERE)
    assert peak is not None
    assert peak.own_bytes > before.own_bytes + LENGTH - SLACK
    assert after.own_bytes < peak.own_bytes - LENGTH + SLACK


def wait_for(watch: FootprintWatch, own_bytes: int) -> None:
    for _ in range(500):
        peak = watch.peak(HERE)
        if peak is not None and peak.own_bytes >= own_bytes:
            return
        watch._ended.wait(0.01)
    pytest.fail("never polled")


def test_shared_memory_is_counted_apart() -> None:
    before = footprint_of(HERE)
    memory = taken(mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    after = footprint_of(HERE)
    memory.close()
    assert after.shared_bytes - before.shared_bytes > LENGTH - SLACK
    assert after.own_bytes - before.own_bytes < SLACK


def test_mapped_files_do_not_count() -> None:
    known = status_kb(HERE)
    assert known["VmRSS"] > known["RssAnon"]
    assert footprint_of(HERE).own_bytes < known["VmRSS"] * 1024


def test_a_process_that_is_gone_has_no_figures() -> None:
    gone = Path("/proc/0")
    with FootprintWatch([gone]) as watch:
        pass
    assert watch.peak(gone) is None
    assert watch.peak(None) is None


def test_a_browser_without_pages_has_none() -> None:
    class Session:
        def send(self, _: str) -> dict[str, object]:
            return {"processInfo": [{"type": "browser", "id": 1}]}

        def detach(self) -> None:
            pass

    class Browser:
        def new_browser_cdp_session(self) -> Session:
            return Session()

    found = Renderer(Browser())
    assert (found.peak_bytes(), found.footprint(), found.cpu_ms()) == (None, None, None)
