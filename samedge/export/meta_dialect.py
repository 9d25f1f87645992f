"""The graphs of Meta's own SAM ONNX export, for programs that were written for it."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.export.dialect_gate import DialectGraph, decoder_questions
from samedge.export.graphs import DynamicAxes, prompt_example
from samedge.models.decoders import deployed_decoder
from samedge.models.promptable import PromptableModel
from samedge.proof.reference import TorchReference
from samedge.types import (
    IMAGE_EMBEDDINGS,
    IOU_PREDICTIONS,
    LOW_RES_MASKS,
    POINT_COORDS,
    POINT_LABELS,
    Array,
    Role,
    Size,
)

_SINGLE_MASK_THRESHOLD = 2.5
"""Meta's rule: three points or more (their padding point included) leave no ambiguity."""


class MetaEncoderGraph(DialectGraph):
    """What programs feed that were written for Meta's decoder: an image that they normalised.

    They resize its longest side to S, subtract mean and divide by standard deviation, and pad with
    zeros at the right and the bottom: Meta's ``Sam.preprocess``. Nearly all of them have S = 1024
    and a 64 x 64 embedding written into their code.

    Args:
        model: whose encoder it is.
    """

    role = Role.META_ENCODER
    output_names = (IMAGE_EMBEDDINGS,)

    def __init__(self, model: PromptableModel) -> None:
        super().__init__()
        self.image_encoder = model.image_encoder
        self.image_size = model.image_size
        self._shape = model.embedding_shapes()[IMAGE_EMBEDDINGS]

    def forward(self, images: Tensor) -> Tensor:
        """Embed one image.

        Args:
            images: (1, 3, S, S) float32, normalised RGB.

        Returns:
            (1, C, S/16, S/16).
        """
        embedding: Tensor = self.image_encoder(images)
        return embedding

    def asked(self, photo: Array, reference: TorchReference) -> Iterator[dict[str, Tensor]]:
        """The photo, normalised and padded."""
        pixels = reference.frame.view_of(photo).encoder_input(photo)
        with torch.inference_mode():
            yield {"images": reference.model.normalize(torch.from_numpy(pixels))}

    def example(self) -> dict[str, Tensor]:
        """A ramp over the range of normalised pixels."""
        side = self.image_size
        ramp = torch.linspace(-2.1, 2.6, side).view(1, 1, -1, 1)
        return {"images": ramp.expand(1, 3, side, side).contiguous()}

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The embedding."""
        return (self._shape,)


class MetaDecoderGraph(DialectGraph):
    """The inputs and outputs of Meta's own SAM ONNX export, for programs that were written for it.

    One prompt of N points; masks come out at the original size, with the single best mask chosen
    inside (``--return-single-mask`` of Meta's script, as in their example notebook).

    Args:
        model: whose decoder it is.
    """

    role = Role.META_DECODER
    output_names = ("masks", IOU_PREDICTIONS, LOW_RES_MASKS)
    dynamic_axes: DynamicAxes = MappingProxyType(
        {
            POINT_COORDS: {1: "num_points"},
            POINT_LABELS: {1: "num_points"},
            "masks": {2: "height", 3: "width"},
        }
    )

    def __init__(self, model: PromptableModel) -> None:
        super().__init__()
        # Meta's graph masks no token out.
        self.decoder: nn.Module = deployed_decoder(model, masks_padding=False)
        self.image_size = model.image_size
        self.embedding = model.embedding_shapes()

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode one prompt.

        Args:
            image_embeddings: (1, C, S/16, S/16).
            point_coords: (1, N, 2) xy pixels of the S x S input.
            point_labels: (1, N); every -1 counts as Meta's padding point.
            mask_input: (1, 1, S/4, S/4).
            has_mask_input: (1,).
            orig_im_size: (2,) float, height and width of the original image.

        Returns:
            ``masks`` (1, 1, H, W) logits, ``iou_predictions`` (1, 1), ``low_res_masks``
            (1, 1, S/4, S/4).
        """
        point_coords, mask_input = self._in_own_frame(point_coords, mask_input)
        prompt = (point_coords, point_labels, mask_input, has_mask_input)
        low_res, quality = self.decoder(image_embeddings, *prompt)
        low_res, quality = _single_mask(low_res, quality, point_labels)
        return self._original_size(low_res, orig_im_size), quality, low_res

    def _in_own_frame(self, point_coords: Tensor, mask_input: Tensor) -> tuple[Tensor, Tensor]:
        """Points and mask as the model takes them: here the program's frame is the model's."""
        return point_coords, mask_input

    def _original_size(self, low_res: Tensor, orig_im_size: Tensor) -> Tensor:
        side = self.image_size
        masks = F.interpolate(low_res, size=(side, side), mode="bilinear", align_corners=False)
        unpadded = torch.floor(orig_im_size * (side / orig_im_size.max()) + 0.5).to(torch.int64)
        masks = masks[..., : unpadded[0], : unpadded[1]]
        size = orig_im_size.to(torch.int64)
        return F.interpolate(
            masks,
            size=(size[0], size[1]),  # type: ignore[arg-type]
            mode="bilinear",
            align_corners=False,
        )

    def asked(self, photo: Array, reference: TorchReference) -> Iterator[dict[str, Tensor]]:
        """Prompts of every kind, at the photo's size."""
        for feeds, size in decoder_questions(photo, reference):
            yield self._as_fed(feeds, size)

    def _as_fed(self, feeds: dict[str, Tensor], size: Size) -> dict[str, Tensor]:
        """A decoder's own inputs as the program gives them."""
        return {**feeds, "orig_im_size": torch.tensor([float(length) for length in size])}

    def example(self) -> dict[str, Tensor]:
        """Points along the diagonal of a landscape picture."""
        example = prompt_example(self.image_size, self.embedding, batch=1, count=5)
        return {**example, "orig_im_size": torch.tensor([1500.0, 2250.0])}

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One mask at the original size, its estimated IoU, and its low-res logits."""
        side = self.image_size // 4
        return (1, 1, 1500, 2250), (1, 1), (1, 1, side, side)


def _single_mask(masks: Tensor, quality: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The mask that Meta's export returns: number 0 for three points or more, else the best."""
    first = torch.zeros_like(quality)
    first[:, 0] = 1000.0
    rank = quality + (labels.shape[1] - _SINGLE_MASK_THRESHOLD) * first
    best = rank.argmax(dim=1, keepdim=True)
    index = best.view(-1, 1, 1, 1).expand(-1, -1, masks.shape[2], masks.shape[3])
    return masks.gather(1, index), quality.gather(1, best)
