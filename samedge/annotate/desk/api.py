"""The desk over HTTP: operations beside those of the server that segments."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from samedge.annotate.desk import messages
from samedge.annotate.desk.desk import Desk
from samedge.annotate.desk.proposals import browser_picture, is_jpeg
from samedge.annotate.desk.results import Results
from samedge.annotate.tasks import Part
from samedge.errors import ImageError
from samedge.files.reading import read_bytes
from samedge.web.server.failures import NotFoundError
from samedge.web.server.operations import Operation, decoded, encoded, finished
from samedge.web.server.service import Service
from samedge.web.server.worker import Job

_DESK = "/api/v1/desk"
_PHOTO = "/api/v1/desk/photos/{photo_id}"
_REFUSALS = (404, 409, 422, 504)

T = TypeVar("T")


def operations(service: Service, *, desk: Desk, results: Results) -> tuple[Operation, ...]:
    """The operations of one desk.

    Args:
        service: of the server.
        desk: that answers.
        results: writes the annotation files.
    """
    api = _Api(service, desk, results)
    page, photo, beat = messages.PageRequest, messages.PhotoAnswer, messages.BeatAnswer
    saved, files = messages.SavedAnswer, messages.FilesAnswer
    posts = (
        (f"{_DESK}/next", "Take the next photo", photo, api.next_photo, messages.NextRequest),
        (f"{_PHOTO}/open", "Take this photo", photo, api.open_photo, page),
        (f"{_PHOTO}/proposals", "Ask the model for masks", photo, api.propose, page),
        (f"{_PHOTO}/save", "Keep a change", saved, api.save, messages.SaveRequest),
        (f"{_DESK}/beat", "Say that the page is there", beat, api.beat, page),
        (f"{_DESK}/leave", "Give all photos back", None, api.leave, page),
        (f"{_DESK}/categories", "Add more", beat, api.categories, messages.CategoriesRequest),
        (f"{_DESK}/export", "Write the annotation files", files, api.export, page),
    )
    return (
        Operation("GET", _DESK, "What a page begins with", messages.DeskAnswer, api.begin),
        Operation("GET", f"{_DESK}/photos", "All photos", messages.PhotosAnswer, api.rows),
        Operation(
            "GET",
            f"{_PHOTO}/picture",
            "The photo as a browser shows it",
            None,
            api.picture,
            media="image/*",
            refusals=(404, 422),
        ),
        *(
            Operation(
                "POST",
                path,
                summary,
                answer,
                run,
                requests=(kind,),
                status=204 if answer is None else 200,
                refusals=_REFUSALS,
            )
            for path, summary, answer, run, kind in posts
        ),
    )


class _Api:
    def __init__(self, service: Service, desk: Desk, results: Results) -> None:
        self._service, self._desk, self._results = service, desk, results

    async def begin(self, request: Request) -> Response:
        del request
        return encoded(await asyncio.to_thread(self._results.answer))

    async def rows(self, request: Request) -> Response:
        del request
        rows = await asyncio.to_thread(self._desk.rows)
        return encoded(messages.PhotosAnswer(photos=rows))

    async def next_photo(self, request: Request) -> Response:
        asked = await self._document(request, messages.NextRequest)
        return encoded(
            await asyncio.to_thread(self._desk.next_photo, asked.page, after=asked.after)
        )

    async def open_photo(self, request: Request) -> Response:
        asked = await self._document(request, messages.PageRequest)
        photo = request.path_params["photo_id"]
        return encoded(await asyncio.to_thread(self._desk.open_photo, photo, asked.page))

    async def picture(self, request: Request) -> Response:
        photo = request.path_params["photo_id"]
        content, media = await asyncio.to_thread(self._picture, photo)
        return Response(content, media_type=media, headers={"Cache-Control": "no-store"})

    def _picture(self, photo: str) -> tuple[bytes, str]:
        task = self._desk.task(photo)
        path = Path(task.path)
        if not path.exists():
            raise NotFoundError(f"{task.name} is not in the folder any more: take another photo.")
        content = read_bytes(path, limit="image_bytes", expected="an image file", error=ImageError)
        loaded = None if is_jpeg(content) else self._desk.proposals.load(task)
        return browser_picture(content, loaded)

    async def propose(self, request: Request) -> Response:
        self._service.worker.check_room()
        asked = await self._document(request, messages.PageRequest)
        photo = request.path_params["photo_id"]
        task = self._desk.task(photo)
        await asyncio.to_thread(self._desk.check_held, photo, asked.page)  # it may have to wait
        part = await asyncio.to_thread(self._desk.proposals.find, task)
        if part is None:
            loaded = await asyncio.to_thread(self._desk.proposals.load, task)

            def work(job: Job[Part]) -> Part:
                return self._desk.proposals.make(
                    self._service.predictor, loaded, progress=lambda *_: job.breathe()
                )

            seconds = self._service.settings.stream_s
            job = self._service.worker.submit(work, seconds=seconds, patient=True)
            part = await finished(request, job)
        return encoded(await asyncio.to_thread(self._desk.propose, photo, asked.page, part=part))

    async def save(self, request: Request) -> Response:
        asked = await self._document(request, messages.SaveRequest)
        photo = request.path_params["photo_id"]
        answer = await asyncio.to_thread(self._desk.save, photo, asked)
        if asked.status != "open":
            self._results.ask()
        return encoded(answer)

    async def beat(self, request: Request) -> Response:
        asked = await self._document(request, messages.PageRequest)
        return encoded(await asyncio.to_thread(self._desk.beat, asked.page))

    async def leave(self, request: Request) -> Response:
        asked = await self._document(request, messages.PageRequest)
        await asyncio.to_thread(self._desk.leave, asked.page)
        return Response(status_code=204)

    async def categories(self, request: Request) -> Response:
        asked = await self._document(request, messages.CategoriesRequest)
        await asyncio.to_thread(self._desk.folder.add_categories, asked.add)
        return encoded(await asyncio.to_thread(self._desk.beat, asked.page))

    async def export(self, request: Request) -> Response:
        await self._document(request, messages.PageRequest)
        return encoded(await asyncio.to_thread(self._results.write))

    async def _document(self, request: Request, kind: type[T]) -> T:
        settings = self._service.settings
        return await decoded(request, kind, limit=settings.body_bytes, seconds=settings.body_s)
