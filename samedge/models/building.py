"""A recipe of a model to the model, with fresh weights."""

from __future__ import annotations

from collections.abc import Iterable

from samedge.errors import CheckpointError
from samedge.models.base import encoder
from samedge.models.decoders import decoder
from samedge.models.promptable import EmbeddingMap, PromptableModel
from samedge.models.spec import ModelSpec


def build_model(spec: ModelSpec) -> PromptableModel:
    """Make the model that a recipe describes.

    Args:
        spec: what to build.

    Raises:
        UnknownNameError: an encoder, a decoder or an option of either that does not exist.
        CheckpointError: an option is missing or of another type, or the decoder takes other maps
            than the encoder gives.
    """
    encoders, decoders = encoder(spec.encoder), decoder(spec.decoder)
    options = {**spec.encoder_options, "image_size": spec.image_size}
    encoder_config = encoders.config_from_mapping(options)
    decoder_config = decoders.config_from_mapping(spec.decoder_options)
    given, taken = encoders.maps(encoder_config), decoders.maps(decoder_config)
    if given != taken:
        raise CheckpointError(
            f"Encoder {spec.encoder!r} gives {_listed(given)}, and decoder {spec.decoder!r} takes "
            f"{_listed(taken)}: set their options alike, such as embed_dim."
        )
    model: PromptableModel = decoders.build(
        decoder_config, encoders.build(encoder_config), image_size=spec.image_size
    )
    model.spec = spec
    return model


def _listed(maps: Iterable[EmbeddingMap]) -> str:
    return ", ".join(f"{m.name} ({m.channels} channels, stride {m.stride})" for m in maps)
