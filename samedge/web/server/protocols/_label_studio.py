"""Label Studio's ML backend: smart keypoints and rectangles become brush masks or polygons.

Images are read from data URIs, from below the roots (``/data/local-files/?d=``), and from the one
Label Studio that ``LABEL_STUDIO_URL`` and ``LABEL_STUDIO_API_KEY`` name; no other address is asked,
whatever a task says.
"""

from __future__ import annotations

import asyncio
import functools
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import numpy as np
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from samedge._version import __version__
from samedge.errors import PromptError
from samedge.formats.brush import brush_from_mask
from samedge.types import Array, Prompt, Size
from samedge.web.server import shapes
from samedge.web.server.failures import ForbiddenError, MalformedError
from samedge.web.server.fetching import fetched
from samedge.web.server.operations import Operation, decoded, encoded, finished
from samedge.web.server.pictures import bytes_from_uri
from samedge.web.server.protocols.base import Protocol
from samedge.web.server.protocols.label_studio_config import Drawing, drawing_from_config
from samedge.web.server.roots import read_below
from samedge.web.server.service import Service
from samedge.web.server.worker import Job

_LOCAL_FILES = "/data/local-files/"
_FINENESS = 0.001
_MOST_TASKS = 100


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A smart keypoint or rectangle that the annotator set.

    Attributes:
        type: ``keypointlabels``, ``rectanglelabels``, ``keypoint`` or ``rectangle``.
        value: in per cent of the image.
        is_positive: whether a keypoint adds; where it is not said, it does.
    """

    type: str
    value: Mapping[str, Any]
    original_width: Annotated[int, Meta(ge=1)] | None = None
    original_height: Annotated[int, Meta(ge=1)] | None = None
    is_positive: bool | int | None = None


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What the annotator did so far."""

    result: list[Mark] = []


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """What comes with a question."""

    context: Context | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task; its data names the image."""

    data: Mapping[str, Any]
    id: int | str | None = None


class PredictRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks to predict; with a context it is the one that is being drawn."""

    tasks: Annotated[list[Task], Meta(max_length=_MOST_TASKS)]
    label_config: str = ""
    params: Params | None = None
    context: Context | None = None

    @property
    def marks(self) -> list[Mark]:
        """What the annotator set."""
        found = (self.params.context if self.params else None) or self.context
        return found.result if found else []


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One region, as Label Studio stores it."""

    id: str
    type: str
    from_name: str
    to_name: str
    original_width: int
    original_height: int
    image_rotation: int = 0
    score: float
    readonly: bool = False
    value: Mapping[str, Any]


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """The regions of one task."""

    result: list[Result]
    score: float = 0.0
    model_version: str = ""


class PredictAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction a task."""

    results: list[Prediction]
    model_version: str


class SetupRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A project that connects; its configuration is checked when it asks."""

    project: str | Mapping[str, Any] = ""
    schema: str = ""


class SetupAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What it is connected to."""

    model_version: str


class WebhookRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened in a project."""

    action: str = ""


class WebhookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing is trained here."""

    status: str = "ignored"


class _LabelStudio(Protocol):
    program = "Label Studio"
    source = "label_studio/ml/api_connector.py of label-studio, label_studio_ml/api.py"

    def operations(self, service: Service) -> tuple[Operation, ...]:
        backend = _Backend(service)
        return (
            Operation(
                "POST",
                "/predict",
                "Label Studio: smart regions to masks",
                PredictAnswer,
                backend.predict,
                requests=(PredictRequest,),
                refusals=(404, 422, 504),
            ),
            Operation(
                "POST",
                "/setup",
                "Label Studio: connect a project",
                SetupAnswer,
                backend.setup,
                requests=(SetupRequest,),
            ),
            Operation(
                "POST",
                "/webhook",
                "Label Studio: something happened",
                WebhookAnswer,
                backend.webhook,
                requests=(WebhookRequest,),
                status=201,
            ),
        )


class _Backend:
    def __init__(self, service: Service) -> None:
        self._service, self._settings = service, service.settings
        self._version = f"samedge {__version__} {service.bundle.model} {service.bundle.id}"

    async def setup(self, request: Request) -> Response:
        await self._document(request, SetupRequest)
        return encoded(SetupAnswer(model_version=self._version))

    async def webhook(self, request: Request) -> Response:
        await self._document(request, WebhookRequest)
        return encoded(WebhookAnswer(), status=201)

    async def predict(self, request: Request) -> Response:
        self._service.worker.check_room()
        asked = await self._document(request, PredictRequest)
        if not asked.marks:
            # It asks about whole lists of tasks, too; without a mark there is nothing to say.
            empty = [Prediction(result=[], model_version=self._version) for _ in asked.tasks]
            return encoded(PredictAnswer(results=empty, model_version=self._version))
        if len(asked.tasks) != 1:
            raise MalformedError(f"Marks came with {len(asked.tasks)} tasks, expected one.")
        drawing = drawing_from_config(asked.label_config)
        picture = await self._picture(asked.tasks[0], drawing)
        work = functools.partial(self._drawn, picture, asked.marks, drawing)
        job: Job[Prediction] = self._service.worker.submit(
            lambda _: work(), seconds=self._settings.request_s
        )
        found = await finished(request, job)
        return encoded(PredictAnswer(results=[found], model_version=self._version))

    async def _picture(self, task: Task, drawing: Drawing) -> bytes:
        source = task.data.get(drawing.key)
        if not isinstance(source, str) or not source:
            raise PromptError(
                f"The task's data has no {drawing.key!r:.80}, which the image tag reads."
            )
        if source.startswith("data:"):
            return await asyncio.to_thread(bytes_from_uri, source)
        if source.startswith(_LOCAL_FILES):
            path = parse_qs(urlsplit(source).query).get("d", [""])[0]
            return await asyncio.to_thread(read_below, path, self._settings.roots)
        return await asyncio.to_thread(self._fetched, source)

    def _fetched(self, source: str) -> bytes:
        home, key = os.environ.get("LABEL_STUDIO_URL"), os.environ.get("LABEL_STUDIO_API_KEY")
        if not home:
            raise ForbiddenError(
                f"The image {source!r:.200} lies in Label Studio: start the server with its "
                "address and key in LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY."
            )
        settings = self._settings
        return fetched(
            source, home=home, key=key, limit=settings.body_bytes, seconds=settings.body_s
        )

    def _drawn(self, picture: bytes, marks: Sequence[Mark], drawing: Drawing) -> Prediction:
        kept, _ = self._service.encoded(picture)
        size = kept.embedding.original_size
        prompt = prompt_from_marks(marks, size)
        (masks,) = self._service.decoded(kept, [prompt])
        score = float(masks.iou_predictions[0])
        label = _label_of(marks, drawing)
        results = _results(masks.masks[0], drawing=drawing, label=label, score=score)
        return Prediction(result=results, score=score, model_version=self._version)

    async def _document(self, request: Request, kind: type[Any]) -> Any:
        settings = self._settings
        return await decoded(request, kind, limit=settings.body_bytes, seconds=settings.body_s)


def prompt_from_marks(marks: Sequence[Mark], size: Size) -> Prompt:
    """One prompt of all keypoints and the last rectangle.

    Args:
        marks: in per cent.
        size: ``(height, width)`` of the image.

    Raises:
        PromptError: a mark without coordinates, or of another kind.
    """
    height, width = size
    points, labels = list[list[float]](), list[int]()
    box: list[float] | None = None
    for mark in marks:
        x, y = _number(mark, "x") * width / 100, _number(mark, "y") * height / 100
        match mark.type.removesuffix("labels"):
            case "keypoint":
                points.append([x, y])
                labels.append(1 if mark.is_positive is None else int(bool(mark.is_positive)))
            case "rectangle":
                wide, high = _number(mark, "width"), _number(mark, "height")
                box = [x, y, x + wide * width / 100, y + high * height / 100]
            case kind:
                raise PromptError(
                    f"A mark is of type {kind!r:.40}, expected a keypoint or a rectangle."
                )
    return Prompt(points or None, labels or None, box=box)


def _number(mark: Mark, name: str) -> float:
    value = mark.value.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PromptError(f"A {mark.type:.40} has no number {name!r}: give per cent of the image.")
    return float(value)


def _label_of(marks: Sequence[Mark], drawing: Drawing) -> str:
    """The label of the last mark that has one, else the first that the tag offers."""
    for mark in reversed(marks):
        labels = mark.value.get(mark.type) or mark.value.get("labels")
        if isinstance(labels, list) and labels and isinstance(labels[0], str):
            return labels[0]
    return drawing.labels[0] if drawing.labels else "object"


def _results(mask: Array, *, drawing: Drawing, label: str, score: float) -> list[Result]:
    if not mask.any():
        return []
    height, width = mask.shape
    values: list[Mapping[str, object]]
    if drawing.kind == "brushlabels":
        values = [{"format": "rle", "rle": brush_from_mask(mask)}]
    else:
        per_cent = np.array([100 / width, 100 / height])
        found = shapes.rings(mask, fineness=_FINENESS)
        values = [{"points": (ring * per_cent).tolist(), "closed": True} for ring in found]
    return [
        Result(
            id=uuid.uuid4().hex[:10],
            type=drawing.kind,
            from_name=drawing.from_name,
            to_name=drawing.to_name,
            original_width=width,
            original_height=height,
            score=score,
            value={**value, drawing.kind: [label]},
        )
        for value in values
    ]


PROTOCOL = _LabelStudio()
