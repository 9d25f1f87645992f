"""The OpenAPI document: made of the operations and of the structs that they take and give."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from samedge._version import __version__
from samedge.files.error_documents import ErrorDocument
from samedge.web.server.forms import FORM
from samedge.web.server.operations import JSON, NDJSON, PICTURE, Operation

VERSION = "3.1.0"
Json = dict[str, object]

_REFUSALS = {
    400: "Not JSON, or of another shape",
    401: "No token, or a wrong one",
    403: "A host, an origin or a path that is not served",
    404: "Not here, or no longer",
    408: "The request did not arrive in time",
    409: "Another has it, or changed it meanwhile",
    413: "Larger than the server takes",
    422: "An image or a prompt that cannot be used",
    429: "As much as the server takes is waiting; Retry-After says when to ask again",
    500: "The model or the server failed",
    503: "The server is stopping",
    504: "The answer was not there in time",
}
_FILE: Json = {"type": "string", "contentMediaType": PICTURE}
_PICTURES: Json = {
    PICTURE: {},
    "image/*": {},
    FORM: {"schema": {"type": "object", "properties": {"image": _FILE}, "required": ["image"]}},
}
_OF_ALL = (401, 403, 500, 503)
_OF_BODIES = (400, 408, 413, 429)


def document(operations: Iterable[Operation]) -> Json:
    """The document about some operations."""
    listed = list(operations)
    kinds = {kind for op in listed for kind in (*op.requests, op.answer) if _has_schema(kind)}
    ordered = sorted(kinds, key=str)
    schemas, components = msgspec.json.schema_components(
        [ErrorDocument, *ordered], ref_template="#/components/schemas/{name}"
    )
    by_kind = dict(zip(ordered, schemas[1:], strict=True))
    paths: dict[str, Json] = {}
    for operation in listed:
        entry = paths.setdefault(operation.path, {})
        entry[operation.method.lower()] = _entry(operation, by_kind, schemas[0])
    return {
        "openapi": VERSION,
        "info": {
            "title": "samedge serve",
            "version": __version__,
            "summary": "Promptable segmentation: images in, prompts to masks.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
                "key": {"type": "apiKey", "in": "header", "name": "Token"},
            },
        },
        "security": [{}, {"bearer": []}, {"basic": []}, {"key": []}],
    }


def _has_schema(kind: object) -> bool:
    return kind is not None and kind is not bytes


def _entry(operation: Operation, schemas: dict[object, Json], error: Json) -> Json:
    good: Json = {"description": "Done"}
    if _has_schema(operation.answer):
        good["content"] = {operation.media: {"schema": schemas[operation.answer]}}
    elif operation.media != JSON:
        good["content"] = {operation.media: {}}
    if operation.media == NDJSON:
        good["description"] = "One JSON document a line"
    bodies = _OF_BODIES if operation.requests else ()
    refused = sorted({*_OF_ALL, *bodies, *operation.refusals})
    responses: Json = {str(operation.status): good}
    for status in refused:
        content = {JSON: {"schema": error}}
        responses[str(status)] = {"description": _REFUSALS[status], "content": content}
    entry: Json = {
        "summary": operation.summary,
        "operationId": _identifier(operation),
        "responses": responses,
    }
    names = re.findall(r"{(\w+)}", operation.path)
    if names:
        entry["parameters"] = [_parameter(name) for name in names]
    if operation.requests:
        entry["requestBody"] = _body(operation.requests, schemas)
    return entry


def _identifier(operation: Operation) -> str:
    words = re.findall(r"\w+", operation.path) or ["root"]
    return "_".join([operation.method.lower(), *words])


def _parameter(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _body(kinds: Iterable[object], schemas: dict[object, Json]) -> Json:
    content: Json = {}
    for kind in kinds:
        content |= _PICTURES if kind is bytes else {JSON: {"schema": schemas[kind]}}
    return {"required": True, "content": content}
