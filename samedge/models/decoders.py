"""What a mask decoder plug-in is: a file ``_decoders/_name.py`` that exposes ``DECODER``.

A decoder turns what an image encoder gives, and prompts, into four masks and their estimated IoU,
with the tensors of ``PromptableModel.decode``. The plug-in brings all that others would list about
it: its options, how it is written for platforms, and what everything-mode expects of its estimates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from samedge import _discovery
from samedge.bundle.thresholds import Thresholds
from samedge.models.base import read_config
from samedge.models.parted import PartedDecoder
from samedge.models.promptable import EmbeddingMap, PromptableModel

PACKAGE = "samedge.models._decoders"

C = TypeVar("C")
M = TypeVar("M", bound=PromptableModel)


class Decoder(ABC, Generic[C, M]):
    """A kind of mask decoder; stateless.

    Attributes:
        name: the file's name without its underscore; its models' ``decoder_name``.
        config_type: frozen dataclass of plain values, without the image size.
        thresholds: of its models' bundles, where these rate their own masks otherwise than SAM.
        repeats_images: whether ``decode`` takes B prompts on b images, B a multiple of b; otherwise
            there is one image, or one a prompt.
    """

    name: ClassVar[str]
    config_type: type[C]
    thresholds: ClassVar[Thresholds] = Thresholds()
    repeats_images: ClassVar[bool] = False

    @abstractmethod
    def maps(self, config: C) -> tuple[EmbeddingMap, ...]:
        """What the decoder takes of the image encoder, ``image_embeddings`` first."""

    @abstractmethod
    def build(self, config: C, image_encoder: nn.Module, *, image_size: int) -> M:
        """Put a decoder with fresh weights on an image encoder.

        Args:
            config: the decoder's widths.
            image_encoder: normalised (B, 3, S, S) to the maps of :meth:`maps`.
            image_size: side S of the padded square input, in pixels.
        """

    @abstractmethod
    def tiny(self, *, embed_dim: int) -> C:
        """The smallest configuration that has every kind of layer, for tests.

        Args:
            embed_dim: channels of the image embedding.
        """

    def deployed(self, model: M, *, centred: bool = False, masks_padding: bool = True) -> nn.Module:
        """Everything after the image encoder as most platforms get it.

        Args:
            model: whose decoder it is; it stays as it is.
            centred: write normalisation of short rows by hand, for runtimes that are slow at it.
            masks_padding: whether padding a prompt must be exact. Meta's own export of SAM lets
                every padding point count.

        Returns:
            A module equal to the model up to rounding: from the tensors of ``maps`` and the four
            prompt tensors of ``PromptableModel.decode`` to its results.
        """
        del centred, masks_padding
        return PlainDecoder(model)

    def planar(self, model: M) -> PartedDecoder | None:
        """The same for Apple's Neural Engine, four axes and one image; ``None``: as deployed."""
        del model
        return None

    def config_from_mapping(self, options: Mapping[str, Any]) -> C:
        """Read a configuration, such as the one in a checkpoint's metadata.

        Raises:
            UnknownNameError: an option that this decoder does not have.
            CheckpointError: an option is missing or of another type.
        """
        return read_config(self.config_type, options, owner=f"{self.name} decoder")


class PlainDecoder(nn.Module):
    """A model's way to decode as the forward of a module that does not hold the image encoder.

    Args:
        model: whose decoder it is; its modules are shared.
    """

    def __init__(self, model: PromptableModel) -> None:
        super().__init__()
        for name, module in model.named_children():
            if name not in model.encoder_parts:
                self.add_module(name, module)
        self._names = model.embedding_names
        self._decode_embedded, self._decode = type(model).decode_embedded, type(model).decode

    def decode(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """As of the model, whose ``decode_embedded`` may call it."""
        return self._decode(self, *inputs)  # type: ignore[arg-type]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The embedding's tensors by ``embedding_names``, then the four prompt tensors."""
        count = len(self._names)
        tensors = dict(zip(self._names, inputs[:count], strict=True))
        return self._decode_embedded(self, tensors, *inputs[count:])  # type: ignore[arg-type]


def decoder(name: str) -> Decoder[Any, Any]:
    """Return decoder plug-in ``name``, such as ``"sam"`` or ``"painted"``.

    Raises:
        UnknownNameError: there is none of that name.
    """
    found: Decoder[Any, Any] = _discovery.load(PACKAGE, name, attribute="DECODER")
    return found


def decoder_of(model: PromptableModel) -> Decoder[Any, Any] | None:
    """The plug-in that makes models like this one; ``None`` for a kind that has none."""
    return decoder(model.decoder_name) if model.decoder_name else None


def deployed_decoder(
    model: PromptableModel, *, centred: bool = False, masks_padding: bool = True
) -> nn.Module:
    """As :meth:`Decoder.deployed` of the model's plug-in; without one, as the model decodes."""
    kind = decoder_of(model)
    if kind is None:
        return PlainDecoder(model)
    return kind.deployed(model, centred=centred, masks_padding=masks_padding)


def thresholds_of(model: PromptableModel) -> Thresholds:
    """As :attr:`Decoder.thresholds` of the model's plug-in; SAM's without one."""
    kind = decoder_of(model)
    return Thresholds() if kind is None else kind.thresholds


def planar_decoder(model: PromptableModel) -> PartedDecoder | None:
    """As :meth:`Decoder.planar` of the model's plug-in; ``None`` without one."""
    kind = decoder_of(model)
    return None if kind is None else kind.planar(model)


def decoder_names() -> tuple[str, ...]:
    """Names of all decoders."""
    return _discovery.names(PACKAGE)
