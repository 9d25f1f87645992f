"""Images by path: below the roots that the server was started with, and nowhere else.

Links are resolved first, and what they lead to must lie below a root. The file is then opened from
the root on, folder by folder, without following links, so that one that is exchanged in between
leads nowhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from samedge.errors import ImageError
from samedge.files import limits
from samedge.web.server.failures import ForbiddenError, NotFoundError

_LINKS_ARE_REFUSED = hasattr(os, "O_NOFOLLOW") and os.open in os.supports_dir_fd


def read_below(path: str, roots: Sequence[Path]) -> bytes:
    """Content of an image's file.

    Args:
        path: absolute, or below one of the roots, the first that has it.
        roots: folders.

    Raises:
        ForbiddenError: there are no roots, or the path leads out of them.
        NotFoundError: there is no such file.
        ImageError: no regular file, or one that is too large.
    """
    root, inside = _placed(path, roots)
    try:
        descriptor = _opened(root, inside)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise NotFoundError(
            f"There is no file {path!r:.200} below the roots: name it by its path from a root on."
        ) from error
    try:
        return _content(descriptor, path)
    finally:
        os.close(descriptor)


def _placed(path: str, roots: Sequence[Path]) -> tuple[Path, Path]:
    """The root that a path lies below, and the path from there on, without links."""
    if not roots:
        raise ForbiddenError(
            "This server reads no files: send the image itself, or start it with --root FOLDER."
        )
    resolved = []
    for root in roots:
        home = Path(os.path.realpath(root))
        try:
            found = Path(os.path.realpath(home / path))
        except (OSError, ValueError) as error:
            raise NotFoundError(f"{path!r:.200} is no path of a file.") from error
        if found.is_relative_to(home):
            resolved.append((home, found.relative_to(home)))
    if not resolved:
        raise ForbiddenError(
            f"{path!r:.200} leads out of the roots of this server: name a file below one of them."
        )
    return next((pair for pair in resolved if (pair[0] / pair[1]).exists()), resolved[0])


def _opened(root: Path, inside: Path) -> int:
    # Without O_NONBLOCK, opening a pipe waits for somebody to write into it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not _LINKS_ARE_REFUSED:
        return os.open(root / inside, flags)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    *folders, name = inside.parts or (".",)
    try:
        for part in folders:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)


def _content(descriptor: int, path: str) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path!r:.200} is not a file: name an image file.")
    limits.check(status.st_size, "image_bytes", what=f"{path!r:.200}", error=ImageError)
    with open(descriptor, "rb", closefd=False) as file:
        data = file.read(limits.limit("image_bytes") + 1)
    limits.check(len(data), "image_bytes", what=f"{path!r:.200}", error=ImageError)
    return data
