"""What a bundle says of a checkpoint: its name, its licence and a hash over all of its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from samedge.export.sources import opened_model
from samedge.models.building import build_model
from samedge.models.checkpoints import save_checkpoint
from samedge.models.spec import ModelSpec


def sharded(state: dict[str, Any], folder: Path) -> Path:
    """A state dict in two files and an index, as hubs hold large ones."""
    folder.mkdir()
    names = [f"pytorch_model-0000{part}-of-00002.bin" for part in (1, 2)]
    where = {name: names[index % 2] for index, name in enumerate(state)}
    for file in names:
        torch.save({n: t for n, t in state.items() if where[n] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    return folder


def test_a_folder_in_shards_has_one_hash_of_all(meta_sam: Any, tmp_path: Path) -> None:
    state = meta_sam.state_dict()
    folder = sharded(state, tmp_path / "tuned")
    model, record = opened_model(folder, image_size=None)
    assert (record.name, record.encoder, record.licence) == ("tuned", "vit", "unknown")
    assert record.checkpoint_sha256
    state["mask_decoder.iou_token.weight"] = state["mask_decoder.iou_token.weight"] + 1
    _, other = opened_model(sharded(state, tmp_path / "other"), image_size=None)
    assert other.checkpoint_sha256 != record.checkpoint_sha256
    index = folder / "pytorch_model.bin.index.json"
    _, by_index = opened_model(index, image_size=None)
    assert by_index.checkpoint_sha256 == record.checkpoint_sha256
    assert model.image_size == 128


def test_our_own_files_say_what_they_are(tmp_path: Path) -> None:
    spec = ModelSpec(
        encoder="timm",
        encoder_options={"backbone": "test_resnet.r160_in1k"},
        image_size=64,
        name="tiny",
        licence="Apache-2.0",
        origin="made here",
    )
    save_checkpoint(build_model(spec), tmp_path / "file.safetensors", spec=spec)
    _, record = opened_model(tmp_path / "file.safetensors", image_size=None)
    assert (record.name, record.licence, record.origin) == ("tiny", "Apache-2.0", "made here")
    assert record.encoder == "timm"
