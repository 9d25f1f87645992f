"""Relatives of SAM that samedge cannot build are named as what they are, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from samedge.errors import CheckpointError
from samedge.models.checkpoint_kinds import KINDS, recognised
from samedge.models.checkpoints import load_checkpoint
from samedge.models.keymaps import DIALECTS

# Names as the projects' own files have them; "SAM" stands for all of a plain SAM's.
KIND_OF = {
    "SAM 2": ("SAM 2", ["memory_attention.norm.weight", "sam_mask_decoder.iou_token.weight"]),
    "SAM 2's trunk alone": ("SAM 2", ["image_encoder.trunk.patch_embed.proj.weight"]),
    "SAM 3": ("SAM 3", ["detector.backbone.vision_backbone.trunk.pos_embed"]),
    "SAM-HQ": ("SAM-HQ", ["SAM", "mask_decoder.hf_token.weight"]),
    "SAM-HQ's feature path": ("SAM-HQ", ["SAM", "mask_decoder.compress_vit_feat.0.weight"]),
    "EdgeSAM": (
        "EdgeSAM",
        ["image_encoder.features.0.0.c.weight", "mask_decoder.iou_token.weight"],
    ),
    "EfficientViT-SAM": (
        "EfficientViT-SAM",
        ["image_encoder.backbone.input_stem.op_list.0.conv.weight"],
    ),
    "EfficientSAM": ("EfficientSAM", ["SAM", "image_encoder.blocks.0.mlp.fc1.weight"]),
    "Medical SAM Adapter": ("adapters", ["SAM", "image_encoder.blocks.0.MLP_Adapter.D_fc1.weight"]),
    "SAM-Med2D": ("adapters", ["SAM", "image_encoder.blocks.0.Adapter.channel.0.weight"]),
    "SAMed": ("LoRA weights without", ["w_a_000", "w_b_000", "mask_decoder.iou_token.weight"]),
    "peft": (
        "LoRA weights without",
        ["base_model.model.vision_encoder.layers.0.attn.qkv.lora_A.default.weight"],
    ),
    "LoRA in place": ("not merged", ["SAM", "image_encoder.blocks.0.attn.qkv.linear_a_q.weight"]),
    "decoder": ("without its image encoder", ["mask_decoder.iou_token.weight"]),
    "decoder under DDP": ("without its image encoder", ["module.mask_decoder.iou_token.weight"]),
    "encoder": ("without its mask decoder", ["image_encoder.patch_embed.proj.weight"]),
    "FastSAM": ("FastSAM", ["model.0.conv.weight", "model.22.cv2.0.0.conv.weight"]),
}


@pytest.fixture(scope="module")
def plain(meta_file: Path) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = torch.load(meta_file, weights_only=True)
    return loaded


@pytest.mark.parametrize("case", KIND_OF)
def test_it_is_named(case: str, plain: dict[str, Tensor], tmp_path: Path) -> None:
    said, names = KIND_OF[case]
    tensors = {name: torch.zeros(1) for name in names if name != "SAM"}
    torch.save({**(plain if "SAM" in names else {}), **tensors}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=said) as caught:
        load_checkpoint(tmp_path / "x.pth")
    assert "x.pth is " in str(caught.value)
    assert "left over" not in str(caught.value)


def test_every_kind_says_what_to_do() -> None:
    for kind in KINDS:
        assert kind.remedy.endswith(".")
        assert not kind.what.endswith(".")


def test_what_can_be_loaded_is_of_no_such_kind(plain: dict[str, Tensor]) -> None:
    assert recognised(plain) is None
    for dialect in DIALECTS:
        assert recognised([dialect.marker, "mask_decoder.iou_token.weight"]) is None
