"""What an image encoder plug-in is: a file ``_name.py`` that exposes ``ENCODER``.

An encoder turns a normalised (B, 3, S, S) image into a (B, C, S/16, S/16) embedding. Its
configuration is a frozen dataclass of plain values, so that it travels in a checkpoint's metadata.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from torch import nn

from samedge import _discovery
from samedge.errors import CheckpointError, UnknownNameError

C = TypeVar("C")


class Encoder(ABC, Generic[C]):
    """A kind of image encoder; stateless.

    Attributes:
        name: the file's name without its underscore.
        config_type: frozen dataclass of plain values; has at least ``image_size``.
        packages: distributions that it computes with beside torch, by the names that pip lists; a
            literal, since it is read without importing the file.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    config_type: type[C]

    @abstractmethod
    def build(self, config: C) -> nn.Module:
        """Make the module with fresh weights: normalised (B, 3, S, S) to (B, C, S/16, S/16)."""

    def config_from_mapping(self, options: Mapping[str, Any]) -> C:
        """Read a configuration, such as the one in a checkpoint's metadata.

        Raises:
            UnknownNameError: an option that this encoder does not have.
            CheckpointError: an option is missing.
        """
        fields = {field.name: field for field in dataclasses.fields(self.config_type)}  # type: ignore[arg-type]
        for option in options:
            if option not in fields:
                raise UnknownNameError(f"option of encoder {self.name}", option, fields)
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
        try:
            return self.config_type(**values)
        except TypeError as error:
            raise CheckpointError(
                f"Encoder {self.name} cannot be configured by {dict(options)}: {error}. "
                f"Known options: {', '.join(fields)}."
            ) from error


def encoder(name: str) -> Encoder[Any]:
    """Return encoder plug-in ``name``, such as ``"vit"`` or ``"timm"``.

    Raises:
        UnknownNameError: there is none of that name.
    """
    found: Encoder[Any] = _discovery.load("samedge.models", name, attribute="ENCODER")
    return found
