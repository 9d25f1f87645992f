"""What a kind of source is: from a name to frames."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from samedge.types import Array

_CREDENTIALS = re.compile(r"(?<=://)[^/\s\"']*@")


class Grab(NamedTuple):
    """What a source gives for one frame.

    Attributes:
        image: (H, W, 3) uint8 RGB, or ``None`` for a frame that came damaged.
        pts_s: the source's own timestamp in seconds, or ``None`` where it has none.
        fault: what is wrong with a damaged frame, where the source knows, for people.
    """

    image: Array | None
    pts_s: float | None = None
    fault: str | None = None


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Wishes for a source; what it cannot do it leaves.

    Attributes:
        size: ``(height, width)`` that a camera is asked for.
        fps: frames a second that a camera is asked for, or that a folder is played at.
        threads: of the decoder; ``None`` leaves it to the library.
        hardware: decoder of the machine, such as ``cuda``, ``vaapi``, ``videotoolbox``; ``None``
            decodes on the processor.
    """

    size: tuple[int, int] | None = None
    fps: float | None = None
    threads: int | None = None
    hardware: str | None = None


class Source(ABC):
    """A kind of source. Stateless; one instance a module, named ``SOURCE``.

    Attributes:
        form: what it reads, as a line of help.
        is_live: whether frames come when they come: then the newest counts, and a source that
            fails is opened again. Otherwise it has an end, and can be read without dropping.
    """

    form: str
    is_live: bool

    @abstractmethod
    def claims(self, spec: str) -> bool:
        """Whether ``spec`` is one of these; quick, and without opening it."""

    @abstractmethod
    def grabs(self, spec: str, options: ReadOptions) -> Generator[Grab, None, None]:
        """Open ``spec`` and give its frames in order; closing the generator closes it.

        Raises:
            SourceError: it cannot be opened or read on.
            BackendUnavailableError: a library is missing; ends in the install line.
        """

    def remarks(self, spec: str) -> tuple[str, ...]:
        """What somebody should know about ``spec`` who takes it for whole, said before its frames.

        Returns:
            Sentences without their full stop.

        Raises:
            SourceError: it cannot be read.
        """
        del spec
        return ()

    def write_example(self, folder: Path) -> str | None:
        """Write something small that it reads, for the contract's tests.

        Args:
            folder: an existing one.

        Returns:
            What it is opened by; ``None`` where it takes a device or a network.

        Raises:
            BackendUnavailableError: the library that writes it is missing.
        """
        del folder
        return None


def grab_from_item(item: object) -> Grab:
    """A frame as a user's iterator gives it: an array, or an array and its timestamp."""
    image, pts_s = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
    stamp = float(pts_s) if isinstance(pts_s, (int, float)) else None
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or not image.size:
        return Grab(None, stamp)
    return Grab(image if image.ndim == 3 and image.shape[2] == 3 else None, stamp)


def no_frames(name: str, item: object, *, count: int) -> str:
    """What is wrong where not one of somebody's items was a frame.

    Args:
        name: of the source.
        item: the first of them.
        count: of them.
    """
    image = item[0] if isinstance(item, tuple) and len(item) == 2 else item
    what = f"a {type(image).__name__}"
    if isinstance(image, np.ndarray):
        what = f"an array of shape {image.shape} and dtype {image.dtype}"
    return (
        f"{name} gave {count} items and not one frame: the first is {what}, expected an (H, W, 3) "
        "uint8 RGB array, or a pair of it and its timestamp in seconds."
    )


def without_password(text: str) -> str:
    """A text whose addresses have lost what is before their ``@``, for logs and records."""
    return _CREDENTIALS.sub("", text)
