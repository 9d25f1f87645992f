"""What :class:`samedge.Client` and ``samedge serve`` say to each other, as documents."""

from __future__ import annotations

import msgspec

from samedge.errors import PromptError
from samedge.formats.masks import MaskRecord
from samedge.pixels.rle import rle_from_mask
from samedge.predict.words.answers import WordAnswer
from samedge.types import Prompt


class Problem(msgspec.Struct):
    """Why the server refused."""

    kind: str = "system"
    message: str = ""
    remedy: str = ""


class Image(msgspec.Struct):
    """An image that the server keeps; its sides in px."""

    id: str
    height: int
    width: int


class Encoded(msgspec.Struct):
    """The answer to an image."""

    image: Image


class Found(msgspec.Struct):
    """The answer to prompts."""

    masks: list[MaskRecord]


class Line(msgspec.Struct):
    """A line of a stream."""

    type: str
    done: int = 0
    total: int = 0
    mask: MaskRecord | None = None
    error: Problem | None = None
    words: list[WordAnswer] = []


class PromptBody(msgspec.Struct, omit_defaults=True):
    """A prompt in px of the image, its mask as COCO run lengths; or words."""

    points: list[list[float]] = []
    labels: list[int] = []
    box: list[float] | None = None
    mask: dict[str, object] | None = None
    text: str | None = None


def prompt_body(prompt: Prompt) -> PromptBody:
    """A prompt as it is sent.

    Raises:
        PromptError: its mask is not one of the image.
    """
    if prompt.text is not None:
        return PromptBody(text=prompt.text)
    body = PromptBody(points=prompt.points.tolist(), labels=prompt.labels.tolist())
    if prompt.box is not None:
        body.box = prompt.box.tolist()
    if prompt.mask is not None:
        if prompt.mask.dtype != bool:
            raise PromptError("Over HTTP a mask is one of the image: give a bool array (H, W).")
        body.mask = dict(rle_from_mask(prompt.mask))
    return body
