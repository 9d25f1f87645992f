"""The graphs of a model folder of AnyLabeling and X-AnyLabeling, and its ``config.yaml``.

Their ``SegmentAnythingONNX`` (``sam_onnx.py`` of AnyLabeling 0.4.43, read 2026-11-28) warps every
picture into a frame of 684 x 1024 with black at the right or the bottom, feeds it as (684, 1024, 3)
without a batch, and speaks in pixels of that frame to the decoder, whatever the model's own size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from samedge.export.dialect_gate import DialectGraph
from samedge.export.graphs import prompt_example
from samedge.export.meta_dialect import MetaDecoderGraph
from samedge.models.promptable import PromptableModel
from samedge.proof.reference import TorchReference
from samedge.types import IMAGE_EMBEDDINGS, MASK_INPUT, POINT_COORDS, Array, Role, Size

FRAME = (684, 1024)
"""Height and width of what their encoder gets; the longer side is that of their coordinates."""

CONFIG = "config.yaml"
_MASK_SIDE = 256
_LONGEST = max(FRAME)


class AnyLabelingEncoderGraph(DialectGraph):
    """``image`` (684, 1024, 3) float32 RGB 0 to 255 to the model's embedding.

    The picture's resize to the model's own size, normalising and padding are inside. Float, because
    older versions feed nothing else.

    Args:
        model: whose encoder it is.
    """

    role = Role.ANYLABELING_ENCODER
    output_names = (IMAGE_EMBEDDINGS,)

    def __init__(self, model: PromptableModel) -> None:
        super().__init__()
        self.normalize, self.image_encoder = model.normalize, model.image_encoder
        self.image_size = model.image_size
        self._shape = model.embedding_shapes()[IMAGE_EMBEDDINGS]
        scale = self.image_size / _LONGEST
        for name, length in zip(("rows", "columns"), FRAME, strict=True):
            self.register_buffer(name, _resizing(length, int(length * scale + 0.5)))

    def forward(self, image: Tensor) -> Tensor:
        """Embed one picture.

        Args:
            image: (684, 1024, 3) float32 RGB, 0 to 255.

        Returns:
            (1, C, S/16, S/16).
        """
        planes = image.permute(2, 0, 1)
        if self.image_size != _LONGEST:
            planes = self.rows @ planes @ self.columns.T  # type: ignore[operator]  # buffers
        normal = self.normalize(planes.permute(1, 2, 0).unsqueeze(0))
        high, wide = normal.shape[-2:]
        padded = F.pad(normal, (0, self.image_size - wide, 0, self.image_size - high))
        embedding: Tensor = self.image_encoder(padded)
        return embedding

    def asked(self, photo: Array, reference: TorchReference) -> Iterator[dict[str, Tensor]]:
        """The photo in their frame, black at the right or the bottom."""
        del reference
        scale = min(side / length for side, length in zip(FRAME, photo.shape[:2], strict=True))
        height, width = (max(int(length * scale), 1) for length in photo.shape[:2])
        framed = np.zeros((*FRAME, 3), np.float32)
        framed[:height, :width] = np.asarray(Image.fromarray(photo).resize((width, height)))
        yield {"image": torch.from_numpy(framed)}

    def example(self) -> dict[str, Tensor]:
        """A grey ramp."""
        ramp = torch.linspace(0, 255, FRAME[0]).view(-1, 1, 1)
        return {"image": ramp.expand(*FRAME, 3).contiguous()}

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The embedding."""
        return (self._shape,)


class AnyLabelingDecoderGraph(MetaDecoderGraph):
    """The inputs and outputs of Meta's export at 1024 px, whatever the model's own size.

    One mask comes out, the best: their programs draw the first and no other. ``point_coords`` are
    pixels of a frame whose longest side is 1024, ``mask_input`` is (1, 1, 256, 256), and
    ``orig_im_size`` is always (684, 1024).

    Args:
        model: whose decoder it is.
    """

    role = Role.ANYLABELING_DECODER

    def _in_own_frame(self, point_coords: Tensor, mask_input: Tensor) -> tuple[Tensor, Tensor]:
        """From pixels of a frame whose longest side is 1024, and a mask of 256 x 256."""
        side = self.image_size // 4
        if side != _MASK_SIDE:
            mask_input = F.interpolate(
                mask_input, size=(side, side), mode="bilinear", align_corners=False
            )
        return point_coords * (self.image_size / _LONGEST), mask_input

    def _as_fed(self, feeds: dict[str, Tensor], size: Size) -> dict[str, Tensor]:
        """Points in pixels of their frame, the mask at their size, and the frame's own size."""
        del size
        points = feeds[POINT_COORDS] * (_LONGEST / self.image_size)
        mask = F.interpolate(feeds[MASK_INPUT], size=(_MASK_SIDE, _MASK_SIDE), mode="bilinear")
        return super()._as_fed({**feeds, POINT_COORDS: points, MASK_INPUT: mask}, FRAME)

    def example(self) -> dict[str, Tensor]:
        """Points along the diagonal of their frame."""
        example = prompt_example(self.image_size, self.embedding, batch=1, count=5)
        points = example[POINT_COORDS] * (_LONGEST / self.image_size)
        mask = torch.zeros(1, 1, _MASK_SIDE, _MASK_SIDE)
        size = torch.tensor([float(length) for length in FRAME])
        return {**example, POINT_COORDS: points, "mask_input": mask, "orig_im_size": size}

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One mask of their frame, its estimated IoU, and its low-res logits."""
        side = self.image_size // 4
        return (1, 1, *FRAME), (1, 1), (1, 1, side, side)

    def companions(self, name: str) -> dict[str, str]:
        """Their ``config.yaml``, which names both graphs."""
        return {CONFIG: config_text(name)}


def config_text(name: str) -> str:
    """What their programs open as a custom model; paths in it are relative to it.

    Args:
        name: of the model.
    """
    fields: dict[str, str | int] = {
        "type": "segment_anything",
        "name": name,
        "display_name": f"{name} (samedge)",
        "encoder_model_path": f"{Role.ANYLABELING_ENCODER}.onnx",
        "decoder_model_path": f"{Role.ANYLABELING_DECODER}.onnx",
        "input_size": _LONGEST,
        "max_width": _LONGEST,
        "max_height": FRAME[0] - 2,  # as in their own files
    }
    return "".join(f"{key}: {_scalar(value)}\n" for key, value in fields.items())


def _scalar(value: str | int) -> str:
    """A YAML scalar; text in double quotes, whatever is in it."""
    if isinstance(value, int):
        return str(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _resizing(length: int, wanted: int) -> Tensor:
    """(wanted, length) weights of Pillow's bilinear resize, which takes means where it shrinks."""
    unit = Image.fromarray(np.eye(length, dtype=np.float32))
    return torch.from_numpy(np.array(unit.resize((length, wanted), Image.Resampling.BILINEAR)))
