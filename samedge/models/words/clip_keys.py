"""Names of a CLIP's weights: open_clip's, its custom-text form, and transformers', to samedge's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

_TEXT_PARTS = (
    "token_embedding.weight",
    "positional_embedding",
    "transformer.",
    "ln_final.",
    "text_projection",
)
_DERIVED = re.compile(r"(^|\.)(attn_mask|position_ids)$")
_BLOCK = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)")
_IN_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_WHOLE = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
    "text_model.final_layer_norm.weight": "text.ln_final.weight",
    "text_model.final_layer_norm.bias": "text.ln_final.bias",
    "logit_scale": "logit_scale",
}
_TURNED = {
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text.text_projection",
}
_TOWERS = {"vision": "visual", "text": "text"}


def samedge_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a CLIP under the names of :class:`samedge.models.words.clip.ClipModel`.

    Args:
        weights: as open_clip or transformers name them; what is computed anyway is left out.
    """
    kept = {name: tensor for name, tensor in weights.items() if not _DERIVED.search(name)}
    if any(name.startswith("vision_model.") for name in kept):
        return dict(_from_transformers(kept))
    return {_from_open_clip(name): tensor for name, tensor in kept.items()}


def _from_open_clip(name: str) -> str:
    return f"text.{name}" if name.startswith(_TEXT_PARTS) else name


def _from_transformers(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights.items():
        block = _BLOCK.fullmatch(name)
        if name in _TURNED:
            yield _TURNED[name], tensor.T.contiguous()
        elif block is None:
            yield _WHOLE.get(name, name), tensor
        else:
            yield from _of_block(block, tensor, weights)


def _of_block(
    block: re.Match[str], tensor: Tensor, weights: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """One parameter of a block; query, key and value become one."""
    tower, index, part = block.groups()
    target = f"{_TOWERS[tower]}.transformer.resblocks.{index}"
    layer, _, kind = part.rpartition(".")
    if layer in _IN_BLOCK:
        yield f"{target}.{_IN_BLOCK[layer]}.{kind}", tensor
    elif layer == "self_attn.q_proj":
        before = block.group().removesuffix(f"q_proj.{kind}")
        names = [f"{before}{letter}_proj.{kind}" for letter in "qkv"]
        if all(name in weights for name in names):
            joined = torch.cat([weights[name] for name in names])
            yield f"{target}.attn.in_proj_{kind}", joined
    elif layer not in ("self_attn.k_proj", "self_attn.v_proj"):
        yield block.group(), tensor
