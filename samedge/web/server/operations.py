"""What an address does: one row for the router, the metrics and the OpenAPI document alike."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from samedge.web.server.bodies import read_body
from samedge.web.server.failures import (
    CLIENT_GONE,
    ClientGoneError,
    MalformedError,
    StoppingError,
    TimedOutError,
    refusal,
)
from samedge.web.server.metrics import Metrics
from samedge.web.server.worker import Job

T = TypeVar("T")

Method = Literal["GET", "POST", "DELETE"]
PICTURE = "application/octet-stream"
"""Media type of a request that is the bytes of an image file."""

JSON, NDJSON = "application/json", "application/x-ndjson"

_PARSED_IN_THREAD_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True)
class Operation:
    """One method of one address.

    Attributes:
        method: of HTTP.
        path: with ``{name}`` for parameters.
        summary: one line.
        answer: the struct of the answer, or ``None`` where it has no JSON.
        run: answers a request.
        requests: structs of its JSON body, ``bytes`` for a picture's file; none without a body.
        status: of a good answer.
        media: of a good answer.
        refusals: further statuses that it answers, beside those that all have.
    """

    method: Method
    path: str
    summary: str
    answer: object
    run: Callable[[Request], Awaitable[Response]]
    requests: tuple[object, ...] = ()
    status: int = 200
    media: str = JSON
    refusals: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """What figures call it."""
        return f"{self.method} {self.path}"


def route_of(operation: Operation, metrics: Metrics) -> Route:
    """The operation for the router: its errors are answered, its time is counted."""

    async def endpoint(request: Request) -> Response:
        start = time.perf_counter()
        try:
            response = await operation.run(request)
        except ClientDisconnect:
            response = Response(status_code=CLIENT_GONE)
        except Exception as error:  # noqa: BLE001 - a bug of ours ends one request only
            response = refusal(error, method=request.method, path=request.url.path)
        metrics.requested(
            operation.name, status=response.status_code, seconds=time.perf_counter() - start
        )
        return response

    return Route(operation.path, endpoint, methods=[operation.method])


async def decoded(request: Request, kind: type[T], *, limit: int, seconds: float) -> T:
    """A request's JSON body.

    Args:
        request: not read yet.
        kind: the struct that it has to be.
        limit: most bytes.
        seconds: until it has to be there.

    Raises:
        MalformedError: not JSON, or not such.
        TooLargeError, TooSlowError, BusyError: as :func:`read_body`.
    """
    data = await read_body(request, limit=limit, seconds=seconds)
    if len(data) > _PARSED_IN_THREAD_BYTES:
        return await asyncio.to_thread(parsed, data, kind)
    return parsed(data, kind)


def parsed(data: bytes, kind: type[T]) -> T:
    """JSON as a struct.

    Raises:
        MalformedError: it is none.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except RecursionError as error:
        raise MalformedError("The JSON is nested too deep: send a flat document.") from error
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise MalformedError(
            f"The body does not fit ({error!s:.300}): /openapi.json says what it should be."
        ) from error


def encoded(answer: object, *, status: int = 200) -> Response:
    """A struct as the answer."""
    return Response(msgspec.json.encode(answer), status_code=status, media_type=JSON)


async def finished(request: Request, job: Job[T]) -> T:
    """The result of a job, as long as the client waits for it.

    Args:
        request: whose body was read.
        job: in the queue.

    Raises:
        ClientGoneError: the client left; the job is cancelled.
        TimedOutError: it took too long; the job is cancelled.
        StoppingError: the server stopped before its turn came.
        Exception: what the job raised.
    """
    left = asyncio.create_task(_left(request))
    result = asyncio.wrap_future(job.future)
    try:
        seconds = max(job.deadline - time.monotonic(), 0)
        both: set[asyncio.Future[Any]] = {left, result}
        await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if result.done() and not result.cancelled():
            return result.result()
        if result.cancelled():
            raise StoppingError("The server is stopping: ask again in a moment, or another one.")
        if left.done():
            raise ClientGoneError("The client closed the connection.")
        raise TimedOutError(
            f"The answer was not there after {job.deadline - job.since:.0f} s: ask for less, or "
            "start the server with more --request-seconds."
        )
    finally:
        left.cancel()
        if not result.done():
            job.cancel()
            result.cancel()  # what a running job raises at its end is nobody's any more


async def _left(request: Request) -> None:
    """Return when the client closes the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
