"""The graphs that are exported: names, dtypes and shapes of everything that crosses their edges.

Each graph is a module that knows its inputs, its outputs, an example to trace it with, and which
axes may vary. Exporters turn any of them into their format without knowing what it computes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samedge.bundle.manifest import TensorRecord
from samedge.export.deployed import DeployedDecoder
from samedge.models.painted import PaintedSam
from samedge.models.prompt_encoder import GridEncoding
from samedge.models.promptable import PromptableModel
from samedge.models.sam import Sam
from samedge.models.windows import Constant, GridBlock
from samedge.pixels.prompts import Bucket

DynamicAxes = Mapping[str, Mapping[int, str]]
_FIXED: DynamicAxes = MappingProxyType({})
_PROMPT_AXES: DynamicAxes = MappingProxyType(
    {
        "point_coords": {0: "batch", 1: "points"},
        "point_labels": {0: "batch", 1: "points"},
        "mask_input": {0: "batch"},
        "has_mask_input": {0: "batch"},
        "low_res_masks": {0: "batch"},
        "iou_predictions": {0: "batch"},
    }
)
_EMBED_DIM = 256
_SINGLE_MASK_THRESHOLD = 2.5
"""Meta's rule: three points or more (their padding point included) leave no ambiguity."""


class Graph(nn.Module, ABC):
    """A module with named inputs and outputs.

    Attributes:
        role: what the artifact is in a bundle, such as ``"encoder"``.
        output_names: names of the outputs, in order.
        dynamic_axes: names of the axes that may vary, by input and output.
        is_native: whether it is one of samedge's own; another project's dialect is not.
    """

    role: ClassVar[str]
    output_names: ClassVar[tuple[str, ...]]
    is_native: ClassVar[bool] = True
    dynamic_axes: DynamicAxes = _FIXED

    @abstractmethod
    def example(self) -> dict[str, Tensor]:
        """Inputs by name, in the order of ``forward``, with every dynamic axis above one."""

    @abstractmethod
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the outputs for the example, in order."""

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

    def _record(self, name: str, dtype: str, shape: tuple[int, ...]) -> TensorRecord:
        axes = self.dynamic_axes.get(name, {})
        return TensorRecord(name, dtype, [axes.get(i, size) for i, size in enumerate(shape)])


class EncoderGraph(Graph):
    """``image`` (1, S, S, 3) uint8 RGB to ``image_embeddings`` (1, C, S/16, S/16) float32.

    Normalisation is inside. Its standard deviation could be folded into the first convolution, but
    runtimes fuse the two element-wise steps with the conversion from uint8, so nothing would be
    gained; its mean could not, because padding is zero after it.

    Args:
        model: whose encoder it is.
    """

    role = "encoder"
    output_names = ("image_embeddings",)

    def __init__(self, model: PromptableModel) -> None:
        super().__init__()
        self.normalize: nn.Module = model.normalize
        self.image_encoder = model.image_encoder
        self.image_size, self.embed_dim = model.image_size, embed_dim(model)

    def forward(self, image: Tensor) -> Tensor:
        """Embed one padded picture."""
        embeddings: Tensor = self.image_encoder(self.normalize(image))
        return embeddings

    def example(self) -> dict[str, Tensor]:
        """A grey ramp."""
        ramp = torch.arange(self.image_size, dtype=torch.float32) * (255.0 / self.image_size)
        shape = (1, self.image_size, self.image_size, 3)
        return {"image": ramp.view(1, -1, 1, 1).expand(shape).to(torch.uint8)}

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One embedding."""
        return ((1, self.embed_dim, self.image_size // 16, self.image_size // 16),)


class DecoderGraph(Graph):
    """Prompts and an image embedding to four masks: the five inputs and two outputs of samedge.

    Args:
        model: whose decoder it is. SAM's is rewritten for speed (see ``deployed``), any other is
            taken as it is.
        bucket: fixed ``(B, N)``; ``None`` leaves both dynamic.
        centred: as of :class:`~samedge.export.deployed.DeployedDecoder`.
    """

    role = "decoder"
    output_names = ("low_res_masks", "iou_predictions")

    def __init__(
        self, model: PromptableModel, *, bucket: Bucket | None = None, centred: bool = False
    ) -> None:
        super().__init__()
        self.decoder: nn.Module = (
            DeployedDecoder(model, centred=centred) if isinstance(model, Sam) else _Decode(model)
        )
        self.bucket = bucket
        self.image_size = model.image_size
        self.embed_dim = embed_dim(model)
        self.dynamic_axes = _FIXED if bucket else _PROMPT_AXES

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompts on one image; arguments as of ``PromptableModel.decode``."""
        masks, quality = self.decoder(
            image_embeddings, point_coords, point_labels, mask_input, has_mask_input
        )
        return masks, quality

    def example(self) -> dict[str, Tensor]:
        """Points along the diagonal, no mask."""
        batch, count = self.bucket or (2, 3)
        return _prompt_example(self.image_size, self.embed_dim, batch, count)

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Four masks a prompt and their estimated IoU."""
        batch, side = (self.bucket or (2, 3))[0], self.image_size // 4
        return (batch, 4, side, side), (batch, 4)


class MetaDecoderGraph(Graph):
    """The inputs and outputs of Meta's own SAM ONNX export, for programs that were written for it.

    One prompt of N points; masks come out at the original size, with the single best mask chosen
    inside (``--return-single-mask`` of Meta's script, as in their example notebook).

    Args:
        model: whose decoder it is.
    """

    role = "meta_decoder"
    is_native = False
    output_names = ("masks", "iou_predictions", "low_res_masks")
    dynamic_axes: DynamicAxes = MappingProxyType(
        {
            "point_coords": {1: "num_points"},
            "point_labels": {1: "num_points"},
            "masks": {2: "height", 3: "width"},
        }
    )

    def __init__(self, model: PromptableModel) -> None:
        super().__init__()
        self.is_sam = isinstance(model, Sam)
        self.decoder: nn.Module = (
            DeployedDecoder(model) if isinstance(model, Sam) else _Decode(model)
        )
        self.image_size = model.image_size
        self.embed_dim = embed_dim(model)

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode one prompt.

        Args:
            image_embeddings: (1, C, S/16, S/16).
            point_coords: (1, N, 2) xy pixels of the S x S input.
            point_labels: (1, N); every -1 counts as Meta's padding point.
            mask_input: (1, 1, S/4, S/4).
            has_mask_input: (1,).
            orig_im_size: (2,) float, height and width of the original image.

        Returns:
            ``masks`` (1, 1, H, W) logits, ``iou_predictions`` (1, 1), ``low_res_masks``
            (1, 1, S/4, S/4).
        """
        prompt = (point_coords, point_labels, mask_input, has_mask_input)
        # Meta's graph masks no token out.
        extra = {"bias": torch.zeros_like(point_labels)} if self.is_sam else {}
        low_res, quality = self.decoder(image_embeddings, *prompt, **extra)
        low_res, quality = _single_mask(low_res, quality, point_labels)
        return self._original_size(low_res, orig_im_size), quality, low_res

    def _original_size(self, low_res: Tensor, orig_im_size: Tensor) -> Tensor:
        side = self.image_size
        masks = F.interpolate(low_res, size=(side, side), mode="bilinear", align_corners=False)
        unpadded = torch.floor(orig_im_size * (side / orig_im_size.max()) + 0.5).to(torch.int64)
        masks = masks[..., : unpadded[0], : unpadded[1]]
        size = orig_im_size.to(torch.int64)
        return F.interpolate(
            masks,
            size=(size[0], size[1]),  # type: ignore[arg-type]
            mode="bilinear",
            align_corners=False,
        )

    def example(self) -> dict[str, Tensor]:
        """Points along the diagonal of a landscape picture."""
        example = _prompt_example(self.image_size, self.embed_dim, 1, 5)
        return {**example, "orig_im_size": torch.tensor([1500.0, 2250.0])}

    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One mask at the original size, its estimated IoU, and its low-res logits."""
        side = self.image_size // 4
        return (1, 1, 1500, 2250), (1, 1), (1, 1, side, side)


class _Decode(nn.Module):
    """A model's ``decode`` as the forward of a module that does not hold the image encoder."""

    def __init__(self, model: PromptableModel) -> None:
        super().__init__()
        for name, module in model.named_children():
            if name not in ("image_encoder", "normalize"):
                self.add_module(name, module)
        self._decode = type(model).decode

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self._decode(self, *inputs)  # type: ignore[arg-type]


def embed_dim(model: PromptableModel) -> int:
    """Channels C of a model's image embedding."""
    if isinstance(model, Sam):
        return int(model.prompt_encoder.padding_embedding.shape[1])
    if isinstance(model, PaintedSam):
        return model.decoder.config.embed_dim
    return _EMBED_DIM


def _single_mask(masks: Tensor, quality: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The mask that Meta's export returns: number 0 for three points or more, else the best."""
    first = torch.zeros_like(quality)
    first[:, 0] = 1000.0
    rank = quality + (labels.shape[1] - _SINGLE_MASK_THRESHOLD) * first
    best = rank.argmax(dim=1, keepdim=True)
    index = best.view(-1, 1, 1, 1).expand(-1, -1, masks.shape[2], masks.shape[3])
    return masks.gather(1, index), quality.gather(1, best)


def _prompt_example(side: int, channels: int, batch: int, count: int) -> dict[str, Tensor]:
    steps = torch.linspace(0.25, 0.75, batch * count).view(batch, count, 1)
    return {
        "image_embeddings": torch.linspace(-1.0, 1.0, channels)
        .view(1, -1, 1, 1)
        .expand(1, channels, side // 16, side // 16)
        .contiguous(),
        "point_coords": (steps * side).expand(batch, count, 2).contiguous(),
        "point_labels": torch.ones(batch, count),
        "mask_input": torch.zeros(batch, 1, side // 4, side // 4),
        "has_mask_input": torch.zeros(batch),
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
