"""Attention windows without 6-D tensors, blocks on a grid, and constants computed once.

Cutting (B, H, W, C) into windows is usually written with a rank-6 permutation, which several
accelerators refuse. Batch and window row are adjacent before and after, and so are the columns of
a window and the channels; so one rank-4 transposition does the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional as F


def to_windows(x: Tensor, window: int, grid: int) -> Tensor:
    """Cut a square grid into windows, padding with zeros at the right and the bottom.

    Args:
        x: (B, grid, grid, C).
        window: side of a window.
        grid: side of the grid.

    Returns:
        (B * n * n, window, window, C) with n = ceil(grid / window).
    """
    channels, surplus = x.shape[3], -grid % window
    if surplus:
        x = F.pad(x, (0, 0, 0, surplus, 0, surplus))
    count = (grid + surplus) // window
    rows = x.reshape(-1, window, count, window * channels)
    return rows.transpose(1, 2).reshape(-1, window, window, channels)


def from_windows(x: Tensor, window: int, grid: int) -> Tensor:
    """Undo :func:`to_windows`.

    Args:
        x: (B * n * n, window, window, C).
        window: side of a window.
        grid: side of the grid.

    Returns:
        (B, grid, grid, C).
    """
    channels, padded = x.shape[3], grid + (-grid % window)
    count = padded // window
    rows = x.reshape(-1, count, window, window * channels)
    merged = rows.transpose(1, 2).reshape(-1, padded, padded, channels)
    return merged[:, :grid, :grid] if padded > grid else merged


class GridBlock(nn.Module):
    """A block with a residual stream of cells on a square grid.

    Attributes:
        grid: side of the grid.
        is_flat: keep the stream as (B, cells, C) instead of (B, grid, grid, C). The numbers are the
            same; runtimes differ in what they make of it, see ``samedge.export.graphs.flat``.
    """

    is_flat = False

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def stream(self, cells: Tensor) -> Tensor:
        """(B, grid, grid, C) cells as the stream has them."""
        return cells.flatten(1, 2) if self.is_flat else cells

    def cells(self, stream: Tensor) -> Tensor:
        """Undo :meth:`stream`."""
        if not self.is_flat:
            return stream
        return stream.reshape(-1, self.grid, self.grid, stream.shape[2])


class Constant(nn.Module, ABC):
    """Something that depends on parameters alone, not on the input.

    It is computed in every forward pass while training, so that gradients flow; :meth:`fold`
    computes it once, and the exported graph then holds the result instead of its recipe.
    """

    folded: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("folded", None, persistent=False)

    @abstractmethod
    def compute(self) -> Tensor:
        """Work the value out from the parameters."""

    def forward(self) -> Tensor:
        """Return the value, folded or not."""
        return self.compute() if self.folded is None else self.folded

    def fold(self) -> None:
        """Keep the present value; call again after the parameters have changed."""
        self.folded = self.compute().detach().clone()
