"""ImageNet weights whose batch norm is folded away, put back into a timm MobileNetV2.

The file carries torchvision's names of the convolutions, each with ``weight`` and ``bias``, and
was trained on ``(x - 128) / 128`` with TensorFlow's SAME padding. A network without batch norm
trains badly, so the batch norms are restored: their running statistics are measured on a few
images and their scale and shift chosen so that every layer computes what it did before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from samedge.errors import CheckpointError
from samedge.models.checkpoint_files import read_safetensors
from samedge.models.layers import Normalize

_REPEATS = (1, 2, 3, 4, 3, 3, 1)
"""Blocks a stage of MobileNetV2 (Sandler et al., 2018, table 2)."""

_FILE_MEAN, _FILE_STD = 128.0, 128.0


def mobilenet_v2_keys() -> dict[str, tuple[str, str]]:
    """Name in the file -> (convolution, batch norm) in timm's ``mobilenetv2_100`` features."""
    keys = {"features.0.0": ("conv_stem", "bn1")}
    index = 1
    for stage, repeats in enumerate(_REPEATS):
        for block in range(repeats):
            source, target = f"features.{index}.conv", f"blocks.{stage}.{block}"
            names = ["conv_dw", "conv_pw"] if stage == 0 else ["conv_pw", "conv_dw", "conv_pwl"]
            for position, name in enumerate(names):
                last = position == len(names) - 1
                suffix = f".{position}" if last else f".{position}.0"
                keys[source + suffix] = (f"{target}.{name}", f"{target}.bn{position + 1}")
            index += 1
    return keys


def load_mobilenet_v2(backbone: nn.Module, path: Path, images: Tensor) -> None:
    """Load folded ImageNet weights and restore the batch norms, the function unchanged.

    The change of input normalisation, from the file's to the one of :class:`Normalize`, is folded
    into the first convolution; this is exact except where that convolution sees padding.

    Args:
        backbone: timm's ``mobilenetv2_100``, ``features_only``; SAME padding fits the weights.
        path: safetensors file with torchvision's convolution names.
        images: (n, S, S, 3) RGB 0..255, a few photos to measure the statistics on; S a multiple
            of 32.

    Raises:
        CheckpointError: the file cannot be read, or lacks a tensor or has one of another shape.
    """
    tensors = {k: v.float() for k, v in read_safetensors(path)[0].items()}
    _check(backbone, tensors, path)
    _fold_normalisation(tensors)
    modules = dict(backbone.named_modules())
    restored = []
    for source, (conv, norm) in mobilenet_v2_keys().items():
        with torch.no_grad():
            modules[conv].weight.copy_(tensors[f"{source}.weight"])
        hook = _restore(tensors[f"{source}.bias"])
        restored.append(modules[norm].register_forward_pre_hook(hook))
    training = {name: module.training for name, module in modules.items()}
    try:
        with torch.no_grad():
            backbone.eval()(Normalize()(images))
    finally:
        for handle in restored:
            handle.remove()
        for name, module in modules.items():  # not train(): frozen batch norms stay frozen
            module.training = training[name]


def _check(backbone: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    own = backbone.state_dict()
    problems = []
    for source, (conv, norm) in mobilenet_v2_keys().items():
        for name, target in ((f"{source}.weight", conv), (f"{source}.bias", norm)):
            expected = tuple(own[f"{target}.weight"].shape)
            if name not in tensors:
                problems.append(f"{name} is missing")
            elif tuple(tensors[name].shape) != expected:
                problems.append(f"{name} is {tuple(tensors[name].shape)}, expected {expected}")
    if problems:
        raise CheckpointError(
            f"{path} does not fit MobileNetV2: {'; '.join(problems)}. Expected the convolutions "
            "of torchvision's mobilenet_v2 with batch norm folded in."
        )


def _fold_normalisation(tensors: dict[str, Tensor]) -> None:
    """Make the first convolution expect ``Normalize``'s input instead of the file's."""
    ours = Normalize()
    weight = tensors["features.0.0.weight"]
    shift = (ours.mean - _FILE_MEAN) / _FILE_STD
    tensors["features.0.0.bias"] = tensors["features.0.0.bias"] + (weight * shift).sum((1, 2, 3))
    tensors["features.0.0.weight"] = weight * (ours.std / _FILE_STD)


def _restore(bias: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """Hook that sets a batch norm, just before it runs, to add ``bias`` and nothing else."""

    def restore(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        variance = variance.clamp(min=1e-6)  # a dead channel must not become a division by zero
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.copy_(bias + mean)

    return restore
