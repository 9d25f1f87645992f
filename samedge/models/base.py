"""What an image encoder plug-in is: a file ``_name.py`` that exposes ``ENCODER``.

An encoder turns a normalised (B, 3, S, S) image into a (B, C, S/16, S/16) embedding. Its
configuration is a frozen dataclass of plain values, so that it travels in a checkpoint's metadata.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec
from torch import nn

from samedge import _discovery
from samedge.errors import CheckpointError, UnknownNameError
from samedge.machine.libraries import silence_reports
from samedge.models.promptable import EmbeddingMap, image_embeddings

PACKAGE = "samedge.models"


class EncoderConfig(Protocol):
    """What every encoder's configuration has."""

    @property
    def image_size(self) -> int:
        """Side S of the input, in pixels."""

    @property
    def embed_dim(self) -> int:
        """Channels C of the image embedding."""


T = TypeVar("T")
C = TypeVar("C", bound=EncoderConfig)


class Encoder(ABC, Generic[C]):
    """A kind of image encoder; stateless.

    Attributes:
        name: the file's name without its underscore.
        config_type: frozen dataclass of plain values; has at least ``image_size`` and
            ``embed_dim``.
        packages: distributions that it computes with beside torch, by the names that pip lists; a
            literal, since it is read without importing the file.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    config_type: type[C]

    @abstractmethod
    def build(self, config: C) -> nn.Module:
        """Make the module with fresh weights: normalised (B, 3, S, S) to (B, C, S/16, S/16)."""

    @abstractmethod
    def tiny(self, *, image_size: int, embed_dim: int) -> C:
        """The smallest configuration that has every kind of layer, for tests.

        Args:
            image_size: side S of the input, in pixels; a multiple of 64.
            embed_dim: channels of the image embedding.
        """

    def maps(self, config: C) -> tuple[EmbeddingMap, ...]:
        """What such an encoder gives, ``image_embeddings`` first."""
        return (image_embeddings(config.embed_dim),)

    def config_from_mapping(self, options: Mapping[str, Any]) -> C:
        """Read a configuration, such as the one in a checkpoint's metadata.

        Raises:
            UnknownNameError: an option that this encoder does not have.
            CheckpointError: an option is missing or of another type.
        """
        return read_config(self.config_type, options, owner=f"encoder {self.name}")


def keep_statistics(module: nn.Module) -> None:
    """Put batch norms into evaluation: training leaves their running statistics alone."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()


def read_config(kind: type[T], options: Mapping[str, Any], *, owner: str) -> T:
    """A frozen dataclass of plain values from a mapping.

    Args:
        kind: the dataclass.
        options: its fields.
        owner: whose configuration it is, for messages.

    Raises:
        UnknownNameError: an option that there is not.
        CheckpointError: an option is missing or of another type.
    """
    fields = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for option in options:
        if option not in fields:
            raise UnknownNameError(f"option of {owner}", option, fields)
    try:
        return msgspec.convert(dict(options), kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(
            f"{owner.capitalize()} cannot be configured by {dict(options)}: {error}. "
            f"Known options: {', '.join(fields)}."
        ) from error


def encoder(name: str) -> Encoder[Any]:
    """Return encoder plug-in ``name``, such as ``"vit"`` or ``"timm"``.

    Raises:
        UnknownNameError: there is none of that name.
    """
    silence_reports()  # timm, which some are made of, loads huggingface_hub
    found: Encoder[Any] = _discovery.load(PACKAGE, name, attribute="ENCODER")
    return found


def encoder_names() -> tuple[str, ...]:
    """Names of all encoders."""
    return _discovery.names(PACKAGE)
