"""The model that is trained: a pyramid encoder and the click decoder, its average, its file."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from samedge.distill.resident.clicks import Prompts
from samedge.files.writing import replacing
from samedge.models._pyramid import ImageFeatures, PyramidConfig, PyramidEncoder
from samedge.models.checkpoint_files import read_safetensors
from samedge.models.click_decoder import ClickConfig, ClickDecoder
from samedge.models.layers import Normalize
from samedge.models.spec import ModelSpec

ORIGIN = "trained by samedge.distill.resident"


class Student(nn.Module):
    """An encoder and a decoder under the names that a checkpoint has.

    Args:
        config: of the encoder.
        decoder: of the decoder; ``None`` takes the encoder's widths.
    """

    def __init__(self, config: PyramidConfig, decoder: ClickConfig | None = None) -> None:
        super().__init__()
        widths = dataclasses.asdict(config.widths)
        self.normalize = Normalize()
        self.image_encoder = PyramidEncoder(config)
        self.decoder = ClickDecoder(config.image_size, decoder or ClickConfig(**widths))

    def encode(self, images: Tensor) -> ImageFeatures:
        """(B, 3, S, S) RGB 0..255 to the maps of each picture."""
        normal = (images - self.normalize.mean) / self.normalize.std
        normal = normal.contiguous(memory_format=torch.channels_last)
        features: ImageFeatures = self.image_encoder(normal)
        return features

    def decode(self, features: ImageFeatures, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Masks (R, 4, S/4, S/4) and predicted IoU (R, 4)."""
        masks, quality = self.decoder(
            *features, prompts.coords, prompts.labels, prompts.mask, prompts.has
        )
        return masks.float(), quality.float()


class Average:
    """Moving average of a student's weights and statistics.

    Args:
        student: what is averaged.
        decay: share that stays with every step; less at the very start.
    """

    def __init__(self, student: Student, decay: float) -> None:
        self.student = copy.deepcopy(student).eval().requires_grad_(False)
        self.decay, self.steps = decay, 0
        self._own, self._followed = _floats(self.student), _floats(student)

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the student."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._own, self._followed, 1 - decay)


def _floats(module: nn.Module) -> list[Tensor]:
    return [t for t in module.state_dict().values() if t.is_floating_point()]


def save_student(student: Student, path: Path, *, name: str) -> None:
    """Write weights with what is needed to build the model again.

    Args:
        student: to save.
        path: a safetensors file.
        name: of the model.
    """
    encoder = dataclasses.asdict(student.image_encoder.config)
    size = encoder.pop("image_size")
    spec = ModelSpec(
        name=name,
        encoder="pyramid",
        image_size=size,
        encoder_options=encoder,
        decoder="click",
        decoder_options=dataclasses.asdict(student.decoder.config),
        licence="Apache-2.0",
        origin=ORIGIN,
    )
    state = {
        k: v.detach().to("cpu", copy=True).contiguous() for k, v in student.state_dict().items()
    }
    with replacing(path) as temporary:
        safetensors.torch.save_file(state, temporary, {"samedge": spec.to_json()})


def start_from(student: Student, path: Path) -> int:
    """Take all of a checkpoint of the same kind, or the backbone of another; the tensors taken.

    Raises:
        CheckpointError: the file cannot be read.
    """
    prefix = "image_encoder.backbone."
    loaded, _ = read_safetensors(path)
    if "decoder.weights.hidden.weight" in loaded:
        student.load_state_dict(loaded)
        return len(loaded)
    own = {k.removeprefix(prefix): v for k, v in loaded.items() if k.startswith(prefix)}
    student.image_encoder.backbone.load_state_dict(own)
    return len(own)
