"""The graphs that are exported: names, dtypes and shapes of everything that crosses their edges.

Each graph is a module that knows its inputs, its outputs, an example to trace it with, and which
axes may vary. Exporters turn any of them into their format without knowing what it computes.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from samedge.bundle.manifest import Shape, TensorRecord
from samedge.models.decoders import deployed_decoder
from samedge.models.prompt_encoder import GridEncoding
from samedge.models.promptable import PromptableModel
from samedge.models.windows import Constant, GridBlock
from samedge.models.words.base import WordModel
from samedge.pixels.prompts import Bucket
from samedge.predict.words.tokenizer import CONTEXT
from samedge.types import (
    HAS_MASK_INPUT,
    IMAGE,
    IMAGE_EMBEDDINGS,
    IOU_PREDICTIONS,
    LOW_RES_MASKS,
    MASK_INPUT,
    POINT_COORDS,
    POINT_LABELS,
    PROMPT_TENSORS,
    REGION_EMBEDDINGS,
    REGIONS,
    TEXT_EMBEDDINGS,
    TOKENS,
    Role,
)

DynamicAxes = Mapping[str, Mapping[int, str]]
_FIXED: DynamicAxes = MappingProxyType({})
_PROMPT_AXES: DynamicAxes = MappingProxyType(
    {
        POINT_COORDS: {0: "batch", 1: "points"},
        POINT_LABELS: {0: "batch", 1: "points"},
        MASK_INPUT: {0: "batch"},
        HAS_MASK_INPUT: {0: "batch"},
        LOW_RES_MASKS: {0: "batch"},
        IOU_PREDICTIONS: {0: "batch"},
    }
)
_TEXT_START = 49_406  # CLIP's mark before a text; the one after it is the next id


class Graph(nn.Module, ABC):
    """A module with named inputs and outputs.

    Attributes:
        role: what it is for in a bundle.
        output_names: names of the outputs, in order.
        dynamic_axes: names of the axes that may vary, by input and output.
        prompt_axes: axes that follow the number of prompts or points, whether they may vary or not.
    """

    role: ClassVar[Role]
    output_names: tuple[str, ...]
    dynamic_axes: DynamicAxes = _FIXED
    prompt_axes: DynamicAxes = _FIXED

    @property
    def is_native(self) -> bool:
        """Whether it is one of samedge's own; another project's dialect is not."""
        return self.role.is_own

    @abstractmethod
    def example(self) -> dict[str, Tensor]:
        """Inputs by name, in the order of ``forward``, with every dynamic axis above one."""

    @abstractmethod
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the outputs for the example, in order."""

    def companions(self, name: str) -> dict[str, str]:
        """Files of text that go with the graph: their content by name; none unless overridden.

        Args:
            name: of the model.
        """
        del name
        return {}

    def input_records(self) -> list[TensorRecord]:
        """Names, dtypes and shapes of the inputs, as the manifest holds them."""
        return [
            self._record(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
            for name, tensor in self.example().items()
        ]

    def output_records(self) -> list[TensorRecord]:
        """Names, dtypes and shapes of the outputs, as the manifest holds them."""
        shapes = zip(self.output_names, self.output_shapes(), strict=True)
        return [self._record(name, "float32", shape) for name, shape in shapes]

    def shapes(self, buckets: Sequence[Bucket]) -> list[Shape]:
        """Every set of shapes that the graph is run with: those of the inputs that follow the
        prompts, for each ``(B, N)``; none for a graph that prompts do not reach.
        """
        inputs = {name: list(self.example()[name].shape) for name in self._prompt_inputs()}
        return [_sized(inputs, self.prompt_axes, bucket) for bucket in buckets if inputs]

    def _prompt_inputs(self) -> list[str]:
        return [name for name in self.example() if name in self.prompt_axes]

    def _record(self, name: str, dtype: str, shape: tuple[int, ...]) -> TensorRecord:
        axes = self.dynamic_axes.get(name, {})
        return TensorRecord(name, dtype, [axes.get(i, size) for i, size in enumerate(shape)])


class EncoderGraph(Graph):
    """``image`` (1, S, S, 3) uint8 RGB to the model's embedding, float32.

    That is ``image_embeddings`` (1, C, S/16, S/16), and whatever else the model names. Its modules
    have the names that they have in the model, which precision plans use.

    Normalisation is inside. Its standard deviation could be folded into the first convolution, but
    runtimes fuse the two element-wise steps with the conversion from uint8, so nothing would be
    gained; its mean could not, because padding is zero after it.

    Args:
        model: whose encoder it is.
    """

    role = Role.ENCODER
    normalize: nn.Module
    image_encoder: nn.Module

    def __init__(self, model: PromptableModel) -> None:
        super().__init__()
        for name in model.encoder_parts:
            self.add_module(name, getattr(model, name))
        self.image_size = model.image_size
        self.output_names = self.embedding_names = model.embedding_names
        self._shapes = model.embedding_shapes()
        self._embed, self._encode = type(model).embed, type(model).encode

    def encode(self, image: Tensor) -> Tensor:
        """As of the model, whose ``embed`` may call it."""
        return self._encode(self, image)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Embed one padded picture."""
        found = self._embed(self, image)  # type: ignore[arg-type]
        tensors = tuple(found[name] for name in self.output_names)
        return tensors[0] if len(tensors) == 1 else tensors

    def example(self) -> dict[str, Tensor]:
        """A grey ramp."""
        ramp = torch.arange(self.image_size, dtype=torch.float32) * (255.0 / self.image_size)
        shape = (1, self.image_size, self.image_size, 3)
        return {IMAGE: ramp.view(1, -1, 1, 1).expand(shape).to(torch.uint8)}

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The model's own."""
        return tuple(self._shapes[name] for name in self.output_names)


class DecoderGraph(Graph):
    """An image's embedding and prompts to four masks: samedge's inputs and two outputs.

    The embedding's tensors come first, under the model's names for them.

    Args:
        model: whose decoder it is; it is written as its plug-in says (see
            ``samedge.models.decoders``).
        bucket: fixed ``(B, N)``; ``None`` leaves both dynamic.
        centred: as of ``Decoder.deployed``.
    """

    role = Role.DECODER
    output_names = (LOW_RES_MASKS, IOU_PREDICTIONS)
    prompt_axes = _PROMPT_AXES

    def __init__(
        self, model: PromptableModel, *, bucket: Bucket | None = None, centred: bool = False
    ) -> None:
        super().__init__()
        self.decoder: nn.Module = deployed_decoder(model, centred=centred)
        self.bucket = bucket
        self.image_size = model.image_size
        self.embedding = model.embedding_shapes()
        self.dynamic_axes = _FIXED if bucket else _PROMPT_AXES
        if model.embedding_names != (IMAGE_EMBEDDINGS,):
            named = _named(
                lambda *inputs: self.decoder(*inputs), (*model.embedding_names, *PROMPT_TENSORS)
            )
            self.forward = named  # type: ignore[method-assign]

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompts on one image; arguments as of ``PromptableModel.decode``.

        A model with other ``embedding_names`` has those in the place of ``image_embeddings``.
        """
        masks, quality = self.decoder(
            image_embeddings, point_coords, point_labels, mask_input, has_mask_input
        )
        return masks, quality

    def example(self) -> dict[str, Tensor]:
        """Points along the diagonal, no mask."""
        batch, count = self.bucket or (2, 3)
        return prompt_example(self.image_size, self.embedding, batch=batch, count=count)

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Four masks a prompt and their estimated IoU."""
        batch, side = (self.bucket or (2, 3))[0], self.image_size // 4
        return (batch, 4, side, side), (batch, 4)


class RegionGraph(Graph):
    """``regions`` (B, S, S, 3) uint8 RGB crops to ``region_embeddings`` (B, D) float32.

    Args:
        model: of words.
        batch: fixed number of crops; ``None`` leaves it open.
    """

    role = Role.REGION_ENCODER
    output_names = (REGION_EMBEDDINGS,)

    def __init__(self, model: WordModel, *, batch: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.batch = batch
        axes = {REGIONS: {0: "batch"}, REGION_EMBEDDINGS: {0: "batch"}}
        self.dynamic_axes = _FIXED if batch else axes

    def forward(self, regions: Tensor) -> Tensor:
        """Embed B crops."""
        return self.model.embed_regions(regions)

    def example(self) -> dict[str, Tensor]:
        """Grey ramps."""
        side = self.model.side
        ramp = torch.arange(side, dtype=torch.float32) * (255.0 / side)
        shape = (self.batch or 2, side, side, 3)
        return {REGIONS: ramp.view(1, -1, 1, 1).expand(shape).to(torch.uint8).contiguous()}

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One embedding a crop."""
        return ((self.batch or 2, self.model.width),)


class TextGraph(Graph):
    """``tokens`` (1, 77) int32 to ``text_embeddings`` (1, D) float32.

    Args:
        model: of words, one that reads text.
    """

    role = Role.TEXT_ENCODER
    output_names = (TEXT_EMBEDDINGS,)

    def __init__(self, model: WordModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed one text."""
        return self.model.embed_text(tokens)

    def example(self) -> dict[str, Tensor]:
        """A short text between its marks."""
        return {TOKENS: text_example()}

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One embedding."""
        return ((1, self.model.width),)


def text_example(first: int = 320) -> Tensor:
    """(1, 77) int32 ids of a text of three tokens, from an id on."""
    tokens = torch.zeros(1, CONTEXT, dtype=torch.int32)
    tokens[0, :5] = torch.tensor([_TEXT_START, first, first + 1, first + 2, _TEXT_START + 1])
    return tokens


def _named(
    decode: Callable[..., tuple[Tensor, Tensor]], names: Sequence[str]
) -> Callable[..., tuple[Tensor, Tensor]]:
    """A forward with the inputs of ``names``, which torch's exporters read from its signature."""

    def forward(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        masks, quality = decode(*inputs)
        return masks, quality

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind, annotation=Tensor) for name in names]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return forward


def _sized(
    inputs: Mapping[str, Sequence[int]], axes: DynamicAxes, bucket: Bucket
) -> dict[str, list[int]]:
    sizes = dict(zip(("batch", "points"), bucket, strict=True))
    return {
        name: [sizes.get(axes[name].get(i, ""), size) for i, size in enumerate(shape)]
        for name, shape in inputs.items()
    }


def prompt_example(
    side: int, embedding: Mapping[str, tuple[int, ...]], *, batch: int, count: int
) -> dict[str, Tensor]:
    """A decoder's inputs: ramps for the embedding, points along the diagonal, no mask.

    Args:
        side: S, pixels.
        embedding: shapes of the model's embedding by name.
        batch: prompts.
        count: points of each.
    """
    steps = torch.linspace(0.25, 0.75, batch * count).view(batch, count, 1)
    ramps = {
        name: torch.linspace(-1.0, 1.0, shape[1]).view(1, -1, 1, 1).expand(shape).contiguous()
        for name, shape in embedding.items()
    }
    return {
        **ramps,
        POINT_COORDS: (steps * side).expand(batch, count, 2).contiguous(),
        POINT_LABELS: torch.ones(batch, count),
        MASK_INPUT: torch.zeros(batch, 1, side // 4, side // 4),
        HAS_MASK_INPUT: torch.zeros(batch),
    }


@contextmanager
def folded(graph: nn.Module) -> Iterator[None]:
    """Let what depends on weights alone be a constant of the graph while it is exported.

    The positional encoding of the grid is left to the runtime, which folds it when it loads: it
    would make a decoder file a quarter larger.
    """
    constants = [
        module
        for module in graph.modules()
        if isinstance(module, Constant) and not isinstance(module, GridEncoding)
    ]
    before = [module.folded for module in constants]
    try:
        with torch.no_grad():
            for module in constants:
                module.fold()
        yield
    finally:
        for module, value in zip(constants, before, strict=True):
            module.folded = value


@contextmanager
def flat(graph: nn.Module) -> Iterator[None]:
    """Let residual streams have three axes while a graph is exported.

    For OpenVINO: it takes sums with four axes for images, keeps them in the order of its
    convolutions, and reorders them for every product beside them, which is a quarter of the time of
    a TinyViT block. Core ML's Neural Engine wants the four axes.
    """
    blocks = [module for module in graph.modules() if isinstance(module, GridBlock)]
    try:
        for block in blocks:
            block.is_flat = True
        yield
    finally:
        for block in blocks:
            block.is_flat = False
