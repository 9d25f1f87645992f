"""The recipe of a model: what has to be built before weights can be loaded into it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from torch import nn

from samedge.errors import CheckpointError
from samedge.models.base import encoder
from samedge.models.painted import PaintedConfig, PaintedDecoder
from samedge.models.sam import PaintedSam, PromptableModel, build_sam

SCHEMA = "samedge.checkpoint/1"


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to build, and what a checkpoint says of its weights.

    Attributes:
        encoder: name of an encoder plug-in, such as ``"vit"``.
        encoder_options: its configuration without ``image_size``.
        image_size: side S of the padded square input, in pixels.
        decoder: ``"sam"``, or ``"painted"`` as the embedded models have it.
        decoder_options: what ``build_sam`` or ``PaintedConfig`` takes beside the image size.
        name: of the model, for people.
        licence: of the weights, as an SPDX identifier.
        origin: where the weights come from.
        schema: version of this record.
    """

    encoder: str
    image_size: int
    encoder_options: dict[str, Any] = {}
    decoder: Literal["sam", "painted"] = "sam"
    decoder_options: dict[str, Any] = {}
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

    def build(self) -> PromptableModel:
        """Make the model with fresh weights.

        Raises:
            UnknownNameError: an encoder or an option of it that does not exist.
            CheckpointError: an option is missing, or the decoder has no such option.
        """
        kind = encoder(self.encoder)
        options = {**self.encoder_options, "image_size": self.image_size}
        model = self._with_decoder(kind.build(kind.config_from_mapping(options)))
        model.spec = self
        return model

    def _with_decoder(self, image_encoder: nn.Module) -> PromptableModel:
        try:
            if self.decoder == "sam":
                return build_sam(image_encoder, self.image_size, **self.decoder_options)
            config = PaintedConfig(**self.decoder_options)
        except TypeError as error:
            raise CheckpointError(
                f"The {self.decoder} decoder cannot be built from {self.decoder_options}: {error}."
            ) from error
        return PaintedSam(image_encoder, PaintedDecoder(self.image_size, config))
