"""A client of ``samedge serve`` with Python's own HTTP: nothing to install but samedge's core.

with samedge.Client("http://127.0.0.1:8188") as client:
image = client.image("photo.jpg")
masks = image.segment(samedge.Prompt(points=[[320, 240]]))
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import io
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from PIL import Image

from samedge.errors import ImageError, OptionError
from samedge.files.reading import read_bytes
from samedge.formats.masks import MaskRecord
from samedge.pixels.images import load_image
from samedge.pixels.picture_files import Source
from samedge.pixels.prompts import check_prompts
from samedge.predict.words.answers import WordAnswer
from samedge.runtimes.deadline import is_time
from samedge.types import Array, Progress, Prompt
from samedge.web.refusals import ServerError, error_of, problem_of, retry_after
from samedge.web.wire import Encoded, Found, Line, prompt_body

__all__ = ["Client", "FoundWords", "RemoteImage", "ServerError"]

T = TypeVar("T")

_JSON = "application/json"


@dataclasses.dataclass(frozen=True)
class _Request:
    method: str
    path: str
    body: bytes | None = dataclasses.field(kw_only=True)
    media: str = dataclasses.field(default=_JSON, kw_only=True)


class Client:
    """One server, over one kept connection. Safe to share between threads, which take turns.

    A stream has a connection of its own, so that its loop may ask the same client for more.

    Args:
        address: ``http://host:port``.
        token: what the server asks for; ``None`` takes ``SAMEDGE_TOKEN``.
        timeout_s: until an answer has to be there.
        retry_s: how long a request that the server is too busy for is sent again; 0 never.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        timeout_s: float = 180.0,
        retry_s: float = 60.0,
    ) -> None:
        try:
            parts = urlsplit(address)
            port = parts.port
        except (ValueError, AttributeError) as error:  # a port beyond 65535, no text
            raise OptionError(f"The address is {address!r}: {error}.") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OptionError(f"The address is {address!r}, expected http://host:port.")
        if not is_time(timeout_s, above=0) or timeout_s >= threading.TIMEOUT_MAX:
            raise OptionError(f"timeout_s is {timeout_s!r}, expected a number above 0.")
        if retry_s != 0 and not is_time(retry_s, above=0):
            raise OptionError(f"retry_s is {retry_s!r}, expected a number of at least 0.")
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._opened = functools.partial(kind, parts.hostname, port, timeout=timeout_s)
        self._connection = self._opened()
        self._prefix = parts.path.rstrip("/")
        self._token = os.environ.get("SAMEDGE_TOKEN") if token is None else token
        self._retry_s = retry_s
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def health(self) -> Mapping[str, Any]:
        """What the server says of itself."""
        return self.call("GET", "/health", kind=dict)

    def model(self) -> Mapping[str, Any]:
        """The bundle, the backend and the limits of the server."""
        return self.call("GET", "/api/v1/model", kind=dict)

    def words(self) -> Mapping[str, Any]:
        """The words that the server's model knows: ``words``, each with ``name``, ``synonyms``."""
        return self.call("GET", "/api/v1/words", kind=dict)

    def image(self, source: Source | Array) -> RemoteImage:
        """Send an image and have it encoded.

        Args:
            source: a path here, or the bytes of an image's file, which are sent as they are; or
                what else :func:`samedge.load_image` takes, which is sent as PNG.

        Raises:
            ImageError: no such file, or the server cannot use it.
            ServerError: the server refused, or cannot be reached.
        """
        return RemoteImage(self, _content(source), "application/octet-stream")

    def image_at(self, path: str) -> RemoteImage:
        """Have an image encoded that lies below one of the server's roots; errors as `image`."""
        return RemoteImage(self, msgspec.json.encode({"path": path}), _JSON)

    def call(
        self,
        method: str,
        path: str,
        *,
        kind: type[T],
        body: bytes | None = None,
        media: str = _JSON,
    ) -> T:
        """One request, sent again while the server is too busy.

        Args:
            method: of HTTP.
            path: from the server's root on.
            kind: of the answer.
            body: of the request.
            media: type of the body.

        Raises:
            ServerError, ImageError, PromptError, InferenceError: by the server's typed document.
        """
        request = _Request(method, path, body=body, media=media)
        with self._lock, self._whole(self._connection):
            text = self._answer(self._connection, request).read()
        return _decoded(text, kind, path=path)

    def lines(self, path: str, body: bytes) -> Iterator[Line]:
        """The lines of a stream; leaving the loop early ends the work on the server.

        Raises:
            ServerError, ImageError, PromptError, InferenceError: as `call`.
        """
        # The kept connection's lock would shut out whoever asks from within the loop.
        connection = self._opened()
        try:
            with self._whole(connection):
                for line in self._answer(connection, _Request("POST", path, body=body)):
                    yield _decoded(line, Line, path=path)
        finally:
            connection.close()

    @contextlib.contextmanager
    def _whole(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        """An answer that is cut off, or too slow on its way, closes the connection and is told."""
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ServerError(
                f"{self._place()} broke off its answer ({error}): ask again."
            ) from error

    def _answer(
        self, connection: http.client.HTTPConnection, request: _Request
    ) -> http.client.HTTPResponse:
        deadline = time.monotonic() + self._retry_s
        while True:
            response = self._sent(connection, request)
            if response.status < 400:
                return response
            problem = problem_of(response)
            wait_s = retry_after(response)
            if response.status != 429 or time.monotonic() + wait_s > deadline:
                raise error_of(problem, response.status)
            time.sleep(wait_s)

    def _sent(
        self, connection: http.client.HTTPConnection, request: _Request
    ) -> http.client.HTTPResponse:
        is_kept = connection.sock is not None
        try:
            try:
                return self._exchange(connection, request)
            except (ConnectionError, http.client.RemoteDisconnected):
                if not is_kept:
                    raise
                # The server has closed the kept connection in the meantime.
                return self._exchange(connection, request)
        except TimeoutError as error:
            raise ServerError(f"{self._place()} did not answer in time.") from error
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(
                f"{self._place()} cannot be reached ({error}): is it running, and is the address "
                "right?"
            ) from error

    def _exchange(
        self, connection: http.client.HTTPConnection, request: _Request
    ) -> http.client.HTTPResponse:
        headers = {"Content-Type": request.media} if request.body is not None else {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request(request.method, self._prefix + request.path, request.body, headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise

    def _place(self) -> str:
        return f"The server at {self._connection.host}:{self._connection.port}"


@dataclasses.dataclass(frozen=True)
class FoundWords:
    """What words name in an image.

    Attributes:
        masks: the best first; their ``category`` is the word, ``word_score`` how sure the model is.
        words: what became of each word, with the best candidate's score where nothing was found.
    """

    masks: tuple[MaskRecord, ...]
    words: tuple[WordAnswer, ...]


class RemoteImage:
    """An image that a server keeps; it is sent again where the server dropped it.

    Attributes:
        id: the server's name for it.
        size: ``(height, width)``.
    """

    def __init__(self, client: Client, data: bytes, media: str) -> None:
        self._client, self._data, self._media = client, data, media
        self.id, self.size = "", (0, 0)
        self._send()

    def _send(self) -> None:
        answer = self._client.call(
            "POST", "/api/v1/images", kind=Encoded, body=self._data, media=self._media
        )
        self.id, self.size = answer.image.id, (answer.image.height, answer.image.width)

    def segment(
        self, prompt: Prompt | Sequence[Prompt], *, multimask: bool = False
    ) -> list[MaskRecord]:
        """Masks of a prompt, or of several; a record's ``mask`` is the (H, W) bool array.

        Args:
            prompt: in pixels of the image, or words: those give a mask for each thing.
            multimask: all three candidates of each; words have none.

        Raises:
            PromptError: one does not fit the image, or a word is not understood.
            ServerError: the server refused, or cannot be reached.
        """
        prompts = [prompt] if isinstance(prompt, Prompt) else prompt
        check_prompts(prompts)
        asked = {"prompts": [prompt_body(one) for one in prompts], "multimask": multimask}
        body = msgspec.json.encode(asked)
        try:
            return self._masks(body)
        except ServerError as error:
            if error.status != 404:
                raise
        self._send()
        return self._masks(body)

    def _masks(self, body: bytes) -> list[MaskRecord]:
        path = f"/api/v1/images/{self.id}/masks"
        return self._client.call("POST", path, kind=Found, body=body).masks

    def everything(
        self, *, progress: Progress | None = None, points_per_side: int | None = None
    ) -> Iterator[MaskRecord]:
        """All masks of the image, those of the highest predicted IoU first.

        Args:
            progress: is called with the batches that are done and their number.
            points_per_side: clicks along each side of the grid; ``None`` leaves it to the server.

        Raises:
            ServerError: the server refused, broke off, or cannot be reached.
        """
        body = msgspec.json.encode({"points_per_side": points_per_side})
        for line in self._lines("everything", body, progress):
            if line.mask is not None:
                yield line.mask

    def find(
        self, words: str, *, score: float | None = None, progress: Progress | None = None
    ) -> FoundWords:
        """The things that words name, such as ``image.find("dog, cat")``.

        Args:
            words: one or more names, with commas between them.
            score: the lowest score, 0 to 1; ``None`` leaves it to the server's model.
            progress: is called with the batches of proposals that are done and their number.

        Raises:
            PromptError: a word is not understood, or the server's model understands none.
            ServerError: the server refused, broke off, or cannot be reached.
        """
        body = msgspec.json.encode({"text": words, "score": score})
        lines = list(self._lines("find", body, progress))
        masks = tuple(line.mask for line in lines if line.mask is not None)
        return FoundWords(masks, tuple(lines[-1].words))

    def _lines(self, what: str, body: bytes, progress: Progress | None) -> Iterator[Line]:
        """The lines of a whole stream but for those of its progress."""
        line = Line("")
        for line in self._sent_lines(what, body):
            if line.error is not None:
                raise error_of(line.error, 200)
            if line.type != "progress":
                yield line
            elif progress is not None:
                progress(line.done, line.total)
        if line.type != "completed":
            raise ServerError("The server's stream ended too early: ask again.")

    def _sent_lines(self, what: str, body: bytes) -> Iterator[Line]:
        try:
            yield from self._client.lines(f"/api/v1/images/{self.id}/{what}", body)
            return
        except ServerError as error:
            if error.status != 404:
                raise
        self._send()
        yield from self._client.lines(f"/api/v1/images/{self.id}/{what}", body)

    def forget(self) -> None:
        """Let the server drop it."""
        with contextlib.suppress(ServerError):
            self._client.call("DELETE", f"/api/v1/images/{self.id}", kind=type(None))


def _content(source: Source | Array) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, str | os.PathLike):
        return _file(Path(source))
    made = io.BytesIO()
    Image.fromarray(load_image(source)).save(made, "PNG")
    return made.getvalue()


def _file(path: Path) -> bytes:
    return read_bytes(path, limit="image_bytes", expected="an image file", error=ImageError)


def _decoded(text: bytes, kind: type[T], *, path: str) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise ServerError(f"{path} answered what is no samedge document: {error}.") from error
