"""A training recipe: the TOML file that says everything about a run except where its data lies.

Every section is a frozen struct that knows its keys; ``recipe_file`` reads and checks them. A stage
is one of three kinds, each with its own keys, so that a key that means nothing for a kind is
unknown there. ``docs/distillation.md`` explains each key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from samedge.distill.augment import AugmentConfig
from samedge.distill.composites import CompositeConfig
from samedge.distill.losses import LossConfig
from samedge.distill.prompts import PromptConfig
from samedge.models.spec import Option

PositiveInt = Annotated[int, Meta(gt=0)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
ImageSize = Annotated[int, Meta(ge=32, multiple_of=32)]
Training = Literal["train", "finetune", "frozen"]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every part of a recipe."""


class Model(Section, frozen=True):
    """What is trained.

    Attributes:
        encoder: an encoder of ``samedge.models``.
        encoder_options: the encoder's own keys.
        decoder: a decoder of ``samedge.models``; ``sam`` is Segment Anything's own, ``painted``
            that of the embedded models (see ``samedge.models.painted``).
        decoder_options: the decoder's own keys.
        image_size: side S of the input that the finished model takes, in pixels.
        init: weights to start from: a checkpoint, relative to the data's root or to the working
            directory, or a name of the model zoo; empty starts from nothing.
        init_encoder: pretrained weights of the encoder alone, relative to the data's root.
        init_decoder: like ``init``, for prompt encoder and mask decoder alone; they must be alike.
    """

    encoder: str
    encoder_options: Mapping[str, Option] = {}
    decoder: str = "sam"
    decoder_options: Mapping[str, Option] = {}
    image_size: ImageSize = 1024
    init: str = ""
    init_encoder: str = ""
    init_decoder: str = ""


class Source(Section, frozen=True):
    """One folder of images, relative to the data's root.

    Attributes:
        path: a folder with ``images/`` and ``instances.json``, or of plain images.
        annotations: a COCO file elsewhere, as ``samedge annotate`` writes it.
        images: the folder that the names in that file are below.
        weight: how often it is drawn, relative to the other sources.
        format: ``coco`` with masks, ``images`` without.
        balance: ``images`` draws every photo alike; ``masks`` draws a photo as often as it takes to
            see its masks (``data.masks`` of them at a time), as an evaluation by instance does.
    """

    path: str = ""
    annotations: str = ""
    images: str = ""
    weight: Positive = 1.0
    format: Literal["coco", "images"] = "coco"
    balance: Literal["images", "masks"] = "images"


class Composites(Section, frozen=True):
    """Cut-outs pasted on backgrounds: pictures with exact masks.

    Attributes:
        cutouts: folder of RGBA pictures, relative to the data's root.
        weight: how often a composite is drawn, relative to the sources.
        backgrounds: folders of photos, relative to the data's root; textures only when empty.
        options: how pictures are composed, see ``samedge.distill.composites.CompositeConfig``.
    """

    cutouts: str
    weight: Positive = 1.0
    backgrounds: list[str] = []
    options: CompositeConfig = CompositeConfig()


class Data(Section, frozen=True):
    """What is learned from.

    Attributes:
        sources: folders to draw from.
        composites: synthetic pictures mixed in.
        augment: random changes, see ``samedge.distill.augment.AugmentConfig``.
        masks: masks drawn from one image a step.
        repeat_masks: show an image's masks again, for other prompts, where it has fewer.
        validation: share of the photos that are held out of training.
        validation_images: most held-out photos that one evaluation looks at.
    """

    sources: list[Source] = []
    composites: Composites | None = None
    augment: AugmentConfig = AugmentConfig()
    masks: PositiveInt = 8
    repeat_masks: bool = True
    validation: Annotated[float, Meta(ge=0, lt=0.5)] = 0.05
    validation_images: PositiveInt = 32


class Optim(Section, frozen=True):
    """How weights move.

    Attributes:
        name: ``adamw`` (Loshchilov and Hutter, 2019).
        lr: peak learning rate at ``batch_size`` of the stage.
        betas: AdamW's.
        weight_decay: decoupled decay of matrices; vectors, norms and biases have none.
        encoder_lr, neck_lr, decoder_lr: multipliers of ``lr`` for the encoder's pretrained trunk,
            its neck, and prompt encoder with mask decoder.
        schedule: after the warm-up, ``cosine`` to ``final_lr`` of the peak, or ``constant``.
        warmup: steps of linear warm-up at the start of each stage.
        final_lr: share of the peak at the end of a cosine.
        clip: largest norm of all gradients together; 0 does not clip.
        ema: decay of the moving average that is evaluated and shipped; 0 keeps none.
    """

    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: NotNegative = 0.01
    encoder_lr: NotNegative = 1.0
    neck_lr: NotNegative = 1.0
    decoder_lr: NotNegative = 1.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Count = 100
    final_lr: Share = 0.01
    clip: NotNegative = 1.0
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.999


class Stage(Section, tag_field="kind", frozen=True):
    """What every kind of stage has.

    Attributes:
        steps: optimiser steps.
        batch_size: images a step on one process.
        image_size: side of the input in this stage; 0 takes the model's.
        lr: factor on the recipe's learning rate.
    """

    steps: PositiveInt
    batch_size: PositiveInt = 8
    image_size: Annotated[int, Meta(ge=0, multiple_of=32)] = 0
    lr: Positive = 1.0


class FeaturesStage(Stage, tag="features", frozen=True, kw_only=True):
    """The student's embeddings to a teacher's, on any images.

    Attributes:
        teacher: a checkpoint of samedge or a name of the model zoo.
        teacher_size: side of the teacher's input; 0 takes the student's.
        loss: ``mse`` or ``huber`` over the positions that are not padding.
        flip: also learn from mirrored images (their embeddings are cached too).
    """

    teacher: str
    teacher_size: Annotated[int, Meta(ge=0, multiple_of=32)] = 0
    loss: Literal["mse", "huber"] = "mse"
    flip: bool = False


class PromptsStage(Stage, tag="prompts", frozen=True):
    """The student through its decoder, on simulated prompts.

    Attributes:
        encoder: ``train``, or ``frozen``.
        decoder: ``train``; ``finetune`` at a tenth of the rate; ``frozen``.
        clicks: corrective clicks after the first prompt, drawn from the error region.
        prompts: how prompts are drawn, see ``samedge.distill.prompts.PromptConfig``.
        masks: ``ground_truth``, or ``teacher``: the teacher's own masks for the same prompts.
        teacher: a checkpoint of samedge or a name of the model zoo.
        distill: weight of the loss of the student's logits against the teacher's.
        losses: weights of the other losses, see ``samedge.distill.losses.LossConfig``.
    """

    encoder: Literal["train", "frozen"] = "train"
    decoder: Training = "train"
    clicks: Count = 2
    prompts: PromptConfig = PromptConfig()
    masks: Literal["ground_truth", "teacher"] = "ground_truth"
    teacher: str = ""
    distill: NotNegative = 0.0
    losses: LossConfig = LossConfig()


class MaeStage(Stage, tag="mae", frozen=True):
    """Masked-autoencoder pretraining of a ViT encoder (He et al., 2021) on any images.

    Attributes:
        hidden: share of the patches that the encoder does not see.
        decoder_dim, decoder_depth, decoder_heads: the light decoder that is thrown away.
        normalize: predict every patch's pixels at mean 0 and variance 1.
    """

    hidden: Annotated[float, Meta(gt=0, lt=1)] = 0.75
    decoder_dim: PositiveInt = 256
    decoder_depth: PositiveInt = 2
    decoder_heads: PositiveInt = 8
    normalize: bool = True


AnyStage = FeaturesStage | PromptsStage | MaeStage


class Run(Section, frozen=True):
    """How the run is carried out; changing it changes no weight except through rounding.

    Attributes:
        seed: of everything random.
        precision: ``bf16`` autocast or ``fp32``.
        checkpoint_minutes: most minutes of work that a lost machine costs.
        eval_every: steps between evaluations on the held-out photos, each with a picture.
        log_every: steps between lines of the log.
        workers: processes that load data; 0 loads in the training process.
        threads: of torch; 0 takes torch's own choice.
        channels_last: memory format of the encoder.
    """

    seed: Count = 0
    precision: Literal["bf16", "fp32"] = "fp32"
    checkpoint_minutes: Positive = 1.0
    eval_every: PositiveInt = 500
    log_every: PositiveInt = 10
    workers: Count = 1
    threads: Count = 0
    channels_last: bool = True


class Recipe(Section, frozen=True, kw_only=True):
    """A whole recipe.

    Attributes:
        name: of the model that it makes; letters, digits, dots and dashes.
        summary: one sentence for people.
        licence: of the weights that it makes.
        stage: the stages, in order.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$")]
    summary: str = ""
    licence: str = ""
    model: Model
    data: Data
    optim: Optim = Optim()
    stage: Annotated[list[AnyStage], Meta(min_length=1)]
    run: Run = Run()

    def stage_size(self, index: int) -> int:
        """Side of the input in stage ``index``, in pixels."""
        return self.stage[index].image_size or self.model.image_size
