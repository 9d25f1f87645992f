"""The values that go into samedge's public functions, and the words of them all."""

from __future__ import annotations

import dataclasses
import decimal
import enum
import numbers
import operator
from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from samedge.errors import PromptError, SamedgeError
from samedge.files import limits

Array = npt.NDArray[Any]
Size = tuple[int, int]
"""``(height, width)`` in pixels, always in that order."""

Region = tuple[int, int, int, int]
"""``(x0, y0, x1, y1)``: pixels of the original image, the last ones excluded."""


class Rle(TypedDict):
    """A mask as COCO's compressed run lengths; ``size`` is ``[height, width]``."""

    size: list[int]
    counts: str


Options = dict[str, Any]
"""What a backend or an exporter is given, by name: whatever its library takes."""

Progress = Callable[[int, int], None]
"""Who listens to long work: is called with the steps that are done and their total, which is 0
where nobody knows it beforehand."""

Stage = Callable[[str], None]
"""Who is told in words what long work is at; beside ``Progress``, and before it at each step."""


class Steps:
    """Counts the steps of long work for its two listeners.

    Args:
        total: steps in all; 0 where nobody knows it beforehand.
        progress: hears of every step.
        stage: is told what each step is about.
    """

    def __init__(
        self, total: int = 0, *, progress: Progress | None = None, stage: Stage | None = None
    ) -> None:
        self.done, self.total = 0, total
        self._progress, self._stage = progress, stage

    def step(self, words: str = "") -> None:
        """One step more is done; ``words`` say what comes next, or what came out."""
        self.reach(self.done + 1, words)

    def reach(self, done: int, words: str = "") -> None:
        """So many steps are done; where that is more than were foreseen, there are so many."""
        self.done = done
        self.total = self.total and max(self.total, done)
        if words:
            self.say(words)
        if self._progress is not None:
            self._progress(self.done, self.total)

    def say(self, words: str) -> None:
        """Tell what the work is at, within a step."""
        if self._stage is not None:
            self._stage(words)


FOREGROUND, BACKGROUND, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT = 1, 0, 2, 3
PADDING, IGNORED = -1, -2
"""Labels of ``point_labels``. ``PADDING`` is SAM's padding point: the first beside points
without a box counts as SAM's own does, every other is masked out of the attention, so that padding
a prompt to a longer ``N`` changes nothing. ``IGNORED`` is always masked out."""

DRAWN_KINDS = ("point", "box", "mask")
"""What a mask decoder's prompt can be made of."""
TEXT = "text"
PROMPT_KINDS = (*DRAWN_KINDS, TEXT)
"""What a prompt can be made of, as a manifest names it."""

IMAGE = "image"
IMAGE_EMBEDDINGS = "image_embeddings"
POINT_COORDS, POINT_LABELS = "point_coords", "point_labels"
MASK_INPUT, HAS_MASK_INPUT = "mask_input", "has_mask_input"
LOW_RES_MASKS, IOU_PREDICTIONS = "low_res_masks", "iou_predictions"
PROMPT_TENSORS = (POINT_COORDS, POINT_LABELS, MASK_INPUT, HAS_MASK_INPUT)
REGIONS, REGION_EMBEDDINGS = "regions", "region_embeddings"
TOKENS, TEXT_EMBEDDINGS = "tokens", "text_embeddings"
"""Tensors of the graphs that samedge itself reads or feeds. An encoder may give more than one
embedding; what the decoder takes of them is passed on by name."""


class Role(str, enum.Enum):
    """What a graph of a bundle is for. Nothing else in samedge spells these words."""

    ENCODER = "encoder"
    PROMPTS = "prompts"  # makes some of the decoder's inputs of points and labels
    DECODER = "decoder"
    MEMORY_ENCODER = "memory_encoder"
    MEMORY_ATTENTION = "memory_attention"
    REGION_ENCODER = "region_encoder"
    TEXT_ENCODER = "text_encoder"
    META_ENCODER = "meta_encoder"  # with the tensors of Meta's own export, for other programs
    META_DECODER = "meta_decoder"
    ANYLABELING_ENCODER = "anylabeling_encoder"  # of a model folder of AnyLabeling
    ANYLABELING_DECODER = "anylabeling_decoder"

    def __str__(self) -> str:
        """The word, in messages and file names alike."""
        return self.value

    @property
    def is_own(self) -> bool:
        """Whether samedge runs it; another project's dialect only comes along."""
        return not self.value.startswith(("meta_", "anylabeling_"))


IMAGE_ROLES = (Role.ENCODER, Role.DECODER)
"""The graphs that segmenting an image takes, in their order; a decoder comes with what makes its
inputs."""


class Precision(str, enum.Enum):
    """Numeric precision of an artifact, or the wish for one (``auto``)."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    W8 = "w8"
    W6 = "w6"
    W4 = "w4"
    P8 = "p8"
    P4 = "p4"


WEIGHTS_ONLY = (Precision.W8, Precision.P8, Precision.W6, Precision.W4, Precision.P4)
"""Precisions of the stored weights alone; what computes stays in float."""


def whole_region(region: Region, *, error: type[SamedgeError]) -> Region:
    """A region as a tuple of Python's own whole numbers; what is none raises ``error``."""
    try:
        x0, y0, x1, y1 = map(operator.index, region)
    except (TypeError, ValueError) as problem:
        raise error(
            f"The region is {region!r:.80}, expected four whole numbers x0, y0, x1, y1: pixels of "
            "the image."
        ) from problem
    return x0, y0, x1, y1


def _numbers(values: npt.ArrayLike, name: str) -> Array:
    """``values`` as float32; out of range becomes infinity, which is refused later."""
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O":  # whole numbers beyond 64 bits, fractions, decimals
            if not all(isinstance(value, numbers.Number | decimal.Decimal) for value in array.flat):
                raise TypeError("they hold something else")
            array = array.astype(np.float64)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"they have dtype {array.dtype}")
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise PromptError(
            f"{name} are not numbers in rows of one length ({error}): give lists or an array."
        ) from error


def _points_array(points: npt.ArrayLike | None) -> Array:
    array = np.zeros((0, 2), np.float32) if points is None else _numbers(points, "points")
    if array.size == 0:
        array = array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise PromptError(
            f"points have shape {array.shape}, expected (N, 2): give [[x, y], ...] in pixels."
        )
    limits.check(len(array), "prompt_points", what="A prompt", error=PromptError)
    return array


def _labels_array(labels: npt.ArrayLike | None, count: int) -> Array:
    if labels is None:
        return np.full(count, FOREGROUND, np.int32)
    try:
        array = np.asarray(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PromptError(f"labels have rows of different lengths ({error}).") from error
    values = _numbers(array, "labels")
    if not values.size:
        array = values = values.reshape(0)
    if array.shape != (count,):
        raise PromptError(
            f"{count} points came with labels of shape {array.shape}, expected ({count},): "
            "give one label a point, 1 for foreground and 0 for background."
        )
    if not np.isin(values, (FOREGROUND, BACKGROUND)).all():
        raise PromptError(
            f"labels are {array.tolist()}, expected only 1 (foreground) and 0 (background)."
        )
    return values.astype(np.int32)


def _box_array(box: npt.ArrayLike | None) -> Array | None:
    if box is None:
        return None
    array = _numbers(box, "box coordinates")
    if array.ndim == 2 and array.shape[1] == 4:
        raise PromptError(
            f"box has shape {array.shape}, expected one box: make {len(array)} prompts of them by "
            "Prompt.from_boxes and decode them with decode_batch."
        )
    if array.shape != (4,):
        raise PromptError(f"box has shape {array.shape}, expected (4,): give [x0, y0, x1, y1].")
    if not np.isfinite(array).all():
        raise PromptError(f"box {array.tolist()} holds NaN or infinity: give finite pixels.")
    if array[0] >= array[2] or array[1] >= array[3]:
        raise PromptError(
            f"box {array.tolist()} is empty or inverted, expected x0 < x1 and y0 < y1: give the "
            "top left corner first; COCO's [x, y, width, height] is [x, y, x + width, y + height]."
        )
    return array


def _mask_array(values: npt.ArrayLike) -> Array:
    try:
        mask = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PromptError(f"mask has rows of different lengths ({error}).") from error
    if mask.ndim != 2 or not mask.size:
        raise PromptError(f"mask has shape {mask.shape}, expected two axes (H, W).")
    limits.check(mask.size, "image_pixels", what="mask", error=PromptError)
    if mask.dtype == np.bool_:
        return mask
    if not np.issubdtype(mask.dtype, np.floating):
        raise PromptError(
            f"mask has dtype {mask.dtype}, expected bool (a mask of the image) "
            "or float (low-res logits of an earlier result): use mask > 0 for 0 and 1, mask > 127 "
            "for a picture."
        )
    with np.errstate(over="ignore"):
        logits = mask.astype(np.float32)
    if not np.isfinite(logits).all():
        raise PromptError("mask holds NaN or infinity: give finite logits.")
    return logits


@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Prompt:
    """What to segment, in pixels of the original image.

    Points, labels and boxes are given as lists, tuples or arrays of any numeric type.

    Attributes:
        points: (N, 2) float32, xy pixels of the original image.
        labels: (N,) int32, 1 foreground and 0 background; ``None`` makes every point foreground.
        box: (4,) float32, ``[x0, y0, x1, y1]`` pixels of the original image, or ``None``.
        mask: an earlier mask to start from, or ``None``. Either (S/4, S/4) float low-res logits as
            a ``Masks`` carries them, or (H, W) bool in the original image's frame. Models are not
            trained on a mask alone: a bool one gets its own box, logits want a point or a box.
        region: what low-res logits in ``mask`` are of; ``None``: what the embedding shows.
        text: names of things, commas between them, or ``None``. Words go alone.

    Raises:
        PromptError: wrong shapes, unknown labels, NaN, an empty or inverted box, too many points,
            a region of no whole numbers, words beside anything else, or no prompt.
    """

    points: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    box: npt.NDArray[np.float32] | None
    mask: npt.NDArray[np.bool_] | npt.NDArray[np.float32] | None
    region: Region | None
    text: str | None

    def __init__(
        self,
        points: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        *,
        box: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        region: Region | None = None,
        text: str | None = None,
    ) -> None:
        if not isinstance(text, str | None):
            raise PromptError(
                f"text is a {type(text).__name__}, expected words such as 'dog' or 'dog, cat'."
            )
        array = _points_array(points)
        if not np.isfinite(array).all():
            raise PromptError(f"points {array.tolist()} hold NaN or infinity: give finite pixels.")
        object.__setattr__(self, "points", array)
        object.__setattr__(self, "labels", _labels_array(labels, len(array)))
        object.__setattr__(self, "box", _box_array(box))
        object.__setattr__(self, "mask", None if mask is None else _mask_array(mask))
        seen = None if region is None else whole_region(region, error=PromptError)
        object.__setattr__(self, "region", seen)
        object.__setattr__(self, "text", text)
        if not self.kinds:
            raise PromptError("The prompt is empty: give at least a point, a box or a mask.")
        if text is not None and len(self.kinds) > 1:
            raise PromptError(
                f"The prompt has the words {text!r} and a {self.kinds[0]}: give either alone."
            )

    @classmethod
    def from_boxes(cls, boxes: npt.ArrayLike) -> list[Prompt]:
        """One prompt a box, such as a detector's, for ``Predictor.decode_batch``.

        Args:
            boxes: (N, 4) ``x0, y0, x1, y1`` pixels of the original image.

        Raises:
            PromptError: another shape, or a box that is none; it names the row.
        """
        array = _numbers(boxes, "boxes")
        if array.size == 0:
            array = array.reshape(0, 4)
        if array.ndim != 2 or array.shape[1] != 4:
            raise PromptError(
                f"boxes have shape {array.shape}, expected (N, 4): give [[x0, y0, x1, y1], ...] "
                "without scores and classes."
            )
        limits.check(len(array), "prompts", what="The batch", error=PromptError)
        return [cls._from_row(row, box) for row, box in enumerate(array)]

    @classmethod
    def _from_row(cls, row: int, box: Array) -> Prompt:
        try:
            return cls(box=box)
        except PromptError as error:
            raise PromptError(f"Row {row} of the boxes: {error}") from error

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the prompt is made of, of ``PROMPT_KINDS``."""
        others = (part is not None for part in (self.box, self.mask, self.text))
        given = (len(self.points) > 0, *others)
        return tuple(kind for kind, is_given in zip(PROMPT_KINDS, given, strict=True) if is_given)

    @property
    def is_ambiguous(self) -> bool:
        """Whether one click is all there is, so that three masks compete (SAM paper, section 3)."""
        return self.kinds == PROMPT_KINDS[:1] and len(self.points) == 1

    def __repr__(self) -> str:
        parts = []
        if len(self.points):
            parts += [f"points={self.points.tolist()}", f"labels={self.labels.tolist()}"]
        if self.box is not None:
            parts.append(f"box={self.box.tolist()}")
        if self.mask is not None:
            parts.append(f"mask=<{self.mask.shape[0]}x{self.mask.shape[1]} {self.mask.dtype}>")
        parts += [f"region={self.region}"] * (self.region is not None)
        parts += [f"text={self.text!r}"] * (self.text is not None)
        return f"Prompt({', '.join(parts)})"


@dataclasses.dataclass(frozen=True, slots=True)
class ActiveBackend:
    """What really executed a graph."""

    name: str
    version: str | None
    device: str


@dataclasses.dataclass(frozen=True, eq=False)
class Focus:
    """A second look: the part of the image that the encoder saw again, at its full input size.

    Attributes:
        region: that part.
        low_res_logits: (M, S/4, S/4) float32 of that part alone.
    """

    region: Region
    low_res_logits: Array = dataclasses.field(repr=False)
