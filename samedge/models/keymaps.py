"""Which tensors of a published checkpoint make up each tensor of ours.

A dialect is a table of rules. A rule is a pattern that matches one of our names in full, and the
names of the tensors in the file that are stacked along the first axis to give it; almost always
one. What a file may hold beside, because only a classifier or a duplicate needs it, is listed too;
everything else that is left over is an error.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

Rule = tuple[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Dialect:
    """Names used by one family of checkpoints.

    Attributes:
        name: for messages.
        marker: a tensor name that gives the family away.
        rules: our names -> theirs.
        unused: patterns of tensors that may be there and are not needed.
    """

    name: str
    marker: str
    rules: tuple[Rule, ...]
    unused: tuple[str, ...] = ()

    def sources(self, target: str) -> tuple[str, ...]:
        """Names in the file whose tensors make up our tensor ``target``."""
        for pattern, templates in self.rules:
            match = re.fullmatch(pattern, target)
            if match:
                return tuple(match.expand(template) for template in templates)
        raise AssertionError(f"dialect {self.name} has no rule for {target}")

    def is_unused(self, key: str) -> bool:
        """Whether a tensor of the file is known to be of no use here."""
        return any(re.fullmatch(pattern, key) for pattern in self.unused)


# What Meta and Hugging Face call alike.
_TRANSFORMER: tuple[Rule, ...] = (
    (
        r"mask_decoder\.output_tokens",
        ("mask_decoder.iou_token.weight", "mask_decoder.mask_tokens.weight"),
    ),
    (r"(mask_decoder\.transformer\.layers\.\d+\.(?:self_attn|norm\d)\..*)", (r"\1",)),
    (
        r"(mask_decoder\.transformer\.layers\.\d+)\.(token_to_image|image_to_token)\.(.*)",
        (r"\1.cross_attn_\2.\3",),
    ),
    (
        r"(mask_decoder\.transformer\.layers\.\d+)\.mlp\.layers\.0\.(.*)",
        (r"\1.mlp.lin1.\2",),
    ),
    (
        r"(mask_decoder\.transformer\.layers\.\d+)\.mlp\.layers\.1\.(.*)",
        (r"\1.mlp.lin2.\2",),
    ),
    (
        r"mask_decoder\.transformer\.final_token_to_image\.(.*)",
        (r"mask_decoder.transformer.final_attn_token_to_image.\1",),
    ),
)

_META_DECODER: tuple[Rule, ...] = (
    (
        r"prompt_encoder\.position\.gaussian",
        ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",),
    ),
    (
        r"prompt_encoder\.label_embeddings",
        tuple(f"prompt_encoder.point_embeddings.{label}.weight" for label in range(4)),
    ),
    (r"prompt_encoder\.padding_embedding", ("prompt_encoder.not_a_point_embed.weight",)),
    (r"prompt_encoder\.no_mask_embedding", ("prompt_encoder.no_mask_embed.weight",)),
    (r"(prompt_encoder\.mask_downscaling\..*)", (r"\1",)),
    *_TRANSFORMER,
    (
        r"mask_decoder\.transformer\.norm_final\.(.*)",
        (r"mask_decoder.transformer.norm_final_attn.\1",),
    ),
    (r"mask_decoder\.upscaling\.(.*)", (r"mask_decoder.output_upscaling.\1",)),
    (r"mask_decoder\.hypernetworks\.(.*)", (r"mask_decoder.output_hypernetworks_mlps.\1",)),
    (r"mask_decoder\.iou_head\.(.*)", (r"mask_decoder.iou_prediction_head.\1",)),
)

META = Dialect(
    name="segment-anything",
    marker="image_encoder.patch_embed.proj.weight",
    rules=(
        *_META_DECODER,
        (r"image_encoder\.patch_embed\.(.*)", (r"image_encoder.patch_embed.proj.\1",)),
        (r"image_encoder\.pos_embed", ("image_encoder.pos_embed",)),
        (r"(image_encoder\.blocks\.\d+\.attn)\.rel_([hw])\.weight", (r"\1.rel_pos_\2",)),
        (r"(image_encoder\.blocks\.\d+)\.(lin\d\..*)", (r"\1.mlp.\2",)),
        (r"(image_encoder\.(?:blocks|neck)\..*)", (r"\1",)),
    ),
    unused=(r"pixel_mean", r"pixel_std"),
)

MOBILE_SAM = Dialect(
    name="MobileSAM",
    marker="image_encoder.patch_embed.seq.0.c.weight",
    rules=(
        *_META_DECODER,
        (r"image_encoder\.stem1\.conv\.(.*)", (r"image_encoder.patch_embed.seq.0.c.\1",)),
        (r"image_encoder\.stem1\.norm\.(.*)", (r"image_encoder.patch_embed.seq.0.bn.\1",)),
        (r"image_encoder\.stem2\.conv\.(.*)", (r"image_encoder.patch_embed.seq.2.c.\1",)),
        (r"image_encoder\.stem2\.norm\.(.*)", (r"image_encoder.patch_embed.seq.2.bn.\1",)),
        (
            r"image_encoder\.stages\.(\d+)\.(\d+)\.(conv\d|local_conv)\.conv\.(.*)",
            (r"image_encoder.layers.\1.blocks.\2.\3.c.\4",),
        ),
        (
            r"image_encoder\.stages\.(\d+)\.(\d+)\.(conv\d|local_conv)\.norm\.(.*)",
            (r"image_encoder.layers.\1.blocks.\2.\3.bn.\4",),
        ),
        (
            r"image_encoder\.stages\.(\d+)\.(\d+)\.attn\.bias\.weight",
            (r"image_encoder.layers.\1.blocks.\2.attn.attention_biases",),
        ),
        (
            r"image_encoder\.stages\.(\d+)\.(\d+)\.(attn\..*)",
            (r"image_encoder.layers.\1.blocks.\2.\3",),
        ),
        (
            r"image_encoder\.stages\.(\d+)\.(\d+)\.(norm\..*|fc\d\..*)",
            (r"image_encoder.layers.\1.blocks.\2.mlp.\3",),
        ),
        (
            r"image_encoder\.merges\.(\d+)\.(conv\d)\.conv\.(.*)",
            (r"image_encoder.layers.\1.downsample.\2.c.\3",),
        ),
        (
            r"image_encoder\.merges\.(\d+)\.(conv\d)\.norm\.(.*)",
            (r"image_encoder.layers.\1.downsample.\2.bn.\3",),
        ),
        (r"(image_encoder\.neck\..*)", (r"\1",)),
    ),
    unused=(
        r"pixel_mean",
        r"pixel_std",
        r"image_encoder\.(?:norm_)?head\..*",
        r".*\.attention_bias_idxs",
    ),
)

_DOWNSCALING = {0: "conv1", 1: "layer_norm1", 3: "conv2", 4: "layer_norm2", 6: "conv3"}
_UPSCALING = {0: "upscale_conv1", 1: "upscale_layer_norm", 3: "upscale_conv2"}
_NECK = {0: "conv1", 1: "layer_norm1", 2: "conv2", 3: "layer_norm2"}
_MLP = {0: "proj_in", 1: "layers.0", 2: "proj_out"}


def _numbered(ours: str, theirs: str, names: dict[int, str]) -> tuple[Rule, ...]:
    """Rules for a sequence whose members they call by name; groups of ``ours`` come first."""
    group = re.compile(ours).groups + 1
    return tuple(
        (rf"{ours}\.{index}\.(.*)", (rf"{theirs}.{name}.\{group}",))
        for index, name in names.items()
    )


HUGGING_FACE = Dialect(
    name="transformers SamModel",
    marker="vision_encoder.patch_embed.projection.weight",
    rules=(
        (
            r"prompt_encoder\.position\.gaussian",
            ("shared_image_embedding.positional_embedding",),
        ),
        (
            r"prompt_encoder\.label_embeddings",
            tuple(f"prompt_encoder.point_embed.{label}.weight" for label in range(4)),
        ),
        (r"prompt_encoder\.padding_embedding", ("prompt_encoder.not_a_point_embed.weight",)),
        (r"prompt_encoder\.no_mask_embedding", ("prompt_encoder.no_mask_embed.weight",)),
        *_numbered(r"prompt_encoder\.mask_downscaling", "prompt_encoder.mask_embed", _DOWNSCALING),
        (
            r"(mask_decoder\.transformer\.layers\.\d+)\.norm(\d\..*)",
            (r"\1.layer_norm\2",),
        ),
        (
            r"mask_decoder\.transformer\.norm_final\.(.*)",
            (r"mask_decoder.transformer.layer_norm_final_attn.\1",),
        ),
        *_numbered(r"mask_decoder\.upscaling", "mask_decoder", _UPSCALING),
        *_numbered(
            r"mask_decoder\.hypernetworks\.(\d+)\.layers",
            r"mask_decoder.output_hypernetworks_mlps.\1",
            _MLP,
        ),
        *_numbered(r"mask_decoder\.iou_head\.layers", "mask_decoder.iou_prediction_head", _MLP),
        *_TRANSFORMER,
        (r"image_encoder\.patch_embed\.(.*)", (r"vision_encoder.patch_embed.projection.\1",)),
        (r"image_encoder\.pos_embed", ("vision_encoder.pos_embed",)),
        (
            r"image_encoder\.blocks\.(\d+)\.attn\.rel_([hw])\.weight",
            (r"vision_encoder.layers.\1.attn.rel_pos_\2",),
        ),
        (r"image_encoder\.blocks\.(\d+)\.(attn\..*)", (r"vision_encoder.layers.\1.\2",)),
        (
            r"image_encoder\.blocks\.(\d+)\.norm(\d\..*)",
            (r"vision_encoder.layers.\1.layer_norm\2",),
        ),
        (r"image_encoder\.blocks\.(\d+)\.(lin\d\..*)", (r"vision_encoder.layers.\1.mlp.\2",)),
        *_numbered(r"image_encoder\.neck", "vision_encoder.neck", _NECK),
    ),
    # One positional encoding is stored under two names; older files have only the first.
    unused=(r"prompt_encoder\.shared_embedding\.positional_embedding",),
)

DIALECTS: tuple[Dialect, ...] = (META, MOBILE_SAM, HUGGING_FACE)


def detect(keys: Iterable[str]) -> Dialect | None:
    """The dialect that a checkpoint's names belong to, or ``None``."""
    present = set(keys)
    return next((dialect for dialect in DIALECTS if dialect.marker in present), None)
