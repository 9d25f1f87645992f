"""Augmentation: a window of a scene, flipped, rescaled, recoloured, padded to the model's input.

The geometry keeps the sizes that objects have in deployment, where a whole photo is resized to S
on its longest side: a share of the samples is exactly that, the others are scaled around it in
both directions. Training on enlarged crops only makes a model worse on small objects.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from samedge.distill.limits import check_range
from samedge.distill.scenes import ALIGNMENT, Scene
from samedge.pixels.frames import PAD_VALUE
from samedge.types import Array, Size


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How samples are varied. Shares are probabilities, 0..1.

    Attributes:
        mosaic: share of samples that are four tiled scenes, each at half to all of the size that
            it has in deployment; small objects, many masks and no padding.
        pasted: share of samples on which objects of other photos of their source are pasted.
        flip: share of samples mirrored left to right.
        full_share: share of samples that are the whole photo with its longest side at S.
        scale: smallest and largest factor on that scale for the others, drawn log-uniformly;
            below 1 the photo gets smaller than the input, above 1 a window of it is cut.
        brightness: largest relative change.
        contrast: largest relative change.
        saturation: largest relative change.
        hue: largest shift of the hue, as a share of the colour circle, at most 0.5.
        colour_share: share of samples that each of these three is applied to.
        hue_share: share of samples whose hue is shifted (slow: a detour through HSV).
        gray: share of samples turned gray.
        blur: share of samples blurred.
        blur_sigma: largest sigma of the blur, px of the input.
        min_area: masks with fewer px afterwards are dropped.
    """

    mosaic: float = 0.0
    pasted: float = 0.0
    flip: float = 0.5
    full_share: float = 0.4
    scale: tuple[float, float] = (0.5, 2.0)
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    hue: float = 0.05
    colour_share: float = 0.4
    hue_share: float = 0.05
    gray: float = 0.05
    blur: float = 0.05
    blur_sigma: float = 1.5
    min_area: int = 10

    def __post_init__(self) -> None:
        shares = ("mosaic", "pasted", "flip", "full_share", "gray", "blur")
        check_range(
            self,
            *shares,
            "colour_share",
            "hue_share",
            "brightness",
            "contrast",
            "saturation",
            low=0,
            high=1,
        )
        check_range(self, "hue", low=0, high=0.5)
        check_range(self, "scale", low=1 / 64, high=64)
        check_range(self, "blur_sigma", low=0, high=16)
        check_range(self, "min_area", low=1, high=2**20)


PLAIN = AugmentConfig(flip=0, full_share=1, colour_share=0, hue_share=0, gray=0, blur=0)
"""No variation: the whole photo as in deployment."""

MOSAIC_SCALE = (1.0, 2.0)
"""Range of ``scale`` for mosaics, whose scenes have half their size already."""


@dataclasses.dataclass(frozen=True)
class Window:
    """A rectangle of a scene and what it is resized to.

    Attributes:
        top: first row, px of the scene, a multiple of ``ALIGNMENT``.
        left: first column.
        size: height and width in px of the scene.
        output: height and width in px of the model's input, at most S each.
        flipped: whether to mirror it.
    """

    top: int
    left: int
    size: Size
    output: Size
    flipped: bool


def choose_window(
    scene: Scene, rng: np.random.Generator, *, image_size: int, config: AugmentConfig
) -> Window:
    """Draw the geometry of a sample; a window smaller than the scene holds some mask's middle."""
    full = rng.random() < config.full_share
    low, high = np.log(config.scale)
    factor = 1.0 if full else float(np.exp(rng.uniform(low, high)))
    scale = factor * image_size / max(scene.size)
    shape = [min(side, int(np.ceil(image_size / scale))) for side in scene.size]
    anchor = _anchor(scene, rng)
    starts = []
    for axis in (0, 1):
        lowest = -(-max(0, anchor[axis] - shape[axis] + 1) // ALIGNMENT)
        highest = min(scene.size[axis] - shape[axis], anchor[axis]) // ALIGNMENT
        starts.append(ALIGNMENT * int(rng.integers(min(lowest, highest), highest + 1)))
    output = [min(image_size, max(1, int(side * scale + 0.5))) for side in shape]
    return Window(
        top=starts[0],
        left=starts[1],
        size=(shape[0], shape[1]),
        output=(output[0], output[1]),
        flipped=bool(rng.random() < config.flip),
    )


def _anchor(scene: Scene, rng: np.random.Generator) -> tuple[int, int]:
    """Row and column of the middle of a random mask, or of a random pixel."""
    if len(scene.boxes):
        x, y, width, height = scene.boxes[rng.integers(len(scene.boxes))]
        row, column = y + height / 2, x + width / 2
    else:
        row, column = rng.random(2) * scene.size
    return (
        int(np.clip(row, 0, scene.size[0] - 1)),
        int(np.clip(column, 0, scene.size[1] - 1)),
    )


def _resized_window(pixels: Tensor, window: Window, *, reduction: int) -> Tensor:
    top, left, *size = (value // reduction for value in (window.top, window.left, *window.size))
    cut = F.resized_crop(
        tv_tensors.Image(pixels),
        top,
        left,
        max(1, size[0]),
        max(1, size[1]),
        size=list(window.output),
        interpolation=v2.InterpolationMode.BILINEAR,
        antialias=True,
    )
    return torch.as_tensor(F.horizontal_flip(cut) if window.flipped else cut)


def image_in_window(scene: Scene, window: Window) -> Tensor:
    """The picture in a window, (3, h, w) uint8 of the window's output size."""
    scale = window.output[0] / window.size[0]
    picture = scene.read_image(scale)
    reduction = max(1, round(scene.size[0] / picture.shape[0]))
    return _resized_window(torch.from_numpy(picture).permute(2, 0, 1), window, reduction=reduction)


def masks_in_window(masks: list[Array], window: Window) -> Tensor:
    """Masks in a window: averaged or interpolated as the picture is, then cut at one half.

    Args:
        masks: n arrays (H, W) uint8, 0 and 1, in the scene's frame.
        window: the geometry.

    Returns:
        (n, h, w) uint8, 0 and 1.
    """
    pixels = torch.from_numpy(np.stack(masks) * np.uint8(255))
    return (_resized_window(pixels, window, reduction=1) > 127).to(torch.uint8)


def recolour(image: Tensor, rng: np.random.Generator, *, config: AugmentConfig) -> Tensor:
    """Vary brightness, contrast, saturation and hue; sometimes gray or blurred. (3, h, w) uint8."""
    image = image.contiguous()
    for name in ("brightness", "contrast", "saturation"):
        strength = getattr(config, name)
        applied, factor = rng.random() < config.colour_share, rng.uniform(-strength, strength)
        if applied and strength:
            image = getattr(F, f"adjust_{name}")(image, 1 + factor)
    applied, shift = rng.random() < config.hue_share, rng.uniform(-config.hue, config.hue)
    if applied and config.hue:
        image = F.adjust_hue(image, shift)
    if rng.random() < config.gray:
        image = F.rgb_to_grayscale(image, num_output_channels=3)
    applied, sigma = rng.random() < config.blur, rng.uniform(0.3, max(0.3, config.blur_sigma))
    if applied:
        image = F.gaussian_blur(image, kernel_size=[5, 5], sigma=[sigma, sigma])
    return image


def padded(image: Tensor, image_size: int) -> Tensor:
    """Pad (3, h, w) uint8 to the right and below as a model's frame does; (S, S, 3) uint8."""
    canvas = torch.empty((image_size, image_size, 3), dtype=torch.uint8)
    height, width = image.shape[1:]
    colour = torch.tensor(PAD_VALUE, dtype=torch.uint8)
    canvas[height:] = colour
    canvas[:height, width:] = colour
    canvas[:height, :width] = image.permute(1, 2, 0)
    return canvas
