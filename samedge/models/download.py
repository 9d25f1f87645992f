"""Large files to the user's cache: resumed after a break, verified, and never there by half.

The part fetched so far lies beside the target as ``NAME.part``. It becomes the target by one
rename, after its hash has been checked; a lock keeps two processes from doing this at once.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

import filelock

from samedge.errors import DownloadError
from samedge.files.writing import sync_one
from samedge.types import Progress

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 20
_ATTEMPTS = 5
_TIMEOUT_S = 30.0
_LOCK_TIMEOUT_S = 3600.0


class _WrongContentError(Exception):
    """What arrived is not the file; trying to go on with it is useless."""


def download(
    address: str,
    target: Path,
    *,
    sha256: str | None = None,
    size_bytes: int | None = None,
    progress: Progress | None = None,
    pause_s: float = 1.0,
) -> Path:
    """Fetch a file unless it is there already, and return its path.

    Args:
        address: http or https.
        target: where the file shall lie; its folder is made.
        sha256: expected hash; a file that has another is never returned.
        size_bytes: expected size.
        progress: hears of the bytes so far and in all.
        pause_s: before the second attempt; doubles with each further one.

    Raises:
        DownloadError: no network, a broken server, or another file than expected. The message says
            where to put the file by hand.
    """
    if not address.startswith(("http://", "https://")):
        raise DownloadError(f"The address {address!r} is not http or https: it is not fetched.")
    fetcher = _Fetcher(address, target, sha256=sha256, size_bytes=size_bytes, progress=progress)
    try:
        if fetcher.is_there():
            return target  # also where nothing can be written, not even a lock
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(f"{target}.lock", timeout=_LOCK_TIMEOUT_S)
        with lock:
            fetcher.run(pause_s)
    except (OSError, http.client.HTTPException, _WrongContentError, filelock.Timeout) as error:
        facts = [f"{size_bytes} bytes"] if size_bytes is not None else []
        facts += [f"SHA-256 {sha256}"] if sha256 is not None else []
        raise DownloadError(
            f"{address} could not be downloaded: {_reason(error)}. Without network, fetch it on "
            f"another machine and put it at {target}"
            + (f" ({', '.join(facts)})." if facts else ".")
        ) from error
    return target


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


class _Fetcher:
    """One download; its methods run under the lock."""

    def __init__(
        self,
        address: str,
        target: Path,
        *,
        sha256: str | None,
        size_bytes: int | None,
        progress: Progress | None,
    ) -> None:
        self.address, self.target = address, target
        self.sha256, self.size_bytes = sha256, size_bytes
        self.progress = progress
        self.part = target.with_name(target.name + ".part")

    def run(self, pause_s: float) -> None:
        """Make the target exist and be right."""
        if self.is_there():  # another process was faster
            return
        resumed = self._size() > 0
        self._fetch(pause_s)
        try:
            self._verify(self.part, remedy="the server may be at fault")
        except _WrongContentError:
            self.part.unlink()
            if not resumed:
                raise
            _LOG.warning("%s: what was there before did not fit; starting over", self.part.name)
            self._fetch(pause_s)
            self._verify_or_discard()
        self._commit()

    def is_there(self) -> bool:
        """Whether the target is there and right; a damaged one is reported."""
        if not self.target.is_file():
            return False
        try:
            self._verify(self.target, remedy="it is downloaded again")
        except _WrongContentError as error:
            _LOG.warning("%s", error)
            return False
        return True

    def _verify_or_discard(self) -> None:
        try:
            self._verify(self.part, remedy="the server may be at fault")
        except _WrongContentError:
            self.part.unlink()
            raise

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _fetch(self, pause_s: float) -> None:
        """Fill the part file, going on where a broken connection left it."""
        failures = 0
        while True:
            before = self._size()
            try:
                self._attempt(before)
                return
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                    raise
                failures = 1 if self._size() > before else failures + 1
                if failures >= _ATTEMPTS:
                    raise
                # The error at the end says all that a user needs; -v tells of every try.
                _LOG.info("%s: %s; trying again", self.address, _reason(error))
                time.sleep(pause_s * 2 ** (failures - 1))

    def _attempt(self, offset: int) -> None:
        if self.size_bytes is not None and offset >= self.size_bytes:
            if offset == self.size_bytes:
                return
            self.part.unlink()
            offset = 0
        headers = {"User-Agent": "samedge", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        request = urllib.request.Request(self.address, headers=headers)  # noqa: S310 - checked
        try:
            response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()  # it is the answer too, and holds the connection
            if error.code != 416 or not offset:
                raise
            self.part.unlink()  # there is nothing after what we have: it is not this file
            raise ConnectionError("the server has no bytes after those already here") from error
        with response:
            self._receive(response, offset)

    def _receive(self, response: http.client.HTTPResponse, offset: int) -> None:
        start = _start(response) if response.status == 206 else 0
        if start not in (0, offset):
            raise _WrongContentError(
                f"the server sent bytes from {start}, expected from {offset} or from 0"
            )
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else self.size_bytes
        done = start
        with self.part.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                if self.size_bytes is not None and done > self.size_bytes:
                    raise _WrongContentError(
                        f"the server sent more than the expected {self.size_bytes} bytes"
                    )
                file.write(chunk)
                if self.progress is not None:
                    self.progress(done, self.size_bytes or total or 0)
        expected = self.size_bytes if self.size_bytes is not None else total
        if expected is not None and done < expected:
            raise ConnectionError(f"the connection broke off after {done} of {expected} bytes")

    def _verify(self, file: Path, *, remedy: str) -> None:
        size = file.stat().st_size
        if self.size_bytes is not None and size != self.size_bytes:
            raise _WrongContentError(
                f"{file} has {size} bytes, expected {self.size_bytes}; {remedy}"
            )
        if self.sha256 is None:
            return
        with file.open("rb") as opened:
            found = _sha256(opened)
        if found != self.sha256:
            raise _WrongContentError(
                f"{file} has SHA-256 {found}, expected {self.sha256}; {remedy}"
            )

    def _commit(self) -> None:
        sync_one(self.part)
        self.part.replace(self.target)
        sync_one(self.target.parent)


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _start(response: http.client.HTTPResponse) -> int:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match.group(1)) if match else -1
