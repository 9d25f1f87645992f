"""Measuring in pieces: every call goes on where the last one stopped, and ends by itself."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

import click
import msgspec

from samedge.evaluation.ground_truth import TruthImage
from samedge.evaluation.reading import Readings
from samedge.records import DatasetRecord
from samedge.types import Array

T = TypeVar("T")


class Kept(msgspec.Struct, Generic[T], frozen=True):
    """One photo of one bundle, as the file has it."""

    bundle: str
    image: str
    found: T


def measured(
    photos: Iterable[tuple[TruthImage, Callable[[Array], T]]],
    readings: Readings,
    file: Path,
    *,
    kind: type[T],
    bundle: str,
    minutes: float,
) -> tuple[list[T], DatasetRecord]:
    """What was found of each photo, now or by an earlier call.

    The process ends with exit code 75 where photos are left after the time.

    Args:
        photos: each with what measures its pixels.
        readings: of their dataset.
        file: JSON lines that are read, and added to.
        kind: of what is found.
        bundle: its id: what others found is left alone.
        minutes: after which no other photo is begun.

    Returns:
        One a readable photo, in the order of the photos, and what the dataset was.
    """
    until = time.monotonic() + 60 * minutes
    lines = whole_lines(file)
    kept = [msgspec.json.decode(line, type=Kept[kind]) for line in lines]  # type: ignore[valid-type]
    known = {one.image: one.found for one in kept if one.bundle == bundle}
    file.parent.mkdir(parents=True, exist_ok=True)
    found: list[T] = []
    with file.open("ab") as stream:
        for image, measure in photos:
            if time.monotonic() > until:
                break
            pixels = readings.pixels(image)
            if pixels is None:
                continue
            if image.name not in known:
                known[image.name] = measure(pixels)
                line = Kept(bundle, image.name, known[image.name])
                stream.write(msgspec.json.encode(line) + b"\n")
                stream.flush()
            found.append(known[image.name])
    dataset = readings.record()
    click.echo(f"{len(found)} of {dataset.images} photos", err=True)
    if len(found) < dataset.images:
        sys.exit(75)  # EX_TEMPFAIL: call again
    return found, dataset


def whole_lines(file: Path) -> list[bytes]:
    """The lines of a file that is added to; what a killed call left half written is cut off."""
    content = file.read_bytes() if file.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(file, len(whole))
    return whole.splitlines()
