"""Every mask decoder that discovery finds keeps its promises, and a broken one is found."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from samedge.errors import UnknownNameError
from samedge.models.base import encoder, encoder_names
from samedge.models.building import build_model
from samedge.models.checkpoints import load_checkpoint, save_checkpoint
from samedge.models.decoders import decoder, decoder_names, decoder_of
from samedge.models.spec import ModelSpec
from tests.contract import decoder_checks as checks
from tests.contract.broken_decoders import BREAKS, SoundDecoder

every_check = pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
every_decoder = pytest.mark.parametrize("name", decoder_names())


def tiny_spec(name: str) -> ModelSpec:
    """A decoder on the first encoder that gives what it takes."""
    config = decoder(name).tiny(embed_dim=checks.CHANNELS)
    for each in encoder_names():
        other = encoder(each).tiny(image_size=checks.SIZE, embed_dim=checks.CHANNELS)
        if encoder(each).maps(other) == decoder(name).maps(config):
            options = dataclasses.asdict(other)
            size = options.pop("image_size")
            decoding = dataclasses.asdict(config)
            return ModelSpec(
                encoder=each,
                encoder_options=options,
                image_size=size,
                decoder=name,
                decoder_options=decoding,
            )
    raise AssertionError(f"no encoder gives what decoder {name} takes")


@every_check
@every_decoder
def test_it_keeps_its_promises(name: str, check: Any, tmp_path: Path) -> None:
    check(decoder(name), tmp_path)


@every_decoder
def test_its_name_is_the_files(name: str) -> None:
    assert decoder(name).name == name
    assert type(decoder(name)).__module__ == f"samedge.models._decoders._{name}"
    assert decoder_of(checks.built(decoder(name))) is decoder(name)


@every_decoder
def test_its_models_are_saved_and_loaded(name: str, tmp_path: Path) -> None:
    spec = tiny_spec(name)
    model = build_model(spec)
    save_checkpoint(model, tmp_path / "tiny.safetensors", spec=spec)
    loaded = load_checkpoint(tmp_path / "tiny.safetensors")
    assert type(loaded) is type(model)
    assert loaded.spec == ModelSpec.from_json(spec.to_json())
    assert all(torch.equal(loaded.state_dict()[n], t) for n, t in model.state_dict().items())


@every_check
def test_a_broken_decoder_is_found(check: Any, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
        check(BREAKS[check.__name__](), tmp_path)


@every_check
def test_a_sound_decoder_is_not(check: Any, tmp_path: Path) -> None:
    check(SoundDecoder(), tmp_path)


def test_unknown_decoder_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'painted'"):
        decoder("pained")
