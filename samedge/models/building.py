"""A recipe of a model to the model, with fresh weights."""

from __future__ import annotations

from torch import nn

from samedge.errors import CheckpointError
from samedge.models.base import encoder
from samedge.models.painted import PaintedConfig, PaintedDecoder, PaintedSam
from samedge.models.promptable import PromptableModel
from samedge.models.sam import build_sam
from samedge.models.spec import ModelSpec


def build_model(spec: ModelSpec) -> PromptableModel:
    """Make the model that a recipe describes.

    Args:
        spec: what to build.

    Raises:
        UnknownNameError: an encoder or an option of it that does not exist.
        CheckpointError: an option is missing, or the decoder has no such option.
    """
    kind = encoder(spec.encoder)
    options = {**spec.encoder_options, "image_size": spec.image_size}
    model = _with_decoder(spec, kind.build(kind.config_from_mapping(options)))
    model.spec = spec
    return model


def _with_decoder(spec: ModelSpec, image_encoder: nn.Module) -> PromptableModel:
    try:
        if spec.decoder == "sam":
            return build_sam(image_encoder, spec.image_size, **spec.decoder_options)
        config = PaintedConfig(**spec.decoder_options)
    except TypeError as error:
        raise CheckpointError(
            f"The {spec.decoder} decoder cannot be built from {spec.decoder_options}: {error}."
        ) from error
    return PaintedSam(image_encoder, PaintedDecoder(spec.image_size, config))
