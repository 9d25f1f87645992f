"""Any timm backbone as a student: its stages fused to stride 16 by one neck."""

from __future__ import annotations

import dataclasses
import difflib
import logging
from pathlib import Path
from typing import Any, Literal

import timm
from torch import Tensor, nn

from samedge.errors import CheckpointError, UnknownNameError
from samedge.models.base import Encoder, keep_statistics
from samedge.models.checkpoint_files import read_safetensors
from samedge.models.neck import FusionNeck
from samedge.models.same_padding import use_same_padding

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TimmConfig:
    """What to build.

    Attributes:
        backbone: timm's name of the architecture.
        image_size: side S of the input, in pixels; a multiple of 32.
        embed_dim: channels of the image embedding.
        body_blocks: residual blocks after the fusion.
        norm: what ends the neck: ``"layer"`` over the channels, or ``"batch"``, which an exporter
            folds away.
        padding: ``"symmetric"`` as timm builds most backbones, or ``"same"``: TensorFlow's, where
            a strided convolution pads right and bottom first.
        frozen_bn: keep the backbone's batch norms at their running statistics while training.
        weights: local safetensors file with timm's names for the backbone, or ``None``.
    """

    backbone: str
    image_size: int = 1024
    embed_dim: int = 256
    body_blocks: int = 2
    norm: Literal["layer", "batch"] = "layer"
    padding: Literal["symmetric", "same"] = "symmetric"
    frozen_bn: bool = False
    weights: str | None = None


class TimmEncoder(nn.Module):
    """A timm backbone and a fusion neck.

    Args:
        config: what to build.

    Raises:
        UnknownNameError: timm has no such backbone.
        CheckpointError: the backbone has no stage at strides 4 to 32, or the weights do not fit.
    """

    def __init__(self, config: TimmConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone, channels = _backbone(config)
        self.neck = FusionNeck(
            channels, config.embed_dim, blocks=config.body_blocks, norm=config.norm
        )
        self._channels_last = str(getattr(self.backbone, "output_fmt", "NCHW")).endswith("NHWC")
        if config.weights is not None:
            load_backbone(self.backbone, Path(config.weights))
        self.train(self.training)  # a fresh module trains, but a frozen batch norm does not

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised (B, 3, S, S) to (B, embed_dim, S/16, S/16)."""
        stages = self.backbone(x)
        if self._channels_last:
            stages = [stage.permute(0, 3, 1, 2) for stage in stages]
        out: Tensor = self.neck(stages)
        return out

    def train(self, mode: bool = True) -> TimmEncoder:  # noqa: FBT001, FBT002 - torch's signature
        """Set training mode; with ``frozen_bn`` the backbone's batch norms stay in evaluation."""
        super().train(mode)
        if self.config.frozen_bn:
            keep_statistics(self.backbone)
        return self


def _backbone(config: TimmConfig) -> tuple[nn.Module, dict[int, int]]:
    if not timm.is_model(config.backbone):
        nearest = difflib.get_close_matches(config.backbone, timm.list_models(), n=5, cutoff=0.4)
        raise UnknownNameError("timm backbone", config.backbone, nearest)
    options: dict[str, Any] = {"features_only": True, "pretrained": False}
    if timm.get_pretrained_cfg_value(config.backbone, "fixed_input_size"):
        options["img_size"] = config.image_size
    reductions = timm.create_model(config.backbone, **options).feature_info.reduction()
    indices = {stride: index for index, stride in enumerate(reductions) if 4 <= stride <= 32}
    if not indices:
        raise CheckpointError(
            f"Backbone {config.backbone} has stages at strides {reductions}, expected at least one "
            "of 4, 8, 16, 32: choose another backbone."
        )
    backbone = timm.create_model(
        config.backbone, out_indices=tuple(sorted(indices.values())), **options
    )
    if config.padding == "same":
        use_same_padding(backbone)
    info = backbone.feature_info
    return backbone, dict(zip(info.reduction(), info.channels(), strict=True))


def load_backbone(backbone: nn.Module, path: Path) -> None:
    """Load a local safetensors file with timm's names into a ``features_only`` backbone.

    Raises:
        CheckpointError: the file cannot be read, or tensors that the backbone needs are missing or
            have another shape. What only a classifier needs is left out, and logged.
    """
    loaded, _ = read_safetensors(path)
    flat = {key.replace(".", "_"): key for key in loaded}  # features_only flattens some names
    own = {key: value for key, value in backbone.state_dict().items() if value.ndim > 0}
    missing = [key for key in own if key.replace(".", "_") not in flat]
    if missing:
        raise CheckpointError(
            f"{path} lacks {len(missing)} tensors of the backbone: {', '.join(missing)}. "
            "Expected timm's own names for this architecture."
        )
    matched = {key: loaded[flat[key.replace(".", "_")]] for key in own}
    wrong = [f"{k} {tuple(v.shape)}" for k, v in matched.items() if v.shape != own[k].shape]
    if wrong:
        raise CheckpointError(f"{path} has tensors of other shapes than the backbone: {wrong}.")
    backbone.load_state_dict(matched, strict=False)
    used = {flat[key.replace(".", "_")] for key in own}
    _LOG.info("%s: not needed: %s", path.name, ", ".join(sorted(set(loaded) - used)) or "nothing")


class _TimmEncoder(Encoder[TimmConfig]):
    name = "timm"
    packages = ("timm", "torchvision")
    config_type = TimmConfig

    def build(self, config: TimmConfig) -> nn.Module:
        return TimmEncoder(config)

    def tiny(self, *, image_size: int, embed_dim: int) -> TimmConfig:
        return TimmConfig("test_resnet.r160_in1k", image_size, embed_dim, body_blocks=1)


ENCODER = _TimmEncoder()
