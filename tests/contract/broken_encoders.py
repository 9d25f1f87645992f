"""An encoder that keeps every promise, and for each promise one that breaks it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from samedge.models.base import Encoder
from samedge.models.promptable import EmbeddingMap
from tests.toys.models import PatchEncoder


@dataclasses.dataclass(frozen=True)
class SoundConfig:
    image_size: int = 64
    embed_dim: int = 32


class SoundEncoder(Encoder[SoundConfig]):
    name, config_type = "sound", SoundConfig
    change: Callable[[Tensor], Tensor] = staticmethod(lambda embeddings: embeddings)

    def build(self, config: SoundConfig) -> nn.Module:
        return _Changed(PatchEncoder(config.embed_dim), self.change)

    def tiny(self, *, image_size: int, embed_dim: int) -> SoundConfig:
        return SoundConfig(image_size, embed_dim)


class _Changed(nn.Module):
    def __init__(self, inner: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.inner(x))


class IgnoresItsSize(SoundEncoder):
    def tiny(self, *, image_size: int, embed_dim: int) -> SoundConfig:
        del image_size
        return SoundConfig(1024, embed_dim)


class ForgetsItsOptions(SoundEncoder):
    def config_from_mapping(self, options: Mapping[str, Any]) -> SoundConfig:
        del options
        return SoundConfig(1024, 256)


class TakesAnything(SoundEncoder):
    def config_from_mapping(self, options: Mapping[str, Any]) -> SoundConfig:
        return SoundConfig(options["image_size"], options["embed_dim"])


class PromisesMore(SoundEncoder):
    def maps(self, config: SoundConfig) -> tuple[EmbeddingMap, ...]:
        return (*super().maps(config), EmbeddingMap("fine_embeddings", 8, 4))


def _mixed(embeddings: Tensor) -> Tensor:
    return embeddings - embeddings.mean(0, keepdim=True) if len(embeddings) > 1 else embeddings


def _decided(embeddings: Tensor) -> Tensor:
    return embeddings * 2 if float(embeddings.mean()) > 0 else embeddings


def _other_when_exported(embeddings: Tensor) -> Tensor:
    return embeddings.relu() if torch.onnx.is_in_onnx_export() else embeddings


def changed(change: Callable[[Tensor], Tensor]) -> SoundEncoder:
    encoder = SoundEncoder()
    encoder.change = change
    return encoder


BREAKS: dict[str, Callable[[], SoundEncoder]] = {
    "declares_itself": IgnoresItsSize,
    "its_options_travel_in_a_checkpoint": ForgetsItsOptions,
    "refuses_options_that_it_does_not_have": TakesAnything,
    "gives_the_maps_that_it_declares": PromisesMore,
    "sees_images_one_by_one": lambda: changed(_mixed),
    "has_few_axes_and_no_flow_by_data": lambda: changed(_decided),
    "is_the_same_in_onnx_runtime": lambda: changed(_other_when_exported),
}
