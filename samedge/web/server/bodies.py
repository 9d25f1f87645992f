"""Reading requests' bodies: bounded in bytes and in time, each alone and all together."""

from __future__ import annotations

import asyncio
import threading

from starlette.requests import Request

from samedge.web.server.failures import BusyError, MalformedError, TooLargeError, TooSlowError


class Budget:
    """Bytes of all requests that are read or worked on; a request gives its own back at its end.

    Args:
        limit: most bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._taken = limit, 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """Bytes in use."""
        return self._taken

    def take(self, count: int) -> None:
        """Take bytes.

        Raises:
            BusyError: there are not so many left.
        """
        with self._lock:
            if self._taken + count > self._limit:
                raise BusyError(
                    f"The server holds {self._taken} bytes of requests, limit {self._limit}: send "
                    "the request again in a second."
                )
            self._taken += count

    def give_back(self, count: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._taken -= count


class Share:
    """What one request took of the budget.

    Args:
        budget: of the server.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget, self._count = budget, 0

    def take(self, count: int) -> None:
        """Take bytes; the errors are those of :meth:`Budget.take`."""
        self._budget.take(count)
        self._count += count

    def close(self) -> None:
        """Give everything back."""
        self._budget.give_back(self._count)
        self._count = 0


async def read_body(request: Request, *, limit: int, seconds: float) -> bytes:
    """The whole body of a request.

    Args:
        request: not read yet.
        limit: most bytes.
        seconds: until it has to be there.

    Raises:
        TooLargeError: it is larger, or says that it will be.
        TooSlowError: it was not there in time.
        BusyError: the server holds too many bytes of other requests.
        MalformedError: its length is no number.
        ClientDisconnect: the client left.
    """
    declared = request.headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdecimal()):
        raise MalformedError(f"Content-Length is {declared!r:.40}, expected a number of bytes.")
    if len(declared) > 18 or int(declared) > limit:
        raise _too_large(limit)
    try:
        return await asyncio.wait_for(_collected(request, limit), seconds)
    except (asyncio.TimeoutError, TimeoutError) as error:
        raise TooSlowError(
            f"The body was not there after {seconds:.0f} s: send it at once, or a smaller one."
        ) from error


async def _collected(request: Request, limit: int) -> bytes:
    share: Share = request.scope["samedge.share"]
    data = bytearray()
    async for chunk in request.stream():
        if len(data) + len(chunk) > limit:
            raise _too_large(limit)
        share.take(len(chunk))
        data += chunk
    return bytes(data)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"The body is larger than {limit} bytes: send a smaller one, or start the server with a "
        "larger --max-body."
    )
