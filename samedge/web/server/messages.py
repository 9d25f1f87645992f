"""The JSON that goes over the wire, both ways; ``/openapi.json`` is made of the same structs.

Requests refuse fields that they do not know. Answers may gain fields without a new schema number.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType

from samedge._version import __version__
from samedge.bundle.manifest import Manifest
from samedge.errors import PromptError
from samedge.files.error_documents import ErrorDocument
from samedge.files.lines import created_now
from samedge.formats.masks import MaskRecord
from samedge.pixels.rle import mask_from_rle
from samedge.predict.words.answers import WordAnswer
from samedge.types import ActiveBackend, Array, Prompt, Size

MODEL_SCHEMA = "samedge.serve.model/1"
IMAGE_SCHEMA = "samedge.serve.image/1"
MASKS_SCHEMA = "samedge.serve.masks/1"
LOGITS_SCHEMA = "samedge.serve.logits/1"
HEALTH_SCHEMA = "samedge.serve.health/1"

Share = Annotated[float, Meta(ge=0, le=1)]
Pixels = Annotated[int, Meta(ge=1)]


class RleMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mask as COCO's compressed run lengths; ``size`` is ``[height, width]``."""

    size: tuple[Pixels, Pixels]
    counts: str


class PromptMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to segment, in pixels of the image.

    Attributes:
        points: ``[x, y]`` each.
        labels: one a point, 1 foreground and 0 background; without them all are foreground.
        box: ``[x0, y0, x1, y1]``.
        mask: an earlier mask to start from, of the image's size.
        low_res_logits: the same as low-res logits, (side, side) float32, little-endian, base64.
        text: names of things instead, with commas between them.
    """

    points: list[tuple[float, float]] = []
    labels: list[Literal[0, 1]] | None = None
    box: tuple[float, float, float, float] | None = None
    mask: RleMessage | None = None
    low_res_logits: bytes | None = None
    text: Annotated[str, Meta(max_length=4096)] | None = None


class MasksRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prompts about one image.

    Attributes:
        prompts: they do not influence one another.
        multimask: whether to answer all three candidates of each; words have none.
    """

    prompts: Annotated[list[PromptMessage], Meta(min_length=1, max_length=1000)]
    multimask: bool = False


class EverythingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of everything mode; what is left out is as the model has it.

    Attributes:
        points_per_side: clicks along each side of the grid.
        pred_iou_threshold: masks that the model rates lower are dropped.
        stability_threshold: masks that change more with the threshold are dropped.
        crop_layers: also look at 2 x 2 crops, and 4 x 4.
        low_res_logits: whether each mask comes with those that it was cut from.
    """

    points_per_side: Annotated[int, Meta(ge=1, le=128)] | None = None
    pred_iou_threshold: Share | None = None
    stability_threshold: Share | None = None
    crop_layers: Annotated[int, Meta(ge=0, le=2)] | None = None
    low_res_logits: bool = False


class PathRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image by its path, absolute or below one of the server's roots."""

    path: Annotated[str, Meta(min_length=1, max_length=4096)]


class BundleMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle that answers."""

    id: str
    model: str
    target: str
    precision: str
    input_size: int


class BackendMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What executes it."""

    name: str
    version: str | None
    device: str


class ImageMessage(msgspec.Struct, frozen=True, kw_only=True):
    """An image that was sent."""

    id: str
    height: int
    width: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer begins with.

    Attributes:
        schema: its kind and the number of that kind's version.
    """

    schema: str
    samedge_version: str = __version__
    created: str = msgspec.field(default_factory=created_now)


class ModelAnswer(Answer, frozen=True, kw_only=True):
    """What this server computes with.

    Attributes:
        prompts: the kinds that the model understands, of point, box, mask and text.
        predicted_iou, stability: thresholds of everything mode.
        licence: of the weights.
        body_bytes: most of one request.
        keep_s: how long an image is kept after it was last asked for.
        reads_paths: whether images may be named by path.
    """

    schema: str = MODEL_SCHEMA
    bundle: BundleMessage
    backend: BackendMessage
    prompts: list[str]
    predicted_iou: float
    stability: float
    licence: str
    body_bytes: int
    keep_s: float
    reads_paths: bool


class ImageAnswer(Answer, frozen=True, kw_only=True):
    """An image that is encoded and kept.

    Attributes:
        bundle: that encoded it.
        is_new: whether it had to be encoded for this request.
        size_bytes: what keeping it takes.
        keep_s: how long it is kept after it was last asked for, if there is room.
        timing_ms: ``preprocess`` and ``encode``, of when it was encoded.
    """

    schema: str = IMAGE_SCHEMA
    image: ImageMessage
    bundle: BundleMessage
    is_new: bool
    size_bytes: int
    keep_s: float
    timing_ms: dict[str, float]


class MasksAnswer(Answer, frozen=True, kw_only=True):
    """The masks of some prompts, as ``samedge segment --json`` has them.

    Attributes:
        masks: in the order of the prompts; three for each with ``multimask``, and of words as
            many as they find, with ``category`` and ``word_score``.
        timing_ms: ``decode`` and ``postprocess``; with words ``find``.
        words: what became of each word, where words were asked for.
    """

    schema: str = MASKS_SCHEMA
    image: ImageMessage
    bundle: BundleMessage
    backend: BackendMessage
    masks: list[MaskRecord]
    timing_ms: dict[str, float]
    words: list[WordAnswer] | UnsetType = UNSET


class LogitsAnswer(Answer, frozen=True, kw_only=True):
    """The decoder's own outputs for one prompt, for who selects and upscales by himself.

    Attributes:
        tokens: of the decoder: the mask for clear prompts, then three candidates.
        side: rows and columns of the logits, those of padding included.
        low_res_logits: (tokens, side, side) float32, little-endian, base64.
        predicted_iou: of each token.
        timing_ms: ``decode``.
    """

    schema: str = LOGITS_SCHEMA
    image: ImageMessage
    tokens: int
    side: int
    low_res_logits: bytes
    predicted_iou: list[float]
    timing_ms: dict[str, float]


class Health(Answer, frozen=True, kw_only=True):
    """Whether the server answers; nobody needs a token to ask.

    Attributes:
        status: ``UP``, the word that Label Studio looks for.
        model_class: of what it serves, for Label Studio.
        models_loaded: for X-AnyLabeling.
    """

    schema: str = HEALTH_SCHEMA
    status: str = "UP"
    model_class: str = "samedge"
    models_loaded: int = 1


class Started(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="started"):
    """The first line of a stream.

    Attributes:
        batches: of clicks, at most: what is skipped counts as done.
    """

    image: ImageMessage
    bundle: BundleMessage
    backend: BackendMessage
    batches: int


class Progressed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="progress"):
    """How far it is."""

    done: int
    total: int


class FoundMask(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="mask"):
    """One mask, those of the highest predicted IoU first.

    Attributes:
        low_res_logits: (side, side) float32, little-endian, base64, where they were asked for; of a
            mask that came from a crop a drawing of it.
    """

    mask: MaskRecord
    low_res_logits: bytes | UnsetType = UNSET


class Completed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="completed"):
    """The last line of a whole stream.

    Attributes:
        masks: how many lines of them there were.
        timing_ms: ``everything``; of words ``propose`` and ``score``.
        words: what became of each word, where words were asked for.
    """

    masks: int
    timing_ms: dict[str, float]
    words: list[WordAnswer] | UnsetType = UNSET


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """The last line of a stream that broke off."""

    error: ErrorDocument


StreamLine = Started | Progressed | FoundMask | Completed | Failed


def prompt_from_message(message: PromptMessage, size: Size) -> Prompt:
    """The prompt of a request.

    Args:
        message: of the request.
        size: ``(height, width)`` of the image.

    Raises:
        PromptError: it is none, or its mask has another size than the image.
        DatasetError: its mask's run lengths are damaged.
    """
    if message.mask is not None and message.low_res_logits is not None:
        raise PromptError("The prompt has a mask and low-res logits: give one of them.")
    mask: Array | None = None
    if message.mask is not None:
        mask = _mask(message.mask, size)
    elif message.low_res_logits is not None:
        mask = _logits(message.low_res_logits)
    given = message.points, message.labels
    return Prompt(*given, box=message.box, mask=mask, text=message.text)


def _mask(message: RleMessage, size: Size) -> Array:
    if message.size != tuple(size):
        raise PromptError(
            f"The mask has size {list(message.size)}, expected the image's {list(size)}: give "
            "[height, width] of the image."
        )
    return mask_from_rle({"size": size, "counts": message.counts})


def _logits(data: bytes) -> Array:
    side = math.isqrt(len(data) // 4)
    if len(data) != side * side * 4:
        raise PromptError(
            f"The low-res logits are {len(data)} bytes, expected side x side float32 numbers."
        )
    return np.frombuffer(data, "<f4").reshape(side, side)


def bundle_message(manifest: Manifest) -> BundleMessage:
    """The bundle of a manifest."""
    return BundleMessage(
        id=manifest.id,
        model=manifest.model.name,
        target=manifest.target,
        precision=manifest.precision,
        input_size=manifest.input_size,
    )


def backend_message(active: ActiveBackend) -> BackendMessage:
    """What really executes."""
    return BackendMessage(name=active.name, version=active.version, device=active.device)
