"""The recipe of a model: what has to be built before weights can be loaded into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from samedge.errors import CheckpointError

SCHEMA = "samedge.checkpoint/1"

Option: TypeAlias = bool | int | float | str | list[int] | None
"""What a plug-in's configuration is made of: plain values, so that it travels in metadata."""


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to build, and what a checkpoint says of its weights.

    Attributes:
        encoder: name of an encoder plug-in, such as ``"vit"``.
        encoder_options: its configuration without ``image_size``.
        image_size: side S of the padded square input, in pixels.
        decoder: name of a decoder plug-in: ``"sam"``, or ``"painted"`` as the embedded models
            have it.
        decoder_options: its configuration.
        name: of the model, for people.
        licence: of the weights, as an SPDX identifier.
        origin: where the weights come from.
        schema: version of this record.
    """

    encoder: str
    image_size: int
    encoder_options: Mapping[str, Option] = {}
    decoder: str = "sam"
    decoder_options: Mapping[str, Option] = {}
    name: str = ""
    licence: str = ""
    origin: str = ""
    schema: str = SCHEMA

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read a record.

        Raises:
            CheckpointError: the record is damaged, or of another schema.
        """
        try:
            spec = msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as error:
            raise CheckpointError(
                f"The checkpoint's description is not valid: {error}. Expected schema {SCHEMA}."
            ) from error
        if spec.schema != SCHEMA:
            raise CheckpointError(
                f"The checkpoint's description has schema {spec.schema!r}, expected {SCHEMA!r}: "
                "it was written by another version of samedge."
            )
        return spec

    def to_json(self) -> str:
        """Write the record."""
        return msgspec.json.encode(self).decode()
