"""Gaps in the numbers of pictures that are frames of one recording."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

_FEWEST = 3
_SHOWN = 5


def frame_gaps(paths: Iterable[Path]) -> str | None:
    """What is missing among numbered pictures, and what that means; ``None`` for nothing.

    Numbers count where names differ in one of them, and go up in steps of one size, such as 1, or
    5 in data of which every fifth frame is annotated; a longer step of some of them is a gap. Names
    that hold times go up in steps of many sizes, and have none.
    """
    found = [gap for numbers in _series(paths) for gap in _missing(numbers)]
    if not found:
        return None
    count = sum(lacking for lacking, _ in found)
    more = f", and in {len(found) - _SHOWN} more places" if len(found) > _SHOWN else ""
    where = ", ".join(words for _, words in found[:_SHOWN])
    verb = "are" if count > 1 else "is"
    return (
        f"of its numbered pictures {count} {verb} missing ({where}{more}): put them there, for the "
        "frames on both sides are taken for neighbours"
    )


def _series(paths: Iterable[Path]) -> Iterator[dict[int, str]]:
    """The number that counts in each set of names that are otherwise equal, as it is written."""
    alike: dict[tuple[str, ...], list[list[str]]] = {}
    for path in paths:
        parts = re.split(r"([0-9]+)", path.stem)
        alike.setdefault(tuple(parts[::2]), []).append(parts[1::2])
    for names in alike.values():
        columns = [dict.fromkeys(column) for column in zip(*names, strict=True)]
        varying = [column for column in columns if len(column) > 1]
        if len(varying) == 1:
            yield {int(text): text for text in varying[0]}


def _missing(numbers: dict[int, str]) -> Iterator[tuple[int, str]]:
    """How many numbers each gap lacks, and which."""
    ordered = sorted(numbers)
    steps = [after - before for before, after in pairwise(ordered)]
    if len(ordered) < _FEWEST:
        return
    usual, times = max(collections.Counter(sorted(steps)).items(), key=lambda step: step[1])
    if 2 * times < len(steps) or any(step % usual for step in steps):
        return
    for before, step in zip(ordered, steps, strict=False):
        if step > usual:
            width = len(numbers[before])
            first, last = (f"{n:0{width}d}" for n in (before + usual, before + step - usual))
            yield step // usual - 1, first if first == last else f"{first} to {last}"
