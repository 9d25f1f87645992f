"""Changing the size of the last two axes.

Bilinear sampling is a product with two small matrices, one an axis, whose rows hold the weights of
the two neighbours of each sampling point; MIL's sampling modes differ only in those points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from samedge.errors import InferenceError
from samedge.runtimes.mil.ops.arguments import flag, integer, integers, number


def _points(mode: str, size: int, count: int) -> Tensor:
    """(count,) float32 sampling points in the grid 0 .. size - 1, by MIL's sampling mode."""
    index = torch.arange(count, dtype=torch.float64)
    steps = max(count - 1, 1)
    if mode == "ALIGN_CORNERS" and count == 1:
        points = torch.full((1,), (size - 1) / 2, dtype=torch.float64)
    elif mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = index * ((size - 1) / steps)
    elif mode == "DEFAULT":
        points = index * ((size - size / count) / steps)
    elif mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / count
        points = 0.5 * delta + index * (steps * delta / steps)
    elif mode == "UNALIGN_CORNERS":
        points = (index + 0.5) * (size / count) - 0.5
    else:
        raise InferenceError(f"A resize has sampling mode {mode!r}, which MIL does not define.")
    return points.clamp(0, size - 1)


def _matrix(points: Tensor, size: int) -> Tensor:
    """(count, size) float32: row i has the weights of the two neighbours of point i."""
    below = points.floor().clamp(max=max(size - 2, 0)).long()
    weight = points - below
    matrix = torch.zeros((len(points), size), dtype=torch.float64)
    rows = torch.arange(len(points))
    matrix[rows, below] += 1 - weight
    matrix[rows, (below + 1).clamp(max=size - 1)] += weight
    return matrix.float()


def _bilinear(x: Tensor, height: int, width: int, mode: str) -> Tensor:
    rows = _matrix(_points(mode, x.shape[-2], height), x.shape[-2])
    columns = _matrix(_points(mode, x.shape[-1], width), x.shape[-1])
    return torch.matmul(rows, torch.matmul(x, columns.T))


def _nearest(x: Tensor, height: int, width: int) -> Tensor:
    rows = (torch.arange(height) * x.shape[-2]).div(height, rounding_mode="floor")
    columns = (torch.arange(width) * x.shape[-1]).div(width, rounding_mode="floor")
    return x.index_select(-2, rows).index_select(-1, columns)


def _scaled(size: int, factor: Tensor | float) -> int:
    return int(size * number(factor))


def upsample_nearest_neighbor(
    x: Tensor,
    scale_factor_height: Tensor | float = 1,
    scale_factor_width: Tensor | float = 1,
) -> Tensor:
    """Each pixel repeated."""
    height = _scaled(x.shape[-2], scale_factor_height)
    return _nearest(x, height, _scaled(x.shape[-1], scale_factor_width))


def resize_nearest_neighbor(
    x: Tensor, target_size_height: Tensor, target_size_width: Tensor
) -> Tensor:
    """Pixel floor(i size / target)."""
    return _nearest(x, integer(target_size_height), integer(target_size_width))


def upsample_bilinear(
    x: Tensor,
    scale_factor_height: Tensor | float = 1,
    scale_factor_width: Tensor | float = 1,
    align_corners: Tensor | bool = True,
    half_pixel_centers: Tensor | bool | None = None,
) -> Tensor:
    """Bilinear by a factor, sampled at the corners or at the pixels' centres."""
    aligned = flag(align_corners)
    centered = not aligned if half_pixel_centers is None else flag(half_pixel_centers)
    mode = "STRICT_ALIGN_CORNERS" if aligned else "UNALIGN_CORNERS" if centered else "DEFAULT"
    height = _scaled(x.shape[-2], scale_factor_height)
    return _bilinear(x, height, _scaled(x.shape[-1], scale_factor_width), mode)


def resize_bilinear(
    x: Tensor,
    target_size_height: Tensor | int = 1,
    target_size_width: Tensor | int = 1,
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """Bilinear to a size, in one of MIL's five sampling modes."""
    return _bilinear(x, integer(target_size_height), integer(target_size_width), sampling_mode)


def resize(
    x: Tensor,
    shape: Tensor,
    resized_dims: Tensor,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """iOS 17's resize of the last one or two axes; a size of 0 keeps the axis."""
    wanted = integers(shape)[-integer(resized_dims) :]
    sizes = [n or have for n, have in zip(wanted, x.shape[-len(wanted) :], strict=True)]
    height, width = (x.shape[-2], sizes[0]) if len(sizes) == 1 else sizes
    if interpolation_mode == "NEAREST_NEIGHBOR":
        return _nearest(x, height, width)
    return _bilinear(x, height, width, sampling_mode)


def crop(x: Tensor, crop_height: Tensor, crop_width: Tensor) -> Tensor:
    """Cut (before, after) pixels off the last two axes."""
    (top, bottom), (left, right) = integers(crop_height), integers(crop_width)
    rows = x.narrow(-2, top, x.shape[-2] - top - bottom)
    return rows.narrow(-1, left, x.shape[-1] - left - right)


OPS = {
    "crop": crop,
    "resize": resize,
    "resize_bilinear": resize_bilinear,
    "resize_nearest_neighbor": resize_nearest_neighbor,
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}
