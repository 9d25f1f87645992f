"""Bimodal activations of SAM's cross attention made unimodal, exactly, before they are quantized.

The keys of SAM's decoder have two peaks: some channels lie around a positive value, the others
around its opposite, and an 8-bit range that has to hold both is twice as wide as it need be. A
channel of the keys may change its sign if the same channel of the queries does, because only their
product is used (PTQ4SAM, Lv et al. 2024, arXiv:2405.03144).

In the deployed decoder one of the two projections is absorbed (see ``absorbed``), so that what an
integer product reads is the other one's result: the tokens as keys where the image reads them, the
tokens as queries where they read the image. That tensor is the one that is looked at. Where the
tokens attend to themselves it is the keys, as in the paper.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from samedge.export.base import ExportRequest
from samedge.export.graphs import DecoderGraph, Graph
from samedge.export.quantization import feeds_of, plan_of
from samedge.models.forms.absorbed import AbsorbedLayer, HeadProjections
from samedge.models.mask_decoder import Attention
from samedge.types import Array

Foldable = HeadProjections | Attention

_FEEDS = 48
"""So many feeds, of eight pictures, settle the sign of a mean."""


def make_unimodal(graph: Graph, request: ExportRequest) -> int:
    """Fold signs into those attentions of a decoder graph that the request's plan quantizes.

    The graph changes in place and computes what it did; the model that it was made of stays.

    Args:
        graph: any graph; only a decoder with absorbed attention has something to fold.
        request: gives the plan and the calibration set.

    Returns:
        How many channels changed their sign.
    """
    if not isinstance(graph, DecoderGraph):
        return 0
    plan = plan_of(request)
    for name, module in list(graph.named_modules()):
        if isinstance(module, AbsorbedLayer) and plan.is_quantized(f"{name}.self_attn"):
            module.self_attn = copy.deepcopy(module.self_attn)  # it was the model's own
    chosen = [
        module
        for name, module in graph.named_modules()
        if isinstance(module, HeadProjections | Attention) and plan.is_quantized(name)
    ]
    if not chosen:
        return 0
    return fold_signs(graph, chosen, feeds=itertools.islice(feeds_of(graph, request), _FEEDS))


def fold_signs(
    graph: nn.Module, attentions: Iterable[Foldable], *, feeds: Iterable[Mapping[str, Array]]
) -> int:
    """Turn around the channels whose mean over calibration feeds is negative.

    Args:
        graph: the module that takes the feeds by name.
        attentions: parts of it, changed in place.
        feeds: calibration feeds.

    Returns:
        How many channels changed their sign.
    """
    with _summed(attentions) as sums, torch.no_grad():
        for feed in feeds:
            graph(**{name: torch.from_numpy(array) for name, array in feed.items()})
    flipped = 0
    for attention, total in sums.items():
        negative = total < 0
        _flip(attention, 1.0 - 2.0 * negative.to(total.dtype))
        flipped += int(negative.sum())
    return flipped


@contextmanager
def _summed(attentions: Iterable[Foldable]) -> Iterator[dict[Foldable, Tensor]]:
    """Sums of every channel that is looked at, while it runs."""
    sums: dict[Foldable, Tensor] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, HeadProjections | Attention)
        total = looked_at(module, inputs).flatten(0, -2).sum(dim=0)
        sums[module] = sums[module] + total if module in sums else total

    hooks = [module.register_forward_pre_hook(note) for module in attentions]
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()


def looked_at(attention: Foldable, inputs: tuple[Tensor, ...]) -> Tensor:
    """(B, T, H d) activations with one peak or two, from the inputs of an attention.

    Args:
        attention: whose they are.
        inputs: of its ``forward``, in order.
    """
    if isinstance(attention, Attention):
        keys: Tensor = attention.k_proj(inputs[1])
        return keys
    projected = attention.projected(inputs[0 if attention.narrow == "q" else 1])
    return projected.transpose(1, 2).flatten(2)


def _flip(attention: Foldable, signs: Tensor) -> None:
    if isinstance(attention, HeadProjections):
        attention.flip(signs.view(attention.heads, attention.head_dim))
        return
    with torch.no_grad():
        for layer in (attention.q_proj, attention.k_proj):
            layer.weight.mul_(signs.unsqueeze(1))
            layer.bias.mul_(signs)
