"""CLIP as a model of words: an image tower on crops of regions, and its text tower."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.bundle.manifest import ModelRecord
from samedge.errors import CheckpointError
from samedge.models.words.base import RegionRules, WordModel
from samedge.models.words.clip_config import ClipConfig
from samedge.models.words.clip_parts import (
    Activation,
    TextTower,
    VisionTransformer,
    quick_gelu,
)
from samedge.models.words.clip_resnet import ModifiedResNet

TEMPLATES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a close-up photo of a {}.",
    "a cropped photo of a {}.",
    "a photo of a small {}.",
    "a photo of a large {}.",
    "there is a {} in the scene.",
)
_MOST_SCALE = 100.0  # CLIP clips its temperature there


class TimmTower(nn.Module):
    """An image tower of timm, as MobileCLIP has it: its classifier is the projection.

    Args:
        name: of timm.
        embed_dim: numbers of an embedding.
    """

    def __init__(self, name: str, embed_dim: int) -> None:
        super().__init__()
        import timm

        self.trunk = timm.create_model(
            name, num_classes=embed_dim, global_pool="avg", pretrained=False
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised (B, 3, S, S) to (B, D)."""
        out: Tensor = self.trunk(pixels)
        return out


class ClipModel(WordModel):
    """Both towers.

    Args:
        config: what to build.
        source: where the weights come from.
        rules: of regions.
    """

    reads_text = True

    def __init__(
        self, config: ClipConfig, source: ModelRecord, *, rules: RegionRules | None = None
    ) -> None:
        super().__init__()
        self.config, self.source = config, source
        self.side, self.width = config.vision.side, config.embed_dim
        self.rules, self.templates = rules or RegionRules(), TEMPLATES
        self.visual, self.text = _image_tower(config), _text_tower(config)
        self.logit_scale = nn.Parameter(torch.tensor(2.6593))
        self._normalisation(
            tuple(255 * value for value in config.mean), tuple(255 * value for value in config.std)
        )

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Embed normalised (B, 3, S, S) to (B, D) of unit length."""
        return F.normalize(self.visual(pixels), dim=-1)

    def embed_text(self, tokens: Tensor) -> Tensor:
        """Embed the ids of texts, (B, 77), to (B, D), as long as the model's scale of logits."""
        scale = self.logit_scale.exp().clamp(max=_MOST_SCALE)
        return F.normalize(self.text(tokens), dim=-1) * scale

    def take(self, weights: Mapping[str, Tensor], *, origin: str) -> None:
        """Load weights under the names of :mod:`samedge.models.words.clip_keys`.

        Args:
            weights: by name.
            origin: their file, for the messages.

        Raises:
            CheckpointError: one is missing, extra or of another shape.
        """
        own = self.state_dict()
        problems = [f"{name} is missing" for name in sorted(own.keys() - weights.keys())]
        problems += [f"{name} is not known" for name in sorted(weights.keys() - own.keys())]
        problems += [
            f"{name} is {tuple(weights[name].shape)}, expected {tuple(own[name].shape)}"
            for name in sorted(own.keys() & weights.keys())
            if own[name].shape != weights[name].shape
        ]
        if problems:
            raise CheckpointError(
                f"{origin} does not fit its configuration: {'; '.join(problems[:5])}"
                f"{f' and {len(problems) - 5} more' if len(problems) > 5 else ''}. Give a whole "
                "CLIP checkpoint with its own config file."
            )
        self.load_state_dict({name: tensor.float() for name, tensor in weights.items()})


def _activation(config: ClipConfig) -> Activation:
    return quick_gelu if config.quick_gelu else F.gelu


def _image_tower(config: ClipConfig) -> nn.Module:
    vision = config.vision
    if vision.timm_name is not None:
        return TimmTower(vision.timm_name, config.embed_dim)
    if isinstance(vision.layers, tuple):
        return ModifiedResNet(
            side=vision.side,
            width=vision.width,
            layers=vision.layers,
            heads=vision.heads,
            embed_dim=config.embed_dim,
        )
    return VisionTransformer(
        side=vision.side,
        patch=vision.patch,
        width=vision.width,
        layers=vision.layers,
        heads=vision.heads,
        hidden=vision.hidden,
        embed_dim=config.embed_dim,
        activation=_activation(config),
    )


def _text_tower(config: ClipConfig) -> TextTower:
    text = config.text
    return TextTower(
        vocabulary=text.vocabulary,
        context=text.context,
        width=text.width,
        layers=text.layers,
        heads=text.heads,
        hidden=text.hidden,
        embed_dim=config.embed_dim,
        activation=_activation(config),
        is_causal=text.is_causal,
    )
