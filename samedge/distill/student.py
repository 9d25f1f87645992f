"""The model of a recipe: built, given its first weights, divided into parts for the optimiser."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from samedge.distill.data import Mixture
from samedge.distill.recipe import Model, Recipe
from samedge.distill.teacher import open_model
from samedge.errors import CheckpointError, RecipeError
from samedge.models._proxyless import ProxylessEncoder
from samedge.models._pyramid import PyramidEncoder
from samedge.models._timm import TimmEncoder, load_backbone
from samedge.models.building import build_model
from samedge.models.checkpoint_files import read_safetensors
from samedge.models.imagenet import load_mobilenet_v2
from samedge.models.promptable import PromptableModel
from samedge.models.proxyless_trunk import ProxylessTrunk, load_trunk
from samedge.models.spec import ModelSpec

PartName = Literal["encoder", "neck", "decoder"]

_STATISTICS_IMAGES = 8
"""Photos on which batch statistics are measured where a checkpoint has none."""


def model_spec(recipe: Recipe, *, image_size: int) -> ModelSpec:
    """What a recipe builds, as its checkpoints describe it."""
    model = recipe.model
    return ModelSpec(
        encoder=model.encoder,
        image_size=image_size,
        encoder_options=model.encoder_options,
        decoder=model.decoder,
        decoder_options=model.decoder_options,
        name=recipe.name,
        licence=recipe.licence,
        origin="trained by samedge distill",
    )


def build_student(recipe: Recipe, *, image_size: int) -> PromptableModel:
    """The recipe's model with fresh weights; no weight's shape depends on a timm encoder's size.

    Raises:
        UnknownNameError: an encoder or an option that does not exist.
        CheckpointError: an option is missing.
    """
    return build_model(model_spec(recipe, image_size=image_size))


def initialise(student: PromptableModel, model: Model, *, root: Path, samples: Mixture) -> None:
    """Give a fresh student the weights that its recipe starts from.

    Args:
        student: the model; changed in place.
        model: the recipe's section.
        root: what files are relative to.
        samples: photos that batch statistics are measured on, where these are missing.

    Raises:
        RecipeError: ``init_encoder`` for an encoder that has no backbone of its own.
        CheckpointError: a file is missing or does not fit.
    """
    if model.init_encoder:
        _load_encoder(student, _existing(root, model.init_encoder), samples)
    if model.init:
        _take(student, model.init, key="init", root=root, parts={"encoder", "neck", "decoder"})
    if model.init_decoder:
        _take(student, model.init_decoder, key="init_decoder", root=root, parts={"decoder"})


def _take(
    student: PromptableModel, name: str, *, key: str, root: Path, parts: Collection[PartName]
) -> None:
    """Copy the parts of another model into the student; every tensor of them must fit."""
    loaded = open_model(name, root=root, image_size=student.image_size).state_dict()
    own = student.state_dict()
    taken = {n: t for n, t in loaded.items() if part_of(n) in parts}
    wanted = {n for n in own if part_of(n) in parts}
    wrong = wanted ^ taken.keys()
    wrong |= {n for n in wanted & taken.keys() if own[n].shape != taken[n].shape}
    if wrong:
        some = ", ".join(sorted(wrong)[:6])
        raise CheckpointError(
            f"model.{key} {name!r} does not fit the rest of [model]: {len(wrong)} tensors are "
            f"missing, left over or of another shape ({some})."
        )
    student.load_state_dict({**own, **taken})


def _existing(root: Path, name: str) -> Path:
    for path in (root / name, Path(name)):
        if path.is_file():
            return path
    raise CheckpointError(
        f"model.init_encoder is {name!r}, but neither {root / name} nor {name} is a file."
    )


def _load_encoder(student: PromptableModel, path: Path, samples: Mixture) -> None:
    encoder = student.image_encoder
    if not isinstance(encoder, (ProxylessEncoder, PyramidEncoder, TimmEncoder)):
        raise RecipeError(
            "model.init_encoder is for the encoders 'timm', 'proxyless' and 'pyramid': give "
            "model.init."
        )
    if isinstance(encoder.backbone, ProxylessTrunk):
        load_trunk(encoder.backbone, path)
    else:
        _load_timm(encoder.backbone, path, samples)


def _load_timm(backbone: nn.Module, path: Path, samples: Mixture) -> None:
    tensors, _ = read_safetensors(path)
    if "features.0.0.weight" in tensors:
        images = torch.stack([samples[index]["image"] for index in range(_STATISTICS_IMAGES)])
        load_mobilenet_v2(backbone, path, images)
    else:
        load_backbone(backbone, path)


def part_of(name: str) -> PartName:
    """Which part of the student a parameter belongs to, by its name."""
    if name.startswith("image_encoder.neck."):
        return "neck"
    return "encoder" if name.startswith("image_encoder.") else "decoder"


def freeze(student: nn.Module, parts: Collection[PartName]) -> None:
    """Let exactly the parameters outside ``parts`` be trained."""
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(part_of(name) not in parts)
