"""The architecture of a published checkpoint, read off the shapes of its tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

from samedge.errors import CheckpointError
from samedge.models.keymaps import HUGGING_FACE, MOBILE_SAM, Dialect
from samedge.models.spec import ModelSpec, Option


def spec_from_tensors(tensors: Mapping[str, Tensor], dialect: Dialect) -> ModelSpec:
    """Read the architecture off the shapes of a published checkpoint.

    Args:
        tensors: the checkpoint.
        dialect: the family that it belongs to.

    Raises:
        CheckpointError: a tensor that the architecture is read from is missing.
    """
    dim = _shape(tensors, _source(dialect, "mask_decoder.output_tokens"))[1]
    layer = _source(dialect, "mask_decoder.transformer.layers.0.mlp.layers.0.weight")
    decoder = {
        "embed_dim": dim,
        "depth": _count(tensors, r"mask_decoder\.transformer\.layers\.(\d+)\."),
        "mlp_dim": _shape(tensors, layer)[0],
    }
    if dialect is MOBILE_SAM:
        return ModelSpec(
            encoder="tinyvit",
            image_size=1024,
            encoder_options={**_tinyvit_options(tensors), "embed_dim": dim},
            decoder_options=decoder,
        )
    options, grid = _vit_options(tensors, dialect)
    return ModelSpec(
        encoder="vit",
        image_size=16 * grid,
        encoder_options={**options, "embed_dim": dim},
        decoder_options=decoder,
    )


def _vit_options(tensors: Mapping[str, Tensor], dialect: Dialect) -> tuple[dict[str, Option], int]:
    blocks = "vision_encoder.layers" if dialect is HUGGING_FACE else "image_encoder.blocks"
    depth = _count(tensors, re.escape(blocks) + r"\.(\d+)\.")
    grid = _shape(tensors, _source(dialect, "image_encoder.pos_embed"))[1]
    width = _shape(tensors, _source(dialect, "image_encoder.patch_embed.weight"))[0]
    tables = [_shape(tensors, f"{blocks}.{index}.attn.rel_pos_h") for index in range(depth)]
    sides = [(table[0] + 1) // 2 for table in tables]
    options: dict[str, Option] = {
        "width": width,
        "depth": depth,
        "heads": width // tables[0][1],
        "global_blocks": [index for index, side in enumerate(sides) if side == grid],
        "window": min(sides),
        "mlp_dim": _shape(tensors, _source(dialect, "image_encoder.blocks.0.lin1.weight"))[0],
    }
    return options, grid


def _tinyvit_options(tensors: Mapping[str, Tensor]) -> dict[str, Option]:
    prefix = "image_encoder.layers"
    widths = [_shape(tensors, f"{prefix}.0.blocks.0.conv1.c.weight")[1]]
    heads, windows = [1], [1]
    for stage in (1, 2, 3):
        widths.append(_shape(tensors, f"{prefix}.{stage}.blocks.0.attn.proj.weight")[0])
        biases = _shape(tensors, f"{prefix}.{stage}.blocks.0.attn.attention_biases")
        heads.append(biases[0])
        windows.append(math.isqrt(biases[1]))
    return {
        "widths": widths,
        "depths": [
            _count(tensors, rf"image_encoder\.layers\.{stage}\.blocks\.(\d+)\.")
            for stage in range(4)
        ],
        "heads": heads,
        "windows": windows,
    }


def _source(dialect: Dialect, target: str) -> str:
    return dialect.sources(target)[-1]


def _shape(tensors: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    if key not in tensors:
        raise CheckpointError(f"The checkpoint lacks {key}: it is not complete.")
    return tuple(tensors[key].shape)


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number that ``pattern`` finds in the names."""
    found = (re.match(pattern, key) for key in tensors)
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)
