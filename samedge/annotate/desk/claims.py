"""Who works on which photo: a lock on a file, which the system lets go of when a process dies.

A server holds the lock; which of its pages works on the photo it keeps in memory. A page that says
nothing for a while loses its photo, whose saved work stays.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import filelock

from samedge.errors import WriteError
from samedge.web.server.failures import ConflictError

SILENCE_S = 180.0
"""A page that said nothing for so long has gone; browsers let hidden pages speak once a minute."""


class ClaimedError(ConflictError):
    """Another annotator works on the photo."""


@dataclasses.dataclass
class _Claim:
    page: str
    lock: filelock.BaseFileLock
    heard: float


class Claims:
    """The photos that pages of this server work on. Not safe to share between threads.

    Args:
        folder: of the lock files, the same for all servers over a folder of photos.
        clock: tells the time, monotonic, s.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._claims: dict[str, _Claim] = {}

    def take(self, photo: str, page: str) -> None:
        """Give a photo to a page, or say that it has it.

        Raises:
            ClaimedError: another page has it, of this server or another.
            WriteError: the lock's file cannot be made.
        """
        self._sweep()
        mine = self._claims.get(photo)
        if mine is None:
            self._claims[photo] = _Claim(page, self._locked(photo), self._clock())
        elif mine.page == page:
            mine.heard = self._clock()
        else:
            raise ClaimedError("Another page of this server works on the photo: take another one.")

    def beat(self, page: str) -> None:
        """Note that a page is still there."""
        for claim in self._claims.values():
            if claim.page == page:
                claim.heard = self._clock()
        self._sweep()

    def holder(self, photo: str) -> str | None:
        """The page of this server that works on a photo."""
        claim = self._claims.get(photo)
        return None if claim is None else claim.page

    def release(self, photo: str, page: str) -> None:
        """Take a photo from a page, if that has it."""
        if self.holder(photo) == page:
            self._claims.pop(photo).lock.release()

    def release_others(self, photo: str | None, page: str) -> None:
        """Take all photos but one from a page: it works on one at a time."""
        for other in [key for key, claim in self._claims.items() if claim.page == page]:
            if other != photo:
                self.release(other, page)

    def close(self) -> None:
        """Let go of everything."""
        for claim in self._claims.values():
            claim.lock.release()
        self._claims.clear()

    def _locked(self, photo: str) -> filelock.BaseFileLock:
        path = self._folder / f"{photo}.lock"
        # The file stays: one that is removed may be locked by two, the old one and a new one.
        lock = filelock.FileLock(path, timeout=0, thread_local=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout as error:
            raise ClaimedError(
                "Another annotator works on the photo, in another process: take another one."
            ) from error
        except OSError as error:
            raise WriteError(
                f"{path} cannot be made ({error.strerror}): check that you may write there.",
                errno=error.errno,
            ) from error
        return lock

    def _sweep(self) -> None:
        oldest = self._clock() - SILENCE_S
        for photo in [key for key, claim in self._claims.items() if claim.heard < oldest]:
            self._claims.pop(photo).lock.release()
