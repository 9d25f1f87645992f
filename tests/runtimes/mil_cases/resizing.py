"""Resizing, as Apple documents where it samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.runtimes.mil_cases.case import Case

torch = pytest.importorskip("torch")
F = torch.nn.functional


def resize_points(mode: str, size: int, count: int) -> Any:
    """The sampling points as Apple's documentation of resize_bilinear lists them."""
    index = np.arange(count)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points: Any = index * (size - 1) / (count - 1)
    elif mode == "DEFAULT":
        points = index * (size - size / count) / (count - 1)
    elif mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / count
        points = 0.5 * delta + index * delta
    else:
        points = index * size / count + 0.5 * size / count - 0.5
    return np.clip(points, 0, size - 1)


def resized(x: Any, mode: str, height: int, width: int) -> Any:
    for axis, count in ((-2, height), (-1, width)):
        size = x.shape[axis]
        rows = [
            np.interp(resize_points(mode, size, count), np.arange(size), np.eye(size)[i])
            for i in range(size)
        ]
        x = torch.tensor(np.tensordot(x.numpy(), np.array(rows), axes=([axis], [0])))
        x = x.movedim(-1, axis)
    return x


def resize_case(mode: str) -> Case:
    return Case(
        "resize_bilinear",
        lambda mb, x: mb.resize_bilinear(
            x=x, target_size_height=13, target_size_width=5, sampling_mode=mode
        ),
        lambda x: resized(x, mode, 13, 5),
        note=mode,
    )


CASES = [
    # resizing
    *map(
        resize_case,
        ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"),
    ),
    Case(
        "upsample_bilinear",
        lambda mb, x: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=4, align_corners=False
        ),
        lambda x: F.interpolate(x, scale_factor=(2, 4), mode="bilinear", align_corners=False),
        note="half pixel",
    ),
    Case(
        "upsample_bilinear",
        lambda mb, x: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=3, align_corners=True
        ),
        lambda x: F.interpolate(x, scale_factor=(2, 3), mode="bilinear", align_corners=True),
        note="corners",
    ),
    Case(
        "upsample_nearest_neighbor",
        lambda mb, x: mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=2, scale_factor_width=3
        ),
        lambda x: F.interpolate(x, scale_factor=(2, 3), mode="nearest"),
    ),
    Case(
        "resize_nearest_neighbor",
        lambda mb, x: mb.resize_nearest_neighbor(x=x, target_size_height=4, target_size_width=12),
        lambda x: F.interpolate(x, size=(4, 12), mode="nearest"),
    ),
    Case(
        "resize",
        lambda mb, x: mb.resize(
            x=x,
            shape=[0, 12],
            resized_dims=np.uint32(2),
            interpolation_mode="LINEAR",
            sampling_mode="UNALIGN_CORNERS",
        ),
        lambda x: F.interpolate(x, size=(9, 12), mode="bilinear", align_corners=False),
    ),
    Case(
        "crop",
        lambda mb, x: mb.crop(x=x, crop_height=[1, 2], crop_width=[3, 1]),
        lambda x: x[:, :, 1:-2, 3:-1],
    ),
]
