"""X-AnyLabeling's ``remote_server``: clicks and boxes on images, and an object through a video.

Point its ``server_url`` here. Errors have their HTTP status, which X-AnyLabeling shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from samedge.errors import PromptError, UnknownNameError
from samedge.pixels.images import load_image
from samedge.pixels.metrics import bounding_box
from samedge.predict.everything import EverythingConfig, segment_everything
from samedge.types import Array, Prompt
from samedge.web.server import shapes, streams
from samedge.web.server.failures import document_of
from samedge.web.server.operations import Operation, decoded, encoded, finished
from samedge.web.server.pictures import bytes_from_uri
from samedge.web.server.protocols import x_anylabeling_messages as wire
from samedge.web.server.protocols.base import Protocol
from samedge.web.server.service import Service
from samedge.web.server.videos import Video, VideoSessions
from samedge.web.server.worker import Job

_EVENTS = "text/event-stream"
_VIDEO = "video"


class _XAnyLabeling(Protocol):
    program = "X-AnyLabeling"
    source = "anylabeling/services/auto_labeling/remote_server.py of X-AnyLabeling 4.0.2"

    def operations(self, service: Service) -> tuple[Operation, ...]:
        images, videos = _Images(service), _Videos(service)
        refused = (404, 422, 504)
        return (
            Operation("GET", "/v1/models", "X-AnyLabeling: models", wire.Models, images.models),
            Operation(
                "GET",
                "/v1/models/{model_id}/info",
                "X-AnyLabeling: one model",
                wire.ModelInfo,
                images.info,
                refusals=(404,),
            ),
            Operation(
                "POST",
                "/v1/predict",
                "X-AnyLabeling: marks to outlines",
                wire.PredictAnswer,
                images.predict,
                requests=(wire.PredictRequest,),
                refusals=refused,
            ),
            Operation(
                "POST",
                "/v1/video/init",
                "X-AnyLabeling: a video's frames",
                wire.InitAnswer,
                videos.init,
                requests=(wire.InitRequest,),
                refusals=refused,
            ),
            Operation(
                "POST",
                "/v1/video/prompt",
                "X-AnyLabeling: clicks on a frame",
                wire.VideoPromptAnswer,
                videos.prompt,
                requests=(wire.VideoPromptRequest,),
                refusals=refused,
            ),
            Operation(
                "POST",
                "/v1/video/propagate/stream",
                "X-AnyLabeling: follow through the frames, as server-sent events",
                wire.FollowEvent,
                videos.follow,
                requests=(wire.PropagateRequest,),
                media=_EVENTS,
                refusals=refused,
            ),
            Operation(
                "POST",
                "/v1/video/cleanup/{session_id}",
                "X-AnyLabeling: forget a video",
                wire.Done,
                videos.cleanup,
            ),
        )


class _Images:
    def __init__(self, service: Service) -> None:
        self._service, self._settings = service, service.settings
        self._name = service.bundle.model

    async def models(self, request: Request) -> Response:
        del request
        return encoded(wire.Models(data={self._name: _model(self._service)}))

    async def info(self, request: Request) -> Response:
        _check_model(request.path_params["model_id"], self._service)
        return encoded(wire.ModelInfo(data=_model(self._service)))

    async def predict(self, request: Request) -> Response:
        self._service.worker.check_room()
        settings = self._settings
        asked = await decoded(
            request, wire.PredictRequest, limit=settings.body_bytes, seconds=settings.body_s
        )
        _check_model(asked.model, self._service)
        _refuse_words(asked.params.text_prompt)
        picture = await asyncio.to_thread(bytes_from_uri, asked.image)
        work = self._marked if asked.params.marks else self._unmarked
        job: Job[wire.Shapes] = self._service.worker.submit(
            lambda job: work(picture, asked.params, job),
            seconds=settings.request_s,
            patient=not asked.params.marks,
        )
        return encoded(wire.PredictAnswer(data=await finished(request, job)))

    def _marked(self, picture: bytes, params: wire.Params, job: Job[wire.Shapes]) -> wire.Shapes:
        del job
        prompts = prompts_from_marks(params.marks)
        kept, _ = self._service.encoded(picture)
        found = []
        for masks in self._service.decoded(kept, prompts):
            score = float(masks.iou_predictions[0])
            if score >= params.conf_threshold:
                found += _outlined(masks.masks[0], score=score, fineness=params.epsilon_factor)
        return wire.Shapes(shapes=found)

    def _unmarked(self, picture: bytes, params: wire.Params, job: Job[wire.Shapes]) -> wire.Shapes:
        service = self._service
        config = EverythingConfig.without_near_duplicates(
            service.predictor.manifest, pred_iou_threshold=params.conf_threshold or None
        )

        def progress(done: int, total: int) -> None:
            del done, total
            job.breathe()

        image = load_image(picture)
        masks = segment_everything(service.predictor, image, config=config, progress=progress)
        service.metrics.encodes.inc()
        found = [
            shape
            for mask in masks
            for shape in _outlined(
                mask.mask,
                score=mask.predicted_iou,
                fineness=params.epsilon_factor,
                label="object",
            )
        ]
        return wire.Shapes(shapes=found)


class _Videos:
    def __init__(self, service: Service) -> None:
        self._service, self._settings = service, service.settings
        self._sessions = VideoSessions(service)

    async def init(self, request: Request) -> Response:
        settings = self._settings
        asked = await decoded(
            request, wire.InitRequest, limit=settings.body_bytes, seconds=settings.body_s
        )
        _check_model(asked.model, self._service)
        frames = await asyncio.to_thread(lambda: [bytes_from_uri(one) for one in asked.frames])
        video = self._sessions.add(frames)
        return encoded(
            wire.InitAnswer(data=wire.Session(session_id=video.id, total_frames=len(frames)))
        )

    async def prompt(self, request: Request) -> Response:
        asked = await self._document(request, wire.VideoPromptRequest)
        _check_model(asked.model, self._service)
        _refuse_words(asked.text_prompt)
        video = self._sessions.get(asked.session_id)
        picture = video.frame(asked.frame_index)

        def work(job: Job[wire.FrameMasks]) -> wire.FrameMasks:
            del job
            kept, _ = self._service.encoded(picture)
            height, width = kept.embedding.original_size
            points = [(x * width, y * height) for x, y in asked.points]
            prompt = Prompt(points, asked.point_labels or None)
            (masks,) = self._service.decoded(kept, [prompt])
            video.prompts[asked.frame_index, asked.obj_id] = prompt
            drawn = _outlined(
                masks.masks[0],
                score=float(masks.iou_predictions[0]),
                fineness=asked.params.epsilon_factor,
                group=asked.obj_id,
            )
            return wire.FrameMasks(masks=drawn, frame_index=asked.frame_index)

        job = self._service.worker.submit(work, seconds=self._settings.request_s)
        return encoded(wire.VideoPromptAnswer(data=await finished(request, job)))

    async def follow(self, request: Request) -> Response:
        asked = await self._document(request, wire.PropagateRequest)
        _check_model(asked.model, self._service)
        video = self._sessions.get(asked.session_id)
        first, last = video.range_of(asked.start_frame, asked.end_frame)

        def start(emit: streams.Emit[wire.FollowEvent]) -> Job[None]:
            return self._service.worker.submit(
                lambda job: self._followed(video, first, last, job=job, emit=emit),
                seconds=self._settings.stream_s,
                patient=True,
            )

        made: AsyncIterator[wire.FollowEvent] = streams.lines(
            start, seconds=self._settings.stream_s
        )

        def failed(error: Exception) -> wire.FollowFailed:
            document = document_of(error, method=request.method, path=request.url.path)
            return wire.FollowFailed(message=document.message)

        return await streams.streamed(made, failed, frame=streams.event, media=_EVENTS)

    def _followed(
        self,
        video: Video,
        first: int,
        last: int,
        *,
        job: Job[None],
        emit: streams.Emit[wire.FollowEvent],
    ) -> None:
        emit(wire.FollowStarted(total_frames=len(video.frames), start_frame_index=first))
        results: dict[str, wire.FrameMasks] = {}
        for index, objects in video.followed(self._service.predictor, first=first, last=last):
            drawn = [
                shape
                for found, obj_id in objects
                for shape in _outlined(
                    found.mask, score=found.predicted_iou, fineness=wire.FINENESS, group=obj_id
                )
            ]
            results[str(index)] = wire.FrameMasks(masks=drawn, frame_index=index)
            emit(wire.FollowProgress(current_frame=index))
            job.breathe()
        emit(wire.FollowCompleted(results=results))

    async def cleanup(self, request: Request) -> Response:
        self._sessions.drop(request.path_params["session_id"])
        return encoded(wire.Done())

    async def _document(self, request: Request, kind: type[streams.T]) -> streams.T:
        settings = self._settings
        return await decoded(request, kind, limit=settings.document_bytes, seconds=settings.body_s)


def prompts_from_marks(marks: list[wire.Mark]) -> list[Prompt]:
    """One prompt of all clicks and the box; further boxes are prompts of their own.

    Raises:
        PromptError: a mark that is neither, or a box that takes away.
    """
    points = [mark for mark in marks if mark.type == "point"]
    boxes = [mark for mark in marks if mark.type == "rectangle"]
    others = [mark for mark in marks if mark not in points and mark not in boxes]
    wrong = [m for m in points if len(m.data) != 2] + [m for m in boxes if len(m.data) != 4]
    if others or wrong:
        first = (others + wrong)[0]
        raise PromptError(
            f"A mark is {first.type!r:.40} with {len(first.data)} numbers, expected a point with "
            "2 or a rectangle with 4."
        )
    if any(mark.label == 0 for mark in boxes):
        raise PromptError("A rectangle only adds here: take away by points.")
    coords, labels = [m.data for m in points], [m.label for m in points]
    drawn = [_corners(mark.data) for mark in boxes]
    if len(drawn) < 2:
        return [Prompt(coords or None, labels or None, box=drawn[0] if drawn else None)]
    clicks = [Prompt(coords, labels)] if coords else []
    return [*clicks, *(Prompt(box=box) for box in drawn)]


def _corners(data: list[float]) -> list[float]:
    """A box from any two opposite corners."""
    x0, y0, x1, y1 = data
    return [min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]


def _outlined(
    mask: Array,
    *,
    score: float | None,
    fineness: float,
    label: str = wire.UNNAMED,
    group: int | None = None,
) -> list[wire.Shape]:
    if bounding_box(mask) is None:
        return []
    return [
        wire.Shape(
            label=label,
            points=[(x, y) for x, y in [*ring.tolist(), ring[0].tolist()]],
            score=score,
            group_id=group,
        )
        for ring in shapes.rings(mask, fineness=max(fineness, 0.0))
    ]


def _check_model(name: str, service: Service) -> None:
    if name != service.bundle.model:
        raise UnknownNameError("model of this server", name, [service.bundle.model])


def _refuse_words(text: str | None) -> None:
    if text:
        raise PromptError(
            f"X-AnyLabeling's words, such as {text!r:.60}, are not answered: give points or a "
            "rectangle; POST /api/v1/images/{id}/masks takes words."
        )


_CLICKS = ("add_point", "remove_point", "add_rect", "button_clear", "button_finish_object")


def _model(service: Service) -> wire.Model:
    marks = [wire.Widget(name=name) for name in _CLICKS]
    shared = [
        wire.Widget(name="mask_fineness_slider", value=10),
        wire.Widget(name="toggle_preserve_existing_annotations", value=True),
    ]
    run = wire.Widget(name="button_run")
    return wire.Model(
        model_id=service.bundle.model,
        display_name=f"samedge {service.bundle.model} {service.bundle.precision}",
        batch_processing_mode="default",
        classes=[],
        params=_facts(service),
        widgets=[run, *marks, *shared],
        available_tasks=[
            wire.Task(
                id="image",
                name="Points and rectangles",
                batch_processing_mode=None,
                widgets=[*marks, *shared],
            ),
            wire.Task(
                id="everything", name="Everything", batch_processing_mode="default", widgets=[run]
            ),
            wire.Task(
                id=_VIDEO,
                name="Follow an object",
                batch_processing_mode=_VIDEO,
                widgets=[*marks, run],
            ),
        ],
    )


def _facts(service: Service) -> dict[str, str]:
    backend: Mapping[str, Any] = msgspec.to_builtins(service.backend)
    return {"bundle": service.bundle.id, **{k: str(v) for k, v in backend.items()}}


PROTOCOL = _XAnyLabeling()
