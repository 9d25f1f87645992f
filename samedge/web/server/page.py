"""The page of ``samedge web``, with its engine on this server."""

from __future__ import annotations

from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from samedge.bundle.manifest import Manifest, Shape
from samedge.files.json_text import builtins_from
from samedge.web.server.failures import NotFoundError
from samedge.web.server.service import Service

_PAGE = Path(__file__).parents[1] / "page"
_SAMPLES = Path(__file__).parents[2] / "data" / "photos"
_INDEX = "index.html"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}
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


def page_files() -> dict[str, Path]:
    """Files of the page by their address; none where this installation has no page."""
    if not (_PAGE / _INDEX).is_file():
        return {}
    found = {path.relative_to(_PAGE).as_posix(): path for path in sorted(_PAGE.rglob("*"))}
    samples = {f"samples/{path.name}": path for path in sorted(_SAMPLES.glob("*.jpg"))}
    return {name: path for name, path in (found | samples).items() if path.suffix in _KINDS}


def page_routes(service: Service) -> list[Route]:
    """The page, what it reads of the bundle, and where it computes; nothing else is served."""
    files = page_files()
    if not files:
        return []
    made = {
        "config.json": b'{"engine": "server"}',
        "bundle.json": shown_manifest(service.predictor.manifest),
    }

    async def endpoint(request: Request) -> Response:
        name = request.path_params["name"] or _INDEX
        path = files.get(name)
        if name not in made and path is None:
            raise NotFoundError(
                f"There is no {request.url.path:.200}: /openapi.json lists what is."
            )
        data = made[name] if name in made else _content(path)
        kind = _KINDS[Path(name).suffix]
        return Response(data, media_type=kind, headers={"Cache-Control": "no-cache"})

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
        if graph.role in ("encoder", "decoder")
    ]
    return msgspec.json.encode({**shown, "graphs": graphs, "artifacts": []})
