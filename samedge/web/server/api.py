"""samedge's own interface: an image in, then prompts about it, as often as one likes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response

from samedge.web.server import messages, streams
from samedge.web.server.bodies import read_body
from samedge.web.server.failures import NotFoundError
from samedge.web.server.forms import FORM, file_in_form, media_type
from samedge.web.server.metrics import MEDIA_TYPE
from samedge.web.server.operations import (
    JSON,
    NDJSON,
    Operation,
    decoded,
    encoded,
    finished,
)
from samedge.web.server.roots import read_below
from samedge.web.server.service import Service
from samedge.web.server.streaming import Streaming
from samedge.web.server.word_messages import FindRequest, WordsAnswer

_IMAGES = "/api/v1/images"
_IMAGE = "/api/v1/images/{image_id}"


def operations(service: Service) -> tuple[Operation, ...]:
    """The operations of one server."""
    api = _Api(service)
    return (*_of_the_server(api), *_of_images(api), *_of_prompts(api))


def _of_the_server(api: _Api) -> tuple[Operation, ...]:
    return (
        Operation("GET", "/health", "Whether the server answers", messages.Health, api.health),
        Operation("GET", "/metrics", "Figures for Prometheus", None, api.metrics, media=MEDIA_TYPE),
        Operation(
            "GET", "/api/v1/model", "What this computes with", messages.ModelAnswer, api.model
        ),
        Operation("GET", "/api/v1/words", "The words that this knows", WordsAnswer, api.words),
    )


def _of_images(api: _Api) -> tuple[Operation, ...]:
    return (
        Operation(
            "POST",
            _IMAGES,
            "Encode an image, sent or named by its path, and keep it",
            messages.ImageAnswer,
            api.post_image,
            requests=(bytes, messages.PathRequest),
            refusals=(404, 422, 504),
        ),
        Operation(
            "GET",
            _IMAGE,
            "An image that is kept",
            messages.ImageAnswer,
            api.get_image,
            refusals=(404,),
        ),
        Operation(
            "DELETE", _IMAGE, "Forget an image", None, api.drop_image, status=204, refusals=(404,)
        ),
    )


def _of_prompts(api: _Api) -> tuple[Operation, ...]:
    return (
        Operation(
            "POST",
            f"{_IMAGE}/masks",
            "Prompts to masks",
            messages.MasksAnswer,
            api.masks,
            requests=(messages.MasksRequest,),
            refusals=(404, 422, 504),
        ),
        Operation(
            "POST",
            f"{_IMAGE}/logits",
            "One prompt to the decoder's own outputs",
            messages.LogitsAnswer,
            api.logits,
            requests=(messages.PromptMessage,),
            refusals=(404, 422, 504),
        ),
        Operation(
            "POST",
            f"{_IMAGE}/everything",
            "All masks of an image, line by line",
            messages.StreamLine,
            api.everything,
            requests=(messages.EverythingRequest,),
            media=NDJSON,
            refusals=(404, 422, 504),
        ),
        Operation(
            "POST",
            f"{_IMAGE}/find",
            "The masks that words name, line by line",
            messages.StreamLine,
            api.find,
            requests=(FindRequest,),
            media=NDJSON,
            refusals=(404, 422, 504),
        ),
    )


class _Api:
    def __init__(self, service: Service) -> None:
        self._service, self._settings = service, service.settings
        self._streaming = Streaming(service)

    async def health(self, request: Request) -> Response:
        del request
        return encoded(messages.Health())

    async def metrics(self, request: Request) -> Response:
        del request
        self._service.cache.sweep()
        return Response(self._service.metrics.text(), media_type=MEDIA_TYPE)

    async def model(self, request: Request) -> Response:
        del request
        return encoded(self._service.model())

    async def words(self, request: Request) -> Response:
        del request
        return encoded(self._service.known_words())

    async def post_image(self, request: Request) -> Response:
        self._service.worker.check_room()  # before a large body is read for nothing
        picture = await self._picture(request)
        answer = await finished(request, self._service.ask_image(picture))
        return Response(answer, status_code=200, media_type=JSON)

    async def _picture(self, request: Request) -> bytes:
        settings = self._settings
        content_type = request.headers.get("content-type", "")
        kind = media_type(content_type)
        if kind != JSON:
            data = await read_body(request, limit=settings.body_bytes, seconds=settings.body_s)
            if kind != FORM:
                return data
            return await asyncio.to_thread(file_in_form, data, content_type=content_type)
        named = await self._document(request, messages.PathRequest)
        return await asyncio.to_thread(read_below, named.path, settings.roots)

    async def get_image(self, request: Request) -> Response:
        kept = self._service.kept(request.path_params["image_id"])
        return encoded(self._service.image_answer(kept, is_new=False))

    async def drop_image(self, request: Request) -> Response:
        image_id = request.path_params["image_id"]
        if not self._service.cache.drop(image_id):
            raise NotFoundError(f"There is no image {image_id!r:.80}.")
        return Response(status_code=204)

    async def masks(self, request: Request) -> Response:
        self._service.worker.check_room()
        asked = await self._document(request, messages.MasksRequest)
        kept = self._service.kept(request.path_params["image_id"])
        answer = await finished(request, self._service.ask_masks(kept, asked))
        return Response(answer, media_type=JSON)

    async def logits(self, request: Request) -> Response:
        self._service.worker.check_room()
        asked = await self._document(request, messages.PromptMessage)
        kept = self._service.kept(request.path_params["image_id"])
        answer = await finished(request, self._service.ask_logits(kept, asked))
        return Response(answer, media_type=JSON)

    async def everything(self, request: Request) -> Response:
        self._service.worker.check_room()
        asked = await self._document(request, messages.EverythingRequest)
        kept = self._service.kept(request.path_params["image_id"])
        return await self._stream(
            request, lambda emit: self._streaming.ask_everything(kept, asked, emit=emit)
        )

    async def find(self, request: Request) -> Response:
        self._service.worker.check_room()
        asked = await self._document(request, FindRequest)
        kept = self._service.kept(request.path_params["image_id"])
        return await self._stream(
            request, lambda emit: self._streaming.ask_find(kept, asked, emit=emit)
        )

    async def _stream(
        self, request: Request, start: streams.Start[messages.StreamLine]
    ) -> Response:
        made: AsyncIterator[messages.StreamLine] = streams.lines(
            start, seconds=self._settings.stream_s
        )
        return await streams.ndjson(request, made)

    async def _document(self, request: Request, kind: type[streams.T]) -> streams.T:
        settings = self._settings
        return await decoded(request, kind, limit=settings.document_bytes, seconds=settings.body_s)
