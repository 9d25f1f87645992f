"""Tensors of other libraries become the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samedge.errors import ImageError
from samedge.pixels.images import image_from_tensor


class TensorLike:
    """What NumPy cannot take before it is detached and on the host, as a tensor of torch."""

    def __init__(self, array: np.ndarray, *, steps: int = 2) -> None:
        self.array, self.steps, self.dtype = array, steps, array.dtype

    def detach(self) -> TensorLike:
        return TensorLike(self.array, steps=self.steps - 1)

    cpu = detach

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        if self.steps:
            raise RuntimeError("call detach() and cpu() first")
        return self.array


@pytest.fixture
def small(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def test_tensors_of_any_layout_become_the_image(small: np.ndarray) -> None:
    floats = (small / 255).astype(np.float32)
    given = [
        small,
        small.transpose(2, 0, 1),
        small.transpose(2, 0, 1)[None],
        floats.transpose(2, 0, 1),
        floats,
        (floats + 1e-6).astype(np.float64)[None].transpose(0, 3, 1, 2),
        TensorLike(floats.transpose(2, 0, 1)),
    ]
    for tensor in given:
        image = image_from_tensor(tensor)
        assert image.flags.c_contiguous
        assert np.array_equal(image, small)


def test_torch_tensors_become_the_image(small: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(small.transpose(2, 0, 1).copy()).float() / 255
    assert np.array_equal(image_from_tensor(tensor.requires_grad_()), small)
    half = image_from_tensor(tensor.bfloat16())
    assert np.abs(half.astype(int) - small).max() <= 1


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (np.full((3, 4, 5), 200.0, np.float32), "scale it by 1 / 255"),
        (np.full((3, 4, 5), -2.0, np.float32), "mean is subtracted"),
        (np.full((3, 4, 5), np.nan, np.float32), "expected 0 to 1"),
        (np.zeros((2, 3, 4, 5), np.uint8), "batch"),
        (np.zeros((4, 5), np.uint8), "expected .H, W, 3. RGB"),
        (np.zeros((3, 4, 5), np.int64), "expected uint8"),
        ("photo.jpg", "expected"),
    ],
)
def test_what_is_no_image_tensor_is_refused(tensor: object, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        image_from_tensor(tensor)


def test_what_speaks_dlpack_alone_is_taken() -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)

    class Tensor:
        def __dlpack__(self, **given: Any) -> Any:
            return pixels.__dlpack__(**given)

        def __dlpack_device__(self) -> tuple[Any, ...]:
            return pixels.__dlpack_device__()

    assert np.array_equal(image_from_tensor(Tensor()), pixels)
