"""What export and evaluation ask of a model, whatever decodes its prompts."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from samedge.models.layers import Normalize
from samedge.models.spec import ModelSpec
from samedge.pixels.frames import Frame
from samedge.types import DRAWN_KINDS, IMAGE_EMBEDDINGS


@dataclasses.dataclass(frozen=True)
class EmbeddingMap:
    """One map that an image encoder gives and a decoder takes.

    Attributes:
        name: of the tensor in exported graphs.
        channels: C.
        stride: pixels of the input along one cell.
    """

    name: str
    channels: int
    stride: int

    def shape(self, image_size: int) -> tuple[int, int, int, int]:
        """(1, C, S/stride, S/stride)."""
        side = image_size // self.stride
        return 1, self.channels, side, side


def image_embeddings(channels: int) -> EmbeddingMap:
    """The map that every encoder gives: ``channels`` at a sixteenth of the input's size."""
    return EmbeddingMap(IMAGE_EMBEDDINGS, channels, 16)


class PromptableModel(nn.Module, ABC):
    """What export and evaluation ask of a model: an image encoder and a way to decode prompts.

    Args:
        image_encoder: normalised (B, 3, S, S) to the tensors of ``maps``: a tuple of them, or one.
        image_size: side S of the padded square input, in pixels.
        maps: what passes from encoding to decoding, ``image_embeddings`` first.

    Attributes:
        decoder_name: the plug-in of ``samedge.models._decoders`` that makes such models; empty for
            a kind that has none.
        spec: what was built, and the name, licence and origin of the weights; ``None`` for a
            model that was put together by hand.
        encoder_parts: children that ``embed`` uses; decoding uses the others alone.
        prompt_kinds: what decoding understands.
    """

    decoder_name: ClassVar[str] = ""
    spec: ModelSpec | None = None
    encoder_parts: tuple[str, ...] = ("normalize", "image_encoder")
    prompt_kinds: tuple[str, ...] = DRAWN_KINDS

    def __init__(
        self, image_encoder: nn.Module, image_size: int, *, maps: tuple[EmbeddingMap, ...]
    ) -> None:
        super().__init__()
        self.maps = maps
        self.normalize = Normalize()
        self.image_encoder = image_encoder
        self.image_size = image_size

    @property
    def frame(self) -> Frame:
        """How images get into ``encode``."""
        return Frame(
            target_length=self.image_size,
            mean=_triple(self.normalize.mean),
            std=_triple(self.normalize.std),
        )

    @property
    def embed_dim(self) -> int:
        """Channels C of the image embedding."""
        return self.maps[0].channels

    @property
    def embedding_names(self) -> tuple[str, ...]:
        """Tensors that ``embed`` gives and ``decode_embedded`` takes, in order."""
        return tuple(each.name for each in self.maps)

    def embedding_shapes(self) -> dict[str, tuple[int, ...]]:
        """What ``embed`` gives for one image: shapes by ``embedding_names``."""
        return {each.name: each.shape(self.image_size) for each in self.maps}

    def encode(self, image: Tensor) -> Tensor:
        """Embed images.

        Args:
            image: (B, S, S, 3) RGB 0..255, uint8 or float, as ``frame`` makes it.

        Returns:
            ``image_embeddings``, (B, C, S/16, S/16) float.
        """
        made = self.image_encoder(self.normalize(image))
        embeddings: Tensor = made[0] if isinstance(made, tuple) else made
        return embeddings

    def embed(self, image: Tensor) -> dict[str, Tensor]:
        """Everything that decoding needs to know of images, by ``embedding_names``.

        A model that makes further maps of more than its image encoder overrides this.

        Args:
            image: as of ``encode``.
        """
        made = self.image_encoder(self.normalize(image))
        tensors = made if isinstance(made, tuple) else (made,)
        return dict(zip(self.embedding_names, tensors, strict=True))

    def decode_embedded(
        self, tensors: Mapping[str, Tensor], *prompts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`decode`, from what :meth:`embed` gave.

        A model that takes more than one tensor overrides this.

        Args:
            tensors: by ``embedding_names``.
            prompts: the four other arguments of ``decode``, in its order.
        """
        point_coords, point_labels, mask_input, has_mask_input = prompts
        return self.decode(
            tensors[IMAGE_EMBEDDINGS], point_coords, point_labels, mask_input, has_mask_input
        )

    @abstractmethod
    def decode(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompts on one image, or on B images.

        Args:
            image_embeddings: (1, C, S/16, S/16), or (B, ...) with one image a prompt.
            point_coords: (B, N, 2) xy pixels of the padded S x S input.
            point_labels: (B, N) float; 1 foreground, 0 background, 2/3 box corners, -1 padding
                (the first beside points without a box is SAM's own padding point, every other is
                masked out), below -1 ignored.
            mask_input: (B, 1, S/4, S/4) low-res logits.
            has_mask_input: (B,) 1 where ``mask_input`` counts, else 0.

        Returns:
            ``low_res_masks`` (B, 4, S/4, S/4) logits and ``iou_predictions`` (B, 4).
        """

    def forward(
        self,
        image: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """``encode`` and ``decode`` in one call."""
        prompts = (point_coords, point_labels, mask_input, has_mask_input)
        return self.decode_embedded(self.embed(image), *prompts)


def _triple(buffer: Tensor) -> tuple[float, float, float]:
    first, second, third = (round(value, 4) for value in buffer.flatten().tolist())
    return first, second, third
