"""Normalisation and reductions."""

from __future__ import annotations

import pytest

from tests.runtimes.mil_cases.case import Case, reduce
from tests.runtimes.mil_cases.operands import B8, C4, G8, VAR4

torch = pytest.importorskip("torch")
F = torch.nn.functional
CASES = [
    # normalisation
    Case(
        "batch_norm",
        lambda mb, x: mb.batch_norm(
            x=x, mean=C4[0], variance=VAR4, gamma=C4[1], beta=C4[2], epsilon=0.01
        ),
        lambda x: F.batch_norm(
            x, *map(torch.tensor, (C4[0], VAR4, C4[1], C4[2])), training=False, eps=0.01
        ),
    ),
    Case(
        "instance_norm",
        lambda mb, x: mb.instance_norm(x=x, gamma=C4[1], beta=C4[2], epsilon=0.01),
        lambda x: F.group_norm(x, 4, torch.tensor(C4[1]), torch.tensor(C4[2]), 0.01),
    ),
    Case(
        "layer_norm",
        lambda mb, x: mb.layer_norm(x=x, axes=[-1], gamma=G8, beta=B8, epsilon=0.01),
        lambda x: F.layer_norm(x, (8,), torch.tensor(G8), torch.tensor(B8), 0.01),
    ),
    Case(
        "layer_norm",
        lambda mb, x: mb.layer_norm(x=x, axes=[1], gamma=C4[0], beta=C4[1], epsilon=0.01),
        lambda x: F.layer_norm(
            x.movedim(1, -1), (4,), torch.tensor(C4[0]), torch.tensor(C4[1]), 0.01
        ).movedim(-1, 1),
        note="channels",
    ),
    Case(
        "l2_norm",
        lambda mb, x: mb.l2_norm(x=x, epsilon=0.01),
        lambda x: x / (x.square().sum((1, 2, 3), keepdim=True) + 0.01).sqrt(),
    ),
    # reductions
    reduce("reduce_sum", lambda x: x.sum((1, 3), keepdim=True)),
    reduce("reduce_mean", lambda x: x.mean((1, 3), keepdim=True)),
    reduce("reduce_max", lambda x: x.amax((1, 3), keepdim=True)),
    reduce("reduce_min", lambda x: x.amin((1, 3), keepdim=True)),
    reduce("reduce_prod", lambda x: x.prod(3, keepdim=True).prod(1, keepdim=True)),
    reduce("reduce_l1_norm", lambda x: x.abs().sum((1, 3), keepdim=True)),
    reduce("reduce_l2_norm", lambda x: torch.linalg.vector_norm(x, dim=(1, 3), keepdim=True)),
    reduce("reduce_sum_square", lambda x: (x * x).sum((1, 3), keepdim=True)),
    reduce("reduce_log_sum_exp", lambda x: x.exp().sum((1, 3), keepdim=True).log()),
    Case(
        "reduce_argmax",
        lambda mb, x: mb.cast(x=mb.reduce_argmax(x=x, axis=1), dtype="fp32"),
        lambda x: x.max(1).indices.float(),
    ),
    Case(
        "reduce_argmin",
        lambda mb, x: mb.cast(x=mb.reduce_argmin(x=x, axis=2, keep_dims=True), dtype="fp32"),
        lambda x: x.min(2, keepdim=True).indices.float(),
    ),
]
