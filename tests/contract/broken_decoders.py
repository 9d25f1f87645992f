"""A decoder that keeps every promise, and for each promise one that breaks it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from samedge.bundle.thresholds import Thresholds
from samedge.models.decoders import Decoder, PlainDecoder
from samedge.models.forms.planar_painted import PlanarPaintedDecoder
from samedge.models.painted import PaintedDecoder, PaintedSam
from samedge.models.painted_trunk import PaintedConfig
from samedge.models.parted import PartedDecoder
from samedge.models.promptable import EmbeddingMap, image_embeddings

Results = tuple[Tensor, Tensor]
Change = Callable[[Callable[..., Results], tuple[Tensor, ...]], Results]


class SoundSam(PaintedSam):
    decoder_name = "sound"


class SoundDecoder(Decoder[PaintedConfig, PaintedSam]):
    """The embedded models' decoder under another name."""

    name, config_type = "sound", PaintedConfig
    repeats_images = True
    model_type: type[PaintedSam] = SoundSam

    def maps(self, config: PaintedConfig) -> tuple[EmbeddingMap, ...]:
        return (image_embeddings(config.embed_dim),)

    def build(
        self, config: PaintedConfig, image_encoder: nn.Module, *, image_size: int
    ) -> PaintedSam:
        return self.model_type(image_encoder, PaintedDecoder(image_size, config))

    def tiny(self, *, embed_dim: int) -> PaintedConfig:
        return PaintedConfig(embed_dim, coarse=8, middle=8, fine=8, blocks=1, heads=2, head_dim=4)

    def planar(self, model: PaintedSam) -> PartedDecoder | None:
        return PlanarPaintedDecoder(model.decoder)


class MakesModelsOfAnother(SoundDecoder):
    model_type = PaintedSam


class KnowsOtherThresholds(SoundDecoder):
    thresholds = Thresholds(predicted_iou=60.0)


class ForgetsItsOptions(SoundDecoder):
    def config_from_mapping(self, options: Mapping[str, Any]) -> PaintedConfig:
        del options
        return PaintedConfig()


class TakesAnything(SoundDecoder):
    def config_from_mapping(self, options: Mapping[str, Any]) -> PaintedConfig:
        return PaintedConfig(**{k: v for k, v in options.items() if k == "embed_dim"})


def decoding(change: Change) -> SoundDecoder:
    """A decoder whose models decode otherwise; its forms do as they."""

    class Changed(SoundSam):
        def decode(self, *inputs: Tensor) -> Results:
            return change(functools.partial(PaintedSam.decode, self), inputs)

    class Unplanar(SoundDecoder):
        model_type = Changed

        def planar(self, model: PaintedSam) -> None:
            del model

    return Unplanar()


def _three_masks(decode: Callable[..., Results], inputs: tuple[Tensor, ...]) -> Results:
    masks, quality = decode(*inputs)
    return masks[:, :3], quality


def _counts_padding(decode: Callable[..., Results], inputs: tuple[Tensor, ...]) -> Results:
    image, coords, labels, *mask = inputs
    return decode(image, coords, labels.clamp(min=0.0), *mask)


def _mixes_rows(decode: Callable[..., Results], inputs: tuple[Tensor, ...]) -> Results:
    masks, quality = decode(*inputs)
    return masks + masks.mean(0, keepdim=True), quality


def _one_image(decode: Callable[..., Results], inputs: tuple[Tensor, ...]) -> Results:
    return decode(inputs[0][:1], *inputs[1:])


def _no_masks(decode: Callable[..., Results], inputs: tuple[Tensor, ...]) -> Results:
    return decode(*inputs[:4], inputs[4] * 0)


def _decided(decode: Callable[..., Results], inputs: tuple[Tensor, ...]) -> Results:
    masks, quality = decode(*inputs)
    return (masks * 2 if float(inputs[4].max()) > 0 else masks), quality


def _other_when_exported(decode: Callable[..., Results], inputs: tuple[Tensor, ...]) -> Results:
    masks, quality = decode(*inputs)
    return (masks.relu() if torch.onnx.is_in_onnx_export() else masks), quality


class DeployedOtherwise(SoundDecoder):
    def deployed(
        self, model: PaintedSam, *, centred: bool = False, masks_padding: bool = True
    ) -> nn.Module:
        del masks_padding
        if centred:  # the weights of the model itself
            model.decoder.masks.weight.data *= 1.5
        return PlainDecoder(model)


class PlanarOtherwise(SoundDecoder):
    def planar(self, model: PaintedSam) -> PartedDecoder:
        form = PlanarPaintedDecoder(model.decoder)
        form.paint_fine.weight.data *= 1.1
        return form


BREAKS: dict[str, Callable[[], SoundDecoder]] = {
    "declares_itself": MakesModelsOfAnother,
    "has_thresholds_that_a_manifest_takes": KnowsOtherThresholds,
    "its_options_travel_in_a_checkpoint": ForgetsItsOptions,
    "refuses_options_that_it_does_not_have": TakesAnything,
    "has_sams_outputs": lambda: decoding(_three_masks),
    "padding_a_prompt_changes_nothing": lambda: decoding(_counts_padding),
    "prompts_are_decoded_one_by_one": lambda: decoding(_mixes_rows),
    "prompts_meet_their_own_image": lambda: decoding(_one_image),
    "every_kind_of_prompt_counts": lambda: decoding(_no_masks),
    "its_deployed_form_is_equal": DeployedOtherwise,
    "its_planar_form_is_equal": PlanarOtherwise,
    "its_forms_have_few_axes_and_no_flow_by_data": lambda: decoding(_decided),
    "is_the_same_in_onnx_runtime": lambda: decoding(_other_when_exported),
}
