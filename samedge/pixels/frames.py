"""Geometry and pixels between an image and a model's fixed input, as the bundle's manifest says.

Three coordinate systems occur. The *original* one is the image as given. The *input* is the square
of side S that the encoder sees. The *low-res* one is the input at a quarter of its size, where the
decoder's logits live. A :class:`Frame` says how an image gets into the input; a :class:`View` is a
frame and one image, or a rectangle of one, and maps pixels, points and masks both ways. Everything
that feeds a model or reads its masks does so by a view: the runtime, the canary, parity,
calibration and training.

Two ways of resizing are known. ``longest_side_bilinear`` is SAM's: the longest side becomes S, and
the rest is padded at the right and the bottom (``ResizeLongestSide`` and ``postprocess_masks`` of
its reference code, which the tests compare with). ``square_bilinear`` is SAM 2's and
EfficientSAM's: both sides become S.
"""

from __future__ import annotations

import dataclasses
import math

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from PIL import Image

from samedge.errors import BundleError, ImageError, PromptError
from samedge.pixels.images import check_image
from samedge.pixels.layouts import YuvImage
from samedge.pixels.resizing import EXACT, FAST, PREPROCESSES, exact_resized, fast_resized
from samedge.pixels.upscaling import Axes, cut_mask, padded_axis, plain_axis, upscaled
from samedge.types import Array, Region, Size, whole_region

LONGEST_SIDE, SQUARE = "longest_side_bilinear", "square_bilinear"
RESIZES = (LONGEST_SIDE, SQUARE)
COLORS = ("RGB",)
LAYOUTS = ("NHWC",)
LARGEST_INPUT = 8192
"""Pixels along a side of the encoder's input, at most."""

PAD_VALUE = (124, 116, 104)
"""SAM's pixel mean (123.675, 116.28, 103.53), rounded: what the graph maps to nearly zero."""

LOW_RES_STRIDE = 4
"""Input pixels to one low-res logit."""

MASK_PROMPT_LOGIT = 10.0
"""Logit of a certain pixel in a mask prompt; a pixel half covered gets 0."""

STABILITY_OFFSET = 1.0
"""SAM's automatic mask generator cuts at logits +1 and -1."""

_GRID = 16  # input pixels to one position of the image embedding


class Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an image becomes the encoder's input, and masks come back from it.

    Attributes:
        target_length: S, side of the square input, pixels.
        resize: one of ``RESIZES``.
        color: order of the channels, one of ``COLORS``.
        layout: order of the axes, one of ``LAYOUTS``.
        pad_value: of each channel, 0 to 255, where the image does not reach.
        mean: that the graph itself subtracts; for those who read a manifest.
        std: that the graph itself divides by.
        preprocess: one of ``PREPROCESSES``, how a picture is made smaller; left out of the file and
            of the id where nothing else than ``exact`` was known.

    Raises:
        BundleError: a value that this samedge does not know.
    """

    target_length: int
    resize: str = LONGEST_SIDE
    color: str = "RGB"
    layout: str = "NHWC"
    pad_value: tuple[int, int, int] = PAD_VALUE
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    preprocess: str | UnsetType = UNSET

    def __post_init__(self) -> None:
        for name, known in (("resize", RESIZES), ("color", COLORS), ("layout", LAYOUTS)):
            value = getattr(self, name)
            if value not in known:
                raise BundleError(
                    f"The frame's {name} is {value!r}, and this samedge knows {', '.join(known)}: "
                    "upgrade it with `pip install -U samedge`, or export the bundle again."
                )
        if self.rule not in PREPROCESSES:
            raise BundleError(
                f"The frame's preprocess is {self.rule!r}, and this samedge knows "
                f"{', '.join(PREPROCESSES)}: upgrade it with `pip install -U samedge`, or export "
                "the bundle again."
            )
        length = self.target_length
        if not _GRID <= length <= LARGEST_INPUT or length % _GRID:
            raise BundleError(
                f"The frame's input_size is {length}, expected a multiple of {_GRID} from {_GRID} "
                f"to {LARGEST_INPUT}: export the bundle again."
            )
        if not all(0 <= value <= 255 for value in self.pad_value):
            raise BundleError(
                f"The frame's pad_value is {list(self.pad_value)}, expected numbers from 0 to 255: "
                "export the bundle again."
            )
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise BundleError(
                f"The frame's mean is {list(self.mean)} and its std {list(self.std)}, expected "
                "finite numbers, std above 0: export the bundle again."
            )

    @property
    def rule(self) -> str:
        """How a picture is made smaller: ``exact`` or ``fast``."""
        return EXACT if isinstance(self.preprocess, UnsetType) else self.preprocess

    def with_rule(self, rule: str) -> Frame:
        """The same frame with another rule.

        Raises:
            BundleError: there is no such rule.
        """
        return msgspec.structs.replace(self, preprocess=rule)

    def places_like(self, other: Frame) -> bool:
        """Whether images get to the same places by both frames, whatever their rules."""
        return self.with_rule(EXACT) == other.with_rule(EXACT)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Shape of the encoder's input."""
        return (1, self.target_length, self.target_length, 3)

    @property
    def low_res_side(self) -> int:
        """Logits along a side of the decoder's masks."""
        return self.target_length // LOW_RES_STRIDE

    def view(self, original_size: Size, *, region: Region | None = None) -> View:
        """This frame for one image.

        Args:
            original_size: ``(height, width)`` of the image.
            region: the part of the image that the encoder sees; ``None``: all of it.

        Raises:
            ImageError: the region is empty or not inside the image.
        """
        return View(self, original_size, region)

    def view_of(self, image: Array | YuvImage, *, region: Region | None = None) -> View:
        """This frame for an (H, W, 3) uint8 RGB image, or a camera's frame.

        Raises:
            ImageError: not such an array, or a region that is not inside it.
        """
        _check_picture(image)
        return self.view((image.shape[0], image.shape[1]), region=region)

    def input_size(self, size: Size) -> Size:
        """Height and width in the input of an image of ``(height, width)``.

        Rounds as SAM does (half up), except that no side falls below one pixel: SAM's code fails on
        an image more than 2 S times longer than wide.
        """
        if self.resize == SQUARE:
            return self.target_length, self.target_length
        height, width = size
        scale = self.target_length * 1.0 / max(height, width)
        return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)

    def resized(self, image: Array) -> Array:
        """An (H, W, 3) uint8 image at its size in the input, before padding."""
        size = self.input_size((image.shape[0], image.shape[1]))
        return (fast_resized if self.rule == FAST else exact_resized)(image, size)

    def axes(self, side: int, size: Size) -> Axes:
        """Upscaling of ``side`` logits to an image of ``(height, width)``."""
        if self.resize == SQUARE:
            return plain_axis(side, size[0]), plain_axis(side, size[1])
        rows, columns = (
            padded_axis(side, original, target_length=self.target_length, input_length=length)
            for original, length in zip(size, self.input_size(size), strict=True)
        )
        return rows, columns


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """A frame and one image, or a rectangle of one.

    Points and masks are those of the whole image, whether a rectangle of it is viewed or not.

    Attributes:
        frame: how the image gets into the input.
        original_size: ``(height, width)`` of the whole image.
        region: the part of it that the encoder sees; ``None``: all of it.

    Raises:
        ImageError: the region is empty or not inside the image.
    """

    frame: Frame
    original_size: Size
    region: Region | None = None

    def __post_init__(self) -> None:
        if self.region is not None:
            object.__setattr__(self, "region", whole_region(self.region, error=ImageError))
        height, width = self.original_size
        x0, y0, x1, y1 = self.bounds
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ImageError(
                f"The region {[x0, y0, x1, y1]} is empty or not inside the image of {width}x"
                f"{height} pixels (width x height): give x0, y0, x1, y1 in pixels of the image."
            )

    @property
    def bounds(self) -> Region:
        """The region, or all of the image."""
        return self.region or (0, 0, self.original_size[1], self.original_size[0])

    @property
    def viewed_size(self) -> Size:
        """``(height, width)`` of the viewed part, pixels of the original image."""
        x0, y0, x1, y1 = self.bounds
        return y1 - y0, x1 - x0

    @property
    def input_size(self) -> Size:
        """``(height, width)`` of the viewed part in the input."""
        return self.frame.input_size(self.viewed_size)

    @property
    def low_res_size(self) -> Size:
        """``(height, width)`` of the viewed part among the low-res logits; the rest is padding."""
        height, width = self.input_size
        return -(-height // LOW_RES_STRIDE), -(-width // LOW_RES_STRIDE)

    def encoder_input(self, image: Array | YuvImage) -> Array:
        """Resize and pad the image to what the encoder graph takes.

        Args:
            image: (H, W, 3) uint8 RGB, or a camera's frame, of the original size.

        Returns:
            (1, S, S, 3) uint8 RGB.

        Raises:
            ImageError: not such an array.
        """
        _check_picture(image)
        if image.shape[:2] != self.original_size:
            raise ImageError(
                f"The image is {image.shape[0]}x{image.shape[1]}, and this view is of one of "
                f"{self.original_size[0]}x{self.original_size[1]} (height x width)."
            )
        resized = self._resized(image)
        height, width = resized.shape[:2]
        square = np.empty(self.frame.input_shape, np.uint8)
        square[0, :height, :width] = resized
        square[0, height:] = self.frame.pad_value
        square[0, :height, width:] = self.frame.pad_value
        return square

    def _resized(self, image: Array | YuvImage) -> Array:
        if isinstance(image, YuvImage):
            return image.resized(self.input_size, rule=self.frame.rule, region=self.region)
        return self.frame.resized(self._cut(image))

    def input_coords(self, coords: Array) -> Array:
        """Map coordinates from the original image to the input.

        Args:
            coords: (..., 2) xy pixels of the original image.

        Returns:
            (..., 2) float32, xy pixels of the input.
        """
        (height, width), (high, wide) = self.viewed_size, self.input_size
        inside = np.asarray(coords, np.float64) - np.array(self.bounds[:2], np.float64)
        return (inside * np.array([wide / width, high / height], np.float64)).astype(np.float32)

    def mask_prompt(self, mask: Array) -> Array:
        """Turn a mask of the original image into a mask prompt.

        Every low-res pixel gets its covered share p as the logit ``MASK_PROMPT_LOGIT * (2 p - 1)``;
        padding counts as uncovered.

        Args:
            mask: (H, W) bool, of the original image.

        Returns:
            (S/4, S/4) float32 logits.

        Raises:
            PromptError: the mask has another size than the image.
        """
        if mask.shape != self.original_size:
            raise PromptError(
                f"The mask prompt is {mask.shape[0]}x{mask.shape[1]} and the image "
                f"{self.original_size[0]}x{self.original_size[1]} (height x width): give a mask of "
                "the image's size, or the low-res logits of an earlier result."
            )
        height, width = self.input_size
        picture = Image.fromarray(np.where(self._cut(mask), np.uint8(255), np.uint8(0)))
        square = np.zeros(self.frame.input_shape[1:3], np.uint8)
        square[:height, :width] = np.asarray(picture.resize((width, height), Image.Resampling.BOX))
        side = self.frame.low_res_side
        blocks = square.reshape(side, LOW_RES_STRIDE, side, LOW_RES_STRIDE)
        share = blocks.sum(axis=(1, 3), dtype=np.uint32) / np.float32(255 * LOW_RES_STRIDE**2)
        return np.asarray(MASK_PROMPT_LOGIT * (2.0 * share - 1.0), np.float32)

    def logits(self, low_res: Array) -> Array:
        """Upscale logits to the original image, exactly as the model's own code does.

        Args:
            low_res: (M, m, m) float32 logits; m is S/4.

        Returns:
            (M, H, W) float32 logits; outside the region that of a pixel certainly not in the mask.
        """
        seen = upscaled(low_res, self.frame.axes(low_res.shape[-1], self.viewed_size))
        if self.region is None:
            return seen
        whole = np.full((len(low_res), *self.original_size), -MASK_PROMPT_LOGIT, np.float32)
        for logits, out in zip(seen, whole, strict=True):
            self._cut(out)[...] = logits
        return whole

    def masks(self, low_res: Array, *, threshold: float = 0.0) -> Array:
        """Masks of the original image: :meth:`logits` cut at ``threshold``, but cheaper.

        Args:
            low_res: (M, m, m) float32 logits; m is S/4.
            threshold: logits above it are in the mask.

        Returns:
            (M, H, W) bool; nothing outside the region.
        """
        axes = self.frame.axes(low_res.shape[-1], self.viewed_size)
        masks = np.zeros((len(low_res), *self.original_size), np.bool_)
        for logits, mask in zip(low_res, masks, strict=True):
            cut_mask(logits, axes, threshold=threshold, mask=self._cut(mask))
        return masks

    def stability(self, low_res: Array, *, offset: float = STABILITY_OFFSET) -> Array:
        """IoU of each mask cut high with itself cut low, over the low-res pixels of the image.

        SAM measures it after upscaling; here 1/16 of the pixels or fewer give the same figure to
        about a hundredth.

        Args:
            low_res: (M, m, m) logits; padding does not count.
            offset: how far above and below 0 the cuts are.

        Returns:
            (M,) float32.
        """
        height, width = self.low_res_size
        inside = low_res[:, :height, :width]
        high = np.count_nonzero(inside > offset, axis=(1, 2))
        low = np.count_nonzero(inside > -offset, axis=(1, 2))
        return np.asarray(high / np.maximum(low, 1), np.float32)

    def _cut(self, pixels: Array) -> Array:
        """The viewed part of (H, W, ...) pixels, as a window onto them."""
        if self.region is None:
            return pixels
        x0, y0, x1, y1 = self.region
        return pixels[y0:y1, x0:x1]


def _check_picture(image: Array | YuvImage) -> None:
    """Refuse what is no image.

    Raises:
        ImageError: it is none.
    """
    if not isinstance(image, YuvImage):
        check_image(image)
