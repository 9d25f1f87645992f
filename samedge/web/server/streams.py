"""Lines from the model's thread to a client, as they are made: NDJSON and server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import StreamingResponse

from samedge.web.server.failures import TimedOutError, document_of
from samedge.web.server.messages import Failed
from samedge.web.server.operations import NDJSON
from samedge.web.server.worker import Job

T = TypeVar("T")
Emit = Callable[[T], None]
Start = Callable[[Emit[T]], Job[None]]
"""Queues a job that calls what it is given with each thing that it makes, in its own thread."""

_END = None


async def lines(start: Start[T], *, seconds: float) -> AsyncIterator[T]:
    """What a job makes, as it makes it; leaving the loop early cancels the job.

    Args:
        start: queues the job; its refusals are raised before anything is yielded.
        seconds: until the job has to be done.

    Raises:
        TimedOutError: it was not done in time.
        Exception: what the job raised.
    """
    loop = asyncio.get_running_loop()
    made: asyncio.Queue[T | None] = asyncio.Queue()

    def emit(line: T | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it who waits
            loop.call_soon_threadsafe(made.put_nowait, line)

    job = start(emit)
    job.future.add_done_callback(lambda _: emit(_END))
    deadline = loop.time() + seconds
    try:
        while True:
            try:
                line = await asyncio.wait_for(made.get(), deadline - loop.time())
            except (asyncio.TimeoutError, TimeoutError) as error:
                raise TimedOutError(f"The work was not done after {seconds:.0f} s.") from error
            if line is _END:
                break
            yield line
        job.future.result()
    finally:
        job.cancel()


async def ndjson(request: Request, source: AsyncIterator[object]) -> StreamingResponse:
    """An answer of one JSON document a line; an error on the way is its last line.

    Args:
        request: that asked.
        source: structs.

    Raises:
        Exception: whatever the source raises before its first line.
    """

    def failed(error: Exception) -> object:
        return Failed(error=document_of(error, method=request.method, path=request.url.path))

    return await streamed(source, failed, frame=_line, media=NDJSON)


async def streamed(
    source: AsyncIterator[object],
    failed: Callable[[Exception], object],
    *,
    frame: Callable[[object], bytes],
    media: str,
) -> StreamingResponse:
    """An answer that is sent while it is made.

    Args:
        source: structs.
        failed: makes the last struct of an error on the way.
        frame: a struct as bytes.
        media: type of the answer.

    Raises:
        Exception: whatever the source raises before its first struct.
    """
    first = await _first(source)

    async def body() -> AsyncIterator[bytes]:
        if first is not None:
            yield frame(first)
        try:
            async for made in source:
                yield frame(made)
        except Exception as error:  # noqa: BLE001 - the status is sent, so a line has to say it
            yield frame(failed(error))
        finally:
            await _closed(source)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(body(), media_type=media, headers=headers)


async def _first(source: AsyncIterator[object]) -> object:
    try:
        return await anext(source)
    except StopAsyncIteration:
        return None


async def _closed(source: AsyncIterator[object]) -> None:
    close: Callable[[], Awaitable[None]] | None = getattr(source, "aclose", None)
    if close is not None:
        await close()


def _line(made: object) -> bytes:
    return msgspec.json.encode(made) + b"\n"


def event(made: object) -> bytes:
    """A struct as one server-sent event."""
    return b"data: " + msgspec.json.encode(made) + b"\n\n"
