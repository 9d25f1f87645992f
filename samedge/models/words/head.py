"""The embedded model of words: MobileNetV2 on small crops, and a table of what each word looks for.

Its trunk is the file of ImageNet weights as it is, 8 bits a weight; the last convolution and the
table were trained by ``tools/train_words.py``. All weights lie on grids of 256 steps, so that files
hold them in bytes without any loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from samedge.bundle.manifest import ModelRecord
from samedge.bundle.words import Word, WordTable
from samedge.errors import CheckpointError
from samedge.files.writing import replacing
from samedge.models.words.base import RegionRules, WordModel
from samedge.models.words.trunk import CHANNELS, MEAN, STD, Convolution, Trunk
from samedge.models.zoo import WEIGHTS

EMBEDDED = "samedge-words"
_GRID, _BYTES, _TABLE = ".grid", ".bytes", "table"
_LEVELS = 255
_BESIDE = 0.15  # of a step


class HeadSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file of the embedded model says of itself.

    Attributes:
        side: of a crop, pixels; a multiple of 32.
        channels: of the last convolution.
        enlarge, outside, threshold, label_threshold, suppression: as of ``RegionRules``.
        words: of the table's rows.
        licence, origin: of the weights.
    """

    side: int
    channels: int
    enlarge: float
    outside: float
    threshold: float
    label_threshold: float | None = None
    suppression: float
    words: tuple[Word, ...]
    licence: str
    origin: str


class WordHead(WordModel):
    """Crops to embeddings: the mean of the last convolution, and a one for the table's biases.

    Args:
        spec: what to build.
        table: (W, channels + 1) float32.
    """

    def __init__(self, spec: HeadSpec, table: np.ndarray) -> None:
        super().__init__()
        self.spec, self.side, self.width = spec, spec.side, spec.channels + 1
        self.rules = RegionRules(
            enlarge=spec.enlarge,
            outside=spec.outside,
            threshold=spec.threshold,
            label_threshold=spec.label_threshold,
            suppression=spec.suppression,
        )
        self.source = ModelRecord(
            name=EMBEDDED, licence=spec.licence, origin=spec.origin, encoder="mobilenet_v2"
        )
        self.table = WordTable(spec.words, table)
        self.trunk = Trunk()
        self.last = Convolution(CHANNELS, spec.channels)
        self._normalisation(MEAN, STD)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Embed normalised (B, 3, S, S) to (B, channels + 1)."""
        found = self.last(self.trunk(pixels)).clamp(0.0, 6.0).mean((2, 3))
        return torch.cat([found, torch.ones_like(found[:, :1])], dim=1)


def on_grid(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights as bytes.

    Args:
        weights: float, of any shape.

    Returns:
        uint8 of the same shape, and ``[scale, zero point]``, float32; see :func:`off_grid`.
    """
    scale = _step(torch.unique(weights).double())
    zero = round(-min(float(weights.min()), 0.0) / scale)
    found = torch.round(weights / scale + zero).clamp(0, _LEVELS).to(torch.uint8)
    return found, torch.tensor([scale, float(zero)])


def _step(values: Tensor) -> float:
    """Step of the coarsest grid of at most 256 that values lie on, else of the finest that spans
    them.
    """
    low, high = min(float(values[0]), 0.0), max(float(values[-1]), 0.0)
    if 2 < len(values) <= _LEVELS + 1:
        span = float(values[-1] - values[0])
        for count in range(len(values) - 1, _LEVELS + 1):
            steps = (values - values[0]) * (count / span)
            # 8-bit weights that went through half precision lie a little beside their grid.
            if float((steps - steps.round()).abs().max()) < _BESIDE and (high - low) <= (
                _LEVELS * span / count
            ):
                return span / count
    return max((high - low) / _LEVELS, 1e-12)


def off_grid(found: Tensor, grid: Tensor) -> Tensor:
    """Bytes as weights, float32, in the order of operations of ONNX's ``DequantizeLinear``."""
    return (found.to(torch.float32) - grid[1]) * grid[0]


def load_head(path: Path | None = None) -> WordHead:
    """Read a file of the embedded model.

    Args:
        path: ``None`` takes the one that comes with samedge.

    Raises:
        CheckpointError: it is missing, damaged or no such file.
    """
    path = path or WEIGHTS / f"{EMBEDDED}.safetensors"
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        spec = msgspec.json.decode(metadata.get("spec", ""), type=HeadSpec)
        tensors = safetensors.torch.load_file(path)
        head = WordHead(spec, tensors.pop(_TABLE).float().numpy())
        head.load_state_dict(_weights(tensors))
    except (
        OSError,
        KeyError,
        RuntimeError,
        safetensors.SafetensorError,
        msgspec.MsgspecError,
    ) as e:
        raise CheckpointError(
            f"{path} holds no model of words ({e}): install samedge again, or train one with "
            "tools/train_words.py."
        ) from e
    return head.eval()


def _weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, tensor in tensors.items():
        if name.endswith(_BYTES):
            key = name.removesuffix(_BYTES)
            found[key] = off_grid(tensor, tensors[f"{key}{_GRID}"])
        elif not name.endswith(_GRID):
            found[name] = tensor
    return found


def save_head(head: WordHead, path: Path) -> None:
    """Write a file of the embedded model, its weights as bytes.

    Args:
        head: whose weights lie on grids already, or are rounded to them here.
        path: of the file.
    """
    tensors = {_TABLE: torch.from_numpy(head.table.embeddings.astype(np.float16))}
    for name, module in head.named_modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            tensors[f"{name}.weight{_BYTES}"], grid = on_grid(module.weight.detach())
            tensors[f"{name}.weight{_GRID}"] = grid
            tensors[f"{name}.bias"] = module.bias.detach().clone()
    spec = msgspec.json.encode(head.spec).decode()
    with replacing(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={"spec": spec})
