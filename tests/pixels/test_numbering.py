"""Which names of pictures have a gap among their numbers, and which only look so."""

from __future__ import annotations

from pathlib import Path

import pytest

from samedge.pixels.numbering import frame_gaps


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["0001", "0002", "0005"], "2 are missing (0003 to 0004)"),
        (["f8", "f9", "f11", "f12", "f15"], "3 are missing (10, 13 to 14)"),
        (["00000", "00005", "00010", "00020"], "1 is missing (00015)"),
        (["cam2_1080p_7", "cam2_1080p_8", "cam2_1080p_10"], "1 is missing (9)"),
        (
            [f"{n:03d}" for n in range(90) if n % 10 or not n],
            "8 are missing (010, 020, 030, 040, 050, and in 3 more places)",
        ),
    ],
)
def test_gaps(names: list[str], said: str) -> None:
    found = frame_gaps([Path(f"{name}.png") for name in names])
    assert found is not None
    assert f"of its numbered pictures {said}: put them there" in found


@pytest.mark.parametrize(
    "names",
    [
        [f"{n:05d}" for n in range(40)],
        [f"{n:05d}" for n in range(0, 200, 5)],
        ["7", "8", "9", "10", "11"],
        ["1700000000033", "1700000000066", "1700000000100", "1700000000133"],  # times
        ["12-30-01", "12-30-05", "12-31-06"],
        ["a", "b", "c"],
        ["0001", "0009"],
        ["IMG_0012", "IMG_0015", "IMG_0017"],  # chosen ones
    ],
)
def test_none(names: list[str]) -> None:
    assert frame_gaps([Path(f"{name}.jpg") for name in names]) is None


def test_frames_of_two_kinds_of_files_are_one_recording() -> None:
    assert frame_gaps([Path("1.png"), Path("2.jpg"), Path("3.png")]) is None
