"""SAM's decoder as the Neural Engine wants it: the same numbers, four axes, the long axis last.

Tokens are (B, 1, T, C) and the image is (B, 1, C, P) with its P positions last, so that attention
maps are (B, heads, T, P) and no axis pads. A head is an axis of the weights: products broadcast
over it, and neither queries nor keys are ever taken apart. The cross attention's projections are
absorbed into the tokens, as for other targets (see ``absorbed``), which leaves every
product with an image on one side and a handful of tokens on the other. Convolutions stay
convolutions, on image-shaped tensors. All of it is exact up to the order of sums.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from samedge.models.forms.absorbed import HeadProjections
from samedge.models.layers import MLP
from samedge.models.mask_decoder import TwoWayLayer
from samedge.models.parted import PartedDecoder, PointsPart
from samedge.models.prompt_encoder import MASKED_BIAS, PromptEncoder
from samedge.models.sam import Sam
from samedge.types import BACKGROUND, BOX_TOP_LEFT, PADDING

_LABELS = 4
_MOST_POINTS = 256


class PlanarSamDecoder(PartedDecoder):
    """Everything after the image encoder, equal to ``Sam.decode`` up to rounding, for one image.

    Args:
        model: where the weights come from; it stays as it is.
    """

    output_tokens: Tensor

    def __init__(self, model: Sam) -> None:
        super().__init__()
        decoder, prompts = model.mask_decoder, model.prompt_encoder
        self.side, self.num_masks = model.image_size // 16, decoder.num_masks
        self.prompts = SamPoints(prompts)
        self.mask_downscaling = prompts.mask_downscaling
        self.no_mask = prompts.no_mask_embedding
        self.grid = prompts.grid
        tokens = decoder.output_tokens.detach().clone()[None, None]
        self.register_buffer("output_tokens", tokens)
        self.layers = nn.ModuleList(_Layer(layer) for layer in _layers(decoder.transformer.layers))
        self.final_token_to_image = _TokensReadImage(decoder.transformer.final_token_to_image)
        self.norm_final = decoder.transformer.norm_final
        self.upscaling = decoder.upscaling
        self.hypernetworks = _Side(list(decoder.hypernetworks))  # type: ignore[arg-type]
        self.iou_head = decoder.iou_head

    def decode(
        self, image_embeddings: Tensor, mask_input: Tensor, has_mask_input: Tensor, *points: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same from the outputs of ``prompts``."""
        image = image_embeddings + self._dense(mask_input, has_mask_input)
        channels, cells = image.shape[1], self.side * self.side
        tokens, image = self._transform(image.view(-1, 1, channels, cells), *points)
        grid = image.view(-1, channels, self.side, self.side)
        return self._masks(tokens, self.upscaling(grid)), self._quality(tokens)

    def _dense(self, mask_input: Tensor, has_mask_input: Tensor) -> Tensor:
        has = has_mask_input.view(-1, 1, 1, 1)
        dense: Tensor = self.mask_downscaling(mask_input)
        return has * dense + (1.0 - has) * self.no_mask[:, :, None, None]

    def _transform(self, image: Tensor, prompts: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        batch = prompts.shape[0]
        tokens = token_pe = torch.cat([self.output_tokens.expand(batch, -1, -1, -1), prompts], 2)
        unmasked = torch.zeros(batch, 1, 1 + self.num_masks, 1)
        image_bias = torch.cat([unmasked, bias], 2)  # (B, 1, T, 1)
        token_bias = image_bias.transpose(2, 3)  # (B, 1, 1, T)
        image_pe = self.grid().flatten(2).unsqueeze(1)
        for layer in self.layers:
            tokens, image = layer(
                tokens, image, pe=(token_pe, image_pe), bias=(token_bias, image_bias)
            )
        update = self.final_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final(tokens + update), image

    def _masks(self, tokens: Tensor, upscaled: Tensor) -> Tensor:
        weights = self.hypernetworks(tokens[:, 0, 1 : 1 + self.num_masks].unsqueeze(2))
        channels, height, width = upscaled.shape[1:]
        rows = upscaled.view(-1, 1, channels, height * width)
        logits: Tensor = weights.view(-1, 1, self.num_masks, channels) @ rows
        return logits.view(-1, self.num_masks, height, width)

    def _quality(self, tokens: Tensor) -> Tensor:
        quality: Tensor = self.iou_head(tokens[:, 0, 0])
        return quality


def _layers(layers: nn.ModuleList) -> list[TwoWayLayer]:
    return [layer for layer in layers if isinstance(layer, TwoWayLayer)]


class SamPoints(PointsPart):
    """Points to tokens and to what keeps padding out of the attention.

    A cosine is a sine a quarter turn on, and a label's embedding is a product with its one-hot
    code, so that nothing is concatenated.
    """

    output_names = ("prompt_tokens", "prompt_bias")
    turns: Tensor
    phase: Tensor
    kinds: Tensor
    embeddings: Tensor

    def __init__(self, encoder: PromptEncoder) -> None:
        super().__init__()
        self.image_size = encoder.image_size
        gaussian = encoder.position.gaussian.detach()
        half = gaussian.shape[1]
        self.register_buffer("turns", (2.0 * math.pi) * torch.cat([gaussian, gaussian], 1))
        phase = torch.cat([torch.zeros(half), torch.full((half,), math.pi / 2)])
        self.register_buffer("phase", phase.view(1, 1, 1, -1))
        kinds = torch.tensor([float(kind) for kind in (*range(_LABELS), PADDING)])
        self.register_buffer("kinds", kinds.view(1, 1, 1, -1))
        rows = [encoder.label_embeddings.detach(), encoder.padding_embedding.detach()]
        self.register_buffer("embeddings", torch.cat(rows, 0))

    def forward(self, point_coords: Tensor, point_labels: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, N, 2) points and (B, N) labels to (B, 1, N, C) tokens and a (B, 1, N, 1) bias."""
        labels = point_labels.view(point_labels.shape[0], 1, -1, 1)
        unit = (point_coords.unsqueeze(1) + 0.5) * (2.0 / self.image_size) - 1.0
        position = torch.sin(unit @ self.turns + self.phase)
        code = (labels == self.kinds).to(position.dtype)
        inside = (labels >= 0).to(position.dtype)
        return inside * position + code @ self.embeddings, _token_bias(labels)

    def output_shapes(self, batch: int, count: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of the outputs for N points, in order."""
        return (batch, 1, count, self.turns.shape[1]), (batch, 1, count, 1)


def _token_bias(labels: Tensor) -> Tensor:
    """As ``prompt_encoder.token_bias``, for (B, 1, N, 1) labels."""
    padding = (labels == PADDING).to(labels.dtype)
    # How many came before, as a sum over a window that reaches back to the first, whatever N is.
    window = nn.functional.pad(padding, (0, 0, _MOST_POINTS - 1, 0))
    before = nn.functional.conv2d(window, torch.ones(1, 1, _MOST_POINTS, 1)) - padding
    repeated = before.clamp(0.0, 1.0)
    largest = labels.amax(dim=2, keepdim=True)
    without = (largest >= BOX_TOP_LEFT).to(labels.dtype) + (largest < BACKGROUND).to(labels.dtype)
    surplus = (repeated + without).clamp(max=1.0) * padding
    return (surplus + (labels < PADDING).to(labels.dtype)) * MASKED_BIAS


class _TokensAttend(HeadProjections):
    """Self-attention of a few tokens."""

    def forward(self, queries: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Map (B, 1, T, C) to the same; ``bias`` is (B, 1, 1, T)."""
        q = queries @ self.q_weight + self.q_bias  # (B, H, T, d)
        k = queries @ self.k_weight + self.k_bias
        attention = torch.softmax(q @ k.transpose(2, 3) + bias, dim=3)
        mixed = attention @ (values @ self.v_weight + self.v_bias)
        return (mixed @ self.out_weight).sum(1, keepdim=True) + self.out_bias


class _TokensReadImage(HeadProjections):
    """Cross attention from few tokens to many positions."""

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from (B, 1, T, C) tokens to (B, 1, C, P) positions; (B, 1, T, C)."""
        queries = (tokens @ self.q_weight + self.q_bias) @ self.k_weight.transpose(1, 2)
        attention = torch.softmax(queries @ keys, dim=3)  # (B, H, T, P)
        mixed = (attention @ values.transpose(2, 3)) @ self.v_weight + self.v_bias
        return (mixed @ self.out_weight).sum(1, keepdim=True) + self.out_bias


class _ImageReadsTokens(HeadProjections):
    """Cross attention from many positions to few tokens."""

    def forward(self, image: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Attend from (B, 1, C, P) positions to (B, 1, T, C) tokens; (B, 1, C, P)."""
        batch, channels, positions = image.shape[0], image.shape[2], image.shape[3]
        projected = keys @ self.k_weight + self.k_bias  # (B, H, T, d)
        offset = (projected * self.q_bias).sum(3, keepdim=True) + bias
        scores = (projected @ self.q_weight.transpose(1, 2)) @ image + offset  # (B, H, T, P)
        # A head's weights sum to one, so each value may carry a head's share of the output's bias.
        carried = (values @ self.v_weight + self.v_bias) @ self.out_weight
        carried = carried + self.out_bias / self.heads
        attention = torch.softmax(scores, dim=2).reshape(batch, 1, -1, positions)
        return carried.reshape(batch, 1, -1, channels).transpose(2, 3) @ attention


class _RowNorm(nn.Module):
    """Layer normalisation over the channels of (B, 1, C, P)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        self.register_buffer("weight", norm.weight.detach().view(1, 1, -1, 1))
        self.register_buffer("bias", norm.bias.detach().view(1, 1, -1, 1))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(2, keepdim=True)
        variance = (centred * centred).mean(2, keepdim=True)
        return centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias


class _Layer(nn.Module):
    """A two-way layer."""

    def __init__(self, layer: TwoWayLayer) -> None:
        super().__init__()
        self.is_first = layer.is_first
        self.mlp = layer.mlp
        self.norm1, self.norm2, self.norm3 = layer.norm1, layer.norm2, layer.norm3
        self.norm4 = _RowNorm(layer.norm4)
        self.self_attn = _TokensAttend(layer.self_attn)
        self.token_to_image = _TokensReadImage(layer.token_to_image)
        self.image_to_token = _ImageReadsTokens(layer.image_to_token)

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        *,
        pe: tuple[Tensor, Tensor],
        bias: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Update tokens and image; ``pe`` and ``bias`` are each the tokens' and the image's."""
        token_pe, image_pe = pe
        token_bias, image_bias = bias
        if self.is_first:
            tokens = self.self_attn(tokens, tokens, token_bias)
        else:
            tokens = tokens + self.self_attn(tokens + token_pe, tokens, token_bias)
        tokens = self.norm1(tokens)
        keys = image + image_pe
        tokens = self.norm2(tokens + self.token_to_image(tokens + token_pe, keys, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        update = self.image_to_token(keys, tokens + token_pe, tokens, image_bias)
        return tokens, self.norm4(image + update)


class _Side(nn.Module):
    """MLPs of one shape side by side: one product a layer, whatever their number.

    Args:
        mlps: where the weights come from.
    """

    def __init__(self, mlps: list[MLP]) -> None:
        super().__init__()
        self.depth = len(mlps[0].layers)
        for index in range(self.depth):
            layers = [mlp.layers[index] for mlp in mlps]
            weight = torch.stack([layer.weight.detach().t() for layer in layers])  # type: ignore[operator]
            bias = torch.stack([layer.bias.detach() for layer in layers])  # type: ignore[operator]
            self.register_buffer(f"weight{index}", weight)
            self.register_buffer(f"bias{index}", bias.unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, M, 1, C), a row for each MLP, to (B, M, 1, C')."""
        for index in range(self.depth):
            x = x @ self.get_buffer(f"weight{index}") + self.get_buffer(f"bias{index}")
            if index < self.depth - 1:
                x = torch.relu(x)
        return x
