"""Slices, gathers and layout."""

from __future__ import annotations

import numpy as np
import pytest

from tests.runtimes.mil_cases.case import Case

torch = pytest.importorskip("torch")
F = torch.nn.functional
CASES = [
    # slices and gathers
    Case(
        "slice_by_index",
        lambda mb, x: mb.slice_by_index(
            x=x,
            begin=[0, 1, -2, 0],
            end=[0, 4, 0, 0],
            stride=[1, 2, -2, 3],
            begin_mask=[True, False, False, True],
            end_mask=[True, False, True, True],
        ),
        lambda x: x[:, 1:4:2].flip(2)[:, :, 1::2, ::3],
    ),
    Case(
        "slice_by_index",
        lambda mb, x: mb.slice_by_index(
            x=x,
            begin=[0, 2, 0, -3],
            end=[1, 3, 9, -1],
            squeeze_mask=[True, True, False, False],
        ),
        lambda x: x[0, 2, :, -3:-1],
        note="squeezed",
    ),
    Case(
        "slice_by_size",
        lambda mb, x: mb.slice_by_size(x=x, begin=[0, 1, 2, 3], size=[1, 2, -1, 4]),
        lambda x: x[:, 1:3, 2:, 3:7],
    ),
    Case(
        "gather",
        lambda mb, x: mb.gather(x=x, indices=np.array([[2, -1], [0, 0]], np.int32), axis=1),
        lambda x: x[:, [[2, 3], [0, 0]]],
    ),
    Case(
        "gather",
        lambda mb, x: mb.gather(
            x=x, indices=np.array([[2, 0], [1, 1]], np.int32), axis=1, batch_dims=1
        ),
        lambda x: torch.stack([x[0][[2, 0]], x[1][[1, 1]]]),
        shapes=((2, 3, 4),),
        note="batched",
    ),
    Case(
        "gather_along_axis",
        lambda mb, x: mb.gather_along_axis(
            x=x, indices=np.array([[2, 0], [1, -1], [0, 2]], np.int32), axis=1
        ),
        lambda x: torch.gather(x, 1, torch.tensor([[2, 0], [1, 3], [0, 2]])),
        shapes=((3, 4),),
    ),
    Case(
        "shape",
        lambda mb, x: mb.add(x=x, y=mb.cast(x=mb.shape(x=x), dtype="fp32")),
        lambda x: x + torch.tensor([1.0, 4, 9, 4]),
        shapes=((1, 4, 9, 4),),
    ),
    Case(
        "fill",
        lambda mb, x: mb.add(x=x, y=mb.fill(shape=[1, 4, 1, 1], value=2.5)),
        lambda x: x + 2.5,
    ),
    Case(
        "fill_like",
        lambda mb, x: mb.add(x=x, y=mb.fill_like(ref_tensor=x, value=-0.5)),
        lambda x: x - 0.5,
    ),
    Case(
        "range_1d",
        lambda mb, x: mb.add(x=x, y=mb.range_1d(start=1.0, end=17.0, step=2.0)),
        lambda x: x + torch.arange(1, 17, 2),
    ),
    Case(
        "one_hot",
        lambda mb, x: mb.mul(
            x=x,
            y=mb.one_hot(
                indices=np.array([1, 0, 2], np.int32),
                one_hot_vector_size=4,
                axis=0,
                on_value=2.0,
                off_value=-1.0,
            ),
        ),
        lambda x: x * (3.0 * F.one_hot(torch.tensor([1, 0, 2]), 4).T - 1),
        shapes=((4, 3),),
    ),
    Case(
        "cumsum",
        lambda mb, x: mb.cumsum(x=x, axis=2, exclusive=True, reverse=True),
        lambda x: x.flip(2).cumsum(2).flip(2) - x,
    ),
    Case(
        "band_part",
        lambda mb, x: mb.band_part(x=x, lower=1, upper=2),
        lambda x: torch.tril(torch.triu(x, -1), 2),
    ),
    Case("reverse", lambda mb, x: mb.reverse(x=x, axes=[1, -1]), lambda x: x.flip([1, 3])),
    # layout
    Case(
        "reshape",
        lambda mb, x: mb.reshape(x=x, shape=[0, 2, -1, 4]),
        lambda x: x.reshape(1, 2, 36, 4),
    ),
    Case(
        "transpose",
        lambda mb, x: mb.transpose(x=x, perm=[2, 0, 3, 1]),
        lambda x: x.permute(2, 0, 3, 1),
    ),
    Case(
        "expand_dims",
        lambda mb, x: mb.expand_dims(x=x, axes=[0, -1]),
        lambda x: x[None, ..., None],
        shapes=((3, 4),),
    ),
    Case(
        "squeeze",
        lambda mb, x: mb.squeeze(x=x, axes=[0, -1]),
        lambda x: x[0, ..., 0],
        shapes=((1, 3, 4, 1),),
    ),
    Case("flatten2d", lambda mb, x: mb.flatten2d(x=x, axis=2), lambda x: x.reshape(4, 72)),
    Case(
        "concat",
        lambda mb, x, y: mb.concat(values=(x, y), axis=1),
        lambda x, y: torch.cat([x, y], 1),
        shapes=((2, 3, 4), (2, 5, 4)),
    ),
    Case(
        "concat",
        lambda mb, x, y: mb.concat(values=(x, y), axis=1, interleave=True),
        lambda x, y: torch.stack([x, y], 2).reshape(2, 6, 4),
        shapes=((2, 3, 4), (2, 3, 4)),
        note="interleaved",
    ),
    Case(
        "stack",
        lambda mb, x, y: mb.stack(values=(x, y), axis=1),
        lambda x, y: torch.stack([x, y], 1),
        shapes=((2, 3), (2, 3)),
    ),
    Case(
        "split",
        lambda mb, x: mb.concat(values=mb.split(x=x, num_splits=2, axis=-1)[::-1], axis=-1),
        lambda x: torch.cat([x[..., 4:], x[..., :4]], -1),
    ),
    Case(
        "split",
        lambda mb, x: mb.split(x=x, split_sizes=[2, 5, 1], axis=3)[1],
        lambda x: x[..., 2:7],
        note="sizes",
    ),
    Case("tile", lambda mb, x: mb.tile(x=x, reps=[1, 2, 1, 3]), lambda x: x.repeat(1, 2, 1, 3)),
    Case(
        "pad",
        lambda mb, x: mb.pad(x=x, pad=[1, 2, 3, 0], mode="constant", constant_val=1.5),
        lambda x: F.pad(x, (3, 0, 1, 2), value=1.5),
    ),
    Case(
        "pad",
        lambda mb, x: mb.pad(x=x, pad=[1, 2, 3, 0], mode="reflect"),
        lambda x: F.pad(x, (3, 0, 1, 2), mode="reflect"),
        note="reflect",
    ),
    Case(
        "pad",
        lambda mb, x: mb.pad(x=x, pad=[1, 2, 3, 0], mode="replicate"),
        lambda x: F.pad(x, (3, 0, 1, 2), mode="replicate"),
        note="replicate",
    ),
    Case(
        "pixel_shuffle",
        lambda mb, x: mb.pixel_shuffle(x=x, upscale_factor=2),
        lambda x: F.pixel_shuffle(x, 2),
    ),
    Case(
        "pixel_unshuffle",
        lambda mb, x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
        lambda x: F.pixel_unshuffle(x, 2),
        shapes=((1, 3, 6, 8),),
    ),
    Case(
        "depth_to_space",
        lambda mb, x: mb.depth_to_space(x=x, block_size=2),
        lambda x: (
            torch.stack(
                [torch.stack([x[:, 0:2], x[:, 2:4]], -1), torch.stack([x[:, 4:6], x[:, 6:8]], -1)],
                3,
            )
            .flatten(4, 5)
            .flatten(2, 3)
        ),
        shapes=((1, 8, 3, 5),),
    ),
    Case(
        "space_to_depth",
        lambda mb, x: mb.space_to_depth(x=x, block_size=2),
        lambda x: torch.cat(
            [x[..., 0::2, 0::2], x[..., 0::2, 1::2], x[..., 1::2, 0::2], x[..., 1::2, 1::2]], 1
        ),
        shapes=((1, 3, 6, 8),),
    ),
]
