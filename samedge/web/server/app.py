"""The ASGI application: guards outside, then the operations of all protocols, then the page."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from samedge.web.server import api, openapi, protocols
from samedge.web.server.extension import Extension
from samedge.web.server.failures import MethodError, NotFoundError, RequestError, handled
from samedge.web.server.guard import HostGuard, TokenGuard
from samedge.web.server.operations import JSON, Operation, route_of
from samedge.web.server.page import page_routes
from samedge.web.server.service import Service

_CORS_SECONDS = 600


def application(
    service: Service,
    *,
    names: Sequence[str] | None = None,
    extension: Extension | None = None,
) -> ASGIApp:
    """The application of one server.

    Args:
        service: what it answers with.
        names: protocols of other programs; ``None`` is all of them.
        extension: further operations, and files of a page.

    Raises:
        UnknownNameError: there is no such protocol.
    """
    listed = [*api.operations(service)]
    for name in protocols.names() if names is None else names:
        listed += protocols.get(name).operations(service)
    extension = extension or Extension()
    listed += extension.operations
    routes: list[BaseRoute] = [route_of(operation, service.metrics) for operation in listed]
    routes.append(_description(listed))
    routes += page_routes(
        service, files=extension.files
    )  # last: it takes every address that is left
    inner = Starlette(
        routes=routes,
        # Starlette raises again what the handler of `Exception` answered: that is for our bugs.
        exception_handlers={HTTPException: _routing, RequestError: handled, Exception: handled},
    )
    guarded: ASGIApp = TokenGuard(inner, token=service.settings.token)
    origins = service.settings.allowed_origins
    if origins:
        guarded = CORSMiddleware(
            guarded,
            allow_origins=origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("Authorization", "Content-Type", "Token"),
            expose_headers=("Retry-After",),
            max_age=_CORS_SECONDS,
        )
    return HostGuard(guarded, settings=service.settings, metrics=service.metrics)


def _description(listed: Sequence[Operation]) -> Route:
    text = msgspec.json.encode(openapi.document(listed))

    async def endpoint(request: Request) -> Response:
        del request
        return Response(text, media_type=JSON)

    return Route("/openapi.json", endpoint, methods=["GET"])


async def _routing(request: Request, error: Exception) -> Response:
    """The router's own refusals as typed documents."""
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    mine: RequestError
    if error.status_code == 405:
        mine = MethodError(f"{where:.200} is not offered: /openapi.json lists what is.")
        mine.headers = dict(error.headers or {})
    else:
        mine = NotFoundError(f"There is no {where:.200}: /openapi.json lists what is.")
    return await handled(request, mine)
