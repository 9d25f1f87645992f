"""Ways in which an exported model can be wrong, each as a change of the model in torch.

A mutant computes something else than the model does. Faults of one layer are drawn at random, so
that a gate cannot be fitted to one of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from samedge.models.promptable import PromptableModel
from tests.proof.emulated import WEIGHTED

Mutation = Callable[[PromptableModel, np.random.Generator], None]
"""Breaks a model in place."""


class _Instead(nn.Module):
    """Stands where the normalisation was; a model's frame still reads its mean and deviation."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.mean, self.std = inner, inner.mean, inner.std


class SwappedChannels(_Instead):
    """BGR where the model wants RGB."""

    def forward(self, image: Tensor) -> Tensor:
        swapped: Tensor = self.inner(image.flip(-1))
        return swapped


class _Unscaled(_Instead):
    """Pixels as they are."""

    def forward(self, image: Tensor) -> Tensor:
        return image.permute(0, 3, 1, 2).float()


class _Constant(nn.Module):
    """One answer, whatever it is asked."""

    def __init__(self, answer: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(each + 0.0 * image.mean() for each in self.answer)


def swapped_channels(model: PromptableModel, _: np.random.Generator) -> None:
    model.normalize = SwappedChannels(model.normalize)  # type: ignore[assignment]


def missing_normalisation(model: PromptableModel, _: np.random.Generator) -> None:
    model.normalize = _Unscaled(model.normalize)  # type: ignore[assignment]


def constant_encoder(model: PromptableModel, random: np.random.Generator) -> None:
    """One embedding for every picture, as a real file once gave without any error."""
    side = model.image_size
    image = torch.from_numpy(random.integers(0, 256, (1, side, side, 3), np.uint8))
    with torch.no_grad():
        model.image_encoder = _Constant(tuple(model.embed(image).values()))


def _decoder_inputs(change: Callable[..., tuple[Tensor, ...]]) -> Mutation:
    def mutate(model: PromptableModel, _: np.random.Generator) -> None:
        decode = model.decode_embedded
        model.decode_embedded = lambda *given: decode(*change(*given))  # type: ignore[arg-type, method-assign]

    return mutate


def _dropped_mask(*inputs: Tensor) -> tuple[Tensor, ...]:
    embedding, coords, labels, mask, has = inputs
    return embedding, coords, labels, mask, has * 0.0


def _exchanged_corners(*inputs: Tensor) -> tuple[Tensor, ...]:
    embedding, coords, labels, mask, has = inputs
    corner = (labels >= 2).float()
    return embedding, coords, labels + corner * (5.0 - 2.0 * labels), mask, has


def _exchanged_axes(*inputs: Tensor) -> tuple[Tensor, ...]:
    embedding, coords, labels, mask, has = inputs
    return embedding, coords.flip(-1), labels, mask, has


def _decoder_results(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Mutation:
    def mutate(model: PromptableModel, _: np.random.Generator) -> None:
        decode = model.decode_embedded
        model.decode_embedded = lambda *given: change(*decode(*given))  # type: ignore[method-assign]

    return mutate


def _permuted_candidates(masks: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
    return masks[:, [0, 2, 3, 1]], quality


def _blind_quality(masks: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
    return masks, torch.full_like(quality, 0.5)


def _layer(model: PromptableModel, random: np.random.Generator) -> Any:
    """A layer that holds a good part of the model's arithmetic: no heads of a few weights."""
    layers = [m for m in model.modules() if isinstance(m, WEIGHTED) and m.weight.shape[0] >= 8]
    return layers[int(random.integers(len(layers)))]


def doubled_scale(model: PromptableModel, random: np.random.Generator) -> None:
    """One layer's scale is wrong by 2."""
    _layer(model, random).weight.data.mul_(2.0)


def saturated_layer(model: PromptableModel, random: np.random.Generator) -> None:
    """One layer's results stop at their own mean size."""

    def clip(_: Any, __: Any, result: Tensor) -> Tensor:
        bound = float(result.abs().mean())
        return result.clamp(-bound, bound)

    _layer(model, random).register_forward_hook(clip)


def dead_channels(model: PromptableModel, random: np.random.Generator) -> None:
    """A quarter of one layer's channels give nothing."""
    layer = _layer(model, random)
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    count = layer.weight.shape[axis]
    width = max(count // 4, 1)
    start = int(random.integers(count - width + 1))
    chosen = slice(start, start + width)
    layer.weight.data[(slice(None),) * axis + (chosen,)] = 0.0
    if layer.bias is not None:
        layer.bias.data[
            start * len(layer.bias) // count : (start + width) * len(layer.bias) // count
        ] = 0.0


def wrong_zero_point(model: PromptableModel, random: np.random.Generator) -> None:
    """One layer reads its input with a zero point that is off by 16 of 255 steps."""

    def shift(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        value = inputs[0]
        return (value + (value.max() - value.min()) * (16.0 / 255.0), *inputs[1:])

    _layer(model, random).register_forward_pre_hook(shift)


class _Overflowing(TorchFunctionMode):
    """Products of two activations stop at a fraction of their largest, as half precision's do."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        names = ("matmul", "bmm", "einsum", "scaled_dot_product_attention", "__matmul__")
        if getattr(func, "__name__", "") == "scaled_dot_product_attention":
            query, *rest = args
            return func(query * 0.05, *rest, **kwargs)
        result = func(*args, **kwargs)
        if getattr(func, "__name__", "") in names and isinstance(result, Tensor):
            bound = float(result.abs().max()) * 0.05
            return result.clamp(-bound, bound)
        return result


def overflowed_products(model: PromptableModel, _: np.random.Generator) -> None:
    """Products of queries and keys overflow and saturate, everywhere in the decoder."""
    decode = model.decode_embedded

    def saturating(*given: Any) -> tuple[Tensor, Tensor]:
        with _Overflowing():
            return decode(*given)

    model.decode_embedded = saturating  # type: ignore[assignment, method-assign]


MUTATIONS: dict[str, Mutation] = {
    "swapped channels": swapped_channels,
    "missing normalisation": missing_normalisation,
    "constant encoder": constant_encoder,
    "dropped mask prompt": _decoder_inputs(_dropped_mask),
    "box corners exchanged": _decoder_inputs(_exchanged_corners),
    "x and y exchanged": _decoder_inputs(_exchanged_axes),
    "candidates in another order": _decoder_results(_permuted_candidates),
    "blind quality head": _decoder_results(_blind_quality),
    "one layer's scale doubled": doubled_scale,
    "one layer saturated": saturated_layer,
    "a quarter of one layer's channels dead": dead_channels,
    "zero point off by 16": wrong_zero_point,
    "products overflowed": overflowed_products,
}


OF_ONE_LAYER = frozenset(
    {
        "one layer's scale doubled",
        "one layer saturated",
        "a quarter of one layer's channels dead",
        "zero point off by 16",
    }
)
"""Those that hit another layer with each seed."""


def mutant(model: PromptableModel, name: str, *, seed: int = 0) -> PromptableModel:
    """A broken copy of a model.

    Args:
        model: in evaluation mode; it stays as it is.
        name: one of :data:`MUTATIONS`.
        seed: which layer, where the fault is in one.
    """
    clone = copy.deepcopy(model)
    MUTATIONS[name](clone, np.random.default_rng(seed))
    return clone


def mutants(model: PromptableModel, *, seed: int = 0) -> Iterator[tuple[str, PromptableModel]]:
    """Every mutation of a model by name."""
    for name in MUTATIONS:
        yield name, mutant(model, name, seed=seed)
