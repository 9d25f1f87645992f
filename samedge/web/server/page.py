"""The page of ``samedge web``, with its engine on this server: ``config.json`` says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from samedge.bundle.manifest import Manifest, Shape
from samedge.files.json_text import builtins_from
from samedge.types import IMAGE_ROLES
from samedge.web.server.failures import NotFoundError
from samedge.web.server.service import Service
from samedge.web.site import INDEX, page_files
from samedge.web.static import HEADERS, content_type

_SHOWN = ("schema", "id", "samedge_version", "created", "model", "target", "backend", "precision")
_USED = ("input_size", "frame", "prompts", "thresholds")


class _Graph(msgspec.Struct, frozen=True, kw_only=True):
    """A graph as the page checks it: it opens none, the formats that it knows are a browser's."""

    role: str
    precision: str
    artifact: str = ""
    format: str = "onnx"
    inputs: list[str] = []
    outputs: list[str] = []
    shapes: list[Shape] = []


def page_routes(service: Service, *, files: Mapping[str, Path]) -> list[Route]:
    """The page, what it reads of the bundle, and where it computes; nothing else is served.

    Args:
        service: of the server.
        files: further ones, or others in the place of the page's own.
    """
    files = page_files() | dict(files)
    made = {
        "config.json": b'{"engine": "server"}',
        "bundle.json": shown_manifest(service.predictor.manifest),
    }

    async def endpoint(request: Request) -> Response:
        name = request.path_params["name"] or INDEX
        path = files.get(name)
        if name not in made and path is None:
            raise NotFoundError(
                f"There is no {request.url.path:.200}: /openapi.json lists what is."
            )
        data = made[name] if name in made else _content(path)
        return Response(data, media_type=content_type(name), headers=dict(HEADERS))

    return [Route("/{name:path}", endpoint, methods=["GET"])]


def _content(path: Path | None) -> bytes:
    assert path is not None
    return path.read_bytes()


def shown_manifest(manifest: Manifest) -> bytes:
    """What the page needs of a manifest, whatever the format of its graphs, as JSON."""
    whole: dict[str, object] = builtins_from(manifest)
    shown = {name: whole[name] for name in (*_SHOWN, *_USED)}
    graphs = [
        _Graph(role=str(graph.role), precision=graph.precision, shapes=list(graph.shapes))
        for graph in manifest.own_graphs
        if graph.role in IMAGE_ROLES
    ]
    return msgspec.json.encode({**shown, "graphs": graphs, "artifacts": []})
