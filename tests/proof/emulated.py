"""Lower precisions emulated in torch, behind the interface of a backend.

What a processor without bf16 or INT8 cannot compute, and what no exporter would write, is made
here: a model whose layers round as those precisions do, opened like any bundle. Used by the tests
of the gates and by ``benchmarks/gates.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samedge.bundle.bundle import Bundle
from samedge.models.promptable import PromptableModel
from samedge.predict.predictor import Predictor
from samedge.proof.reference import TorchReference
from samedge.runtimes.base import Backend, Probe, Session, Shapes, TensorSpec
from samedge.types import (
    HAS_MASK_INPUT,
    IMAGE,
    IOU_PREDICTIONS,
    LOW_RES_MASKS,
    MASK_INPUT,
    POINT_COORDS,
    POINT_LABELS,
    Array,
    Precision,
    Role,
)

WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_HALVES = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}

_PROMPTS = {
    POINT_COORDS: ("B", "N", "2"),
    POINT_LABELS: ("B", "N"),
    MASK_INPUT: ("B", "1", "L", "L"),
    HAS_MASK_INPUT: ("B",),
}
_ANSWERS = {LOW_RES_MASKS: ("B", "4", "L", "L"), IOU_PREDICTIONS: ("B", "4")}


class EmulatedBackend(Backend):
    """Opens the graphs of one bundle as parts of a model in torch.

    Args:
        model: in evaluation mode.
    """

    name = "emulated"
    formats = ("onnx", "openvino")
    packages = ("torch",)

    def __init__(self, model: PromptableModel) -> None:
        self.model = model

    def probe(self) -> Probe:
        """Always here."""
        return Probe(available=True, version="0", devices=("cpu",))

    def open(
        self,
        model: Path,
        *,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
        shapes: Sequence[Shapes] = (),
        keep: Sequence[str] = (),
    ) -> Session:
        """The part of the model that a file's name says."""
        return _EmulatedSession(Role(model.stem), self.model)


class _EmulatedSession(Session):
    device = "cpu"

    def __init__(self, role: Role, model: PromptableModel) -> None:
        embeddings = tuple(
            TensorSpec(name, "float32", tuple("BCGHXY"[: len(shape)]))
            for name, shape in model.embedding_shapes().items()
        )
        if role is Role.ENCODER:
            self.inputs = (TensorSpec(IMAGE, "uint8", ("1", "S", "S", "3")),)
            self.outputs = embeddings
        else:
            self.inputs = embeddings + _specs(_PROMPTS)
            self.outputs = _specs(_ANSWERS)
        self._role, self._reference = role, TorchReference(model)

    def _run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self._reference.run(self._role, feeds)

    def close(self) -> None:
        """Nothing to release."""


def _specs(table: Mapping[str, tuple[str, ...]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, "float32", shape) for name, shape in table.items())


def opened(bundle: Bundle, model: PromptableModel) -> Predictor:
    """A bundle whose graphs are those of a model in torch."""
    return Predictor(bundle, EmulatedBackend(model))


def rounded(model: PromptableModel, precision: Precision) -> PromptableModel:
    """A copy that keeps the inputs, weights and results of its layers in half precision."""
    clone = copy.deepcopy(model)
    half = _HALVES[precision]

    def cast(value: Tensor) -> Tensor:
        return value.to(half).to(value.dtype) if value.is_floating_point() else value

    for module in clone.modules():
        if isinstance(module, WEIGHTED):
            for parameter in module.parameters(recurse=False):
                parameter.data = cast(parameter.data)
            module.register_forward_pre_hook(lambda _, inputs: tuple(map(cast, inputs)))
            module.register_forward_hook(lambda _, __, result: cast(result))
    return clone


def quantized(
    model: PromptableModel,
    feeds: Iterable[Mapping[str, Array]],
    *,
    keep: Callable[[str], bool] = lambda _: False,
) -> PromptableModel:
    """A copy whose image encoder computes on 8 bits: weights a channel, activations a tensor.

    Args:
        model: in evaluation mode.
        feeds: of the encoder, for the ranges.
        keep: names of layers of the image encoder that stay float.
    """
    clone = copy.deepcopy(model)
    layers = [
        (name, module)
        for name, module in clone.image_encoder.named_modules()
        if isinstance(module, WEIGHTED) and not keep(name)
    ]
    ranges = _ranges(clone, layers, feeds)
    for name, module in layers:
        low, high = ranges[name]
        step = max(high - low, 1e-12) / 255.0
        zero = round(-low / step)
        module.weight.data = _weights(module)
        module.register_forward_pre_hook(_on_grid(step, zero))
    return clone


def _ranges(
    model: PromptableModel,
    layers: Sequence[tuple[str, nn.Module]],
    feeds: Iterable[Mapping[str, Array]],
) -> dict[str, tuple[float, float]]:
    found = {name: (0.0, 0.0) for name, _ in layers}
    handles = []
    for name, module in layers:

        def watch(_: Any, inputs: tuple[Tensor, ...], name: str = name) -> None:
            low, high = found[name]
            found[name] = min(low, float(inputs[0].min())), max(high, float(inputs[0].max()))

        handles.append(module.register_forward_pre_hook(watch))
    reference = TorchReference(model)
    for feed in feeds:
        reference.run(Role.ENCODER, feed)
    for handle in handles:
        handle.remove()
    return found


def _weights(module: nn.Module) -> Tensor:
    weight: Tensor = module.weight.data  # type: ignore[assignment]
    axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
    others = [i for i in range(weight.ndim) if i != axis]
    step = weight.abs().amax(dim=others, keepdim=True).clamp(min=1e-12) / 127.0
    return (weight / step).round().clamp(-127, 127) * step


def _on_grid(step: float, zero: int) -> Callable[..., tuple[Tensor, ...]]:
    def hook(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        value = ((inputs[0] / step).round() + zero).clamp(0, 255)
        return ((value - zero) * step, *inputs[1:])

    return hook
