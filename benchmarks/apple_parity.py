"""Do MobileSAM and SAM ViT-B convert to Core ML and stay what they were? With random weights.

    python benchmarks/apple_parity.py tinyvit -o benchmarks/results/apple_parity_tinyvit.json
    python benchmarks/apple_parity.py vit -o benchmarks/results/apple_parity_vit.json

The fp32 packages must pass the parity gate, which shows that the conversion is right. Nets at
random answer nearly the same to every photo, and the gate compares what differs between photos:
without biases and position tables the pictures shine through. What fp16 loses is told by a trained
model (``apple.py``); in these, rounding weighs more than in any net that was trained.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import msgspec
import torch
from torch import nn

from samedge.export import export
from samedge.export.sources import photo_paths
from samedge.files.lines import created_now
from samedge.machine.environment import environment
from samedge.models.building import build_model
from samedge.models.promptable import PromptableModel
from samedge.models.spec import ModelSpec

PHOTOS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder", choices=("tinyvit", "vit"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    model = random_model(args.encoder)
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name, "photos")
        photos.mkdir()
        for path in photo_paths(None)[:PHOTOS]:
            shutil.copy(path, photos)
        bundle = Path(name, "bundle")
        result = export(model, "apple", precision="fp32", output=bundle, images=photos)
    record = {
        "schema": "samedge.benchmarks.apple-parity/1",
        "created": created_now(),
        "encoder": args.encoder,
        "parity": msgspec.to_builtins(result.parity),
        "bytes": {
            g.role: result.bundle.artifact(g.role).bytes for g in result.bundle.manifest.graphs
        },
        "seconds": round(result.seconds, 1),
        "environment": msgspec.to_builtins(environment()),
    }
    print(json.dumps(record["parity"]))
    args.output.write_text(json.dumps(record, indent=2) + "\n")


def random_model(encoder: str) -> PromptableModel:
    torch.manual_seed(0)
    model = build_model(ModelSpec(encoder=encoder, image_size=1024)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or "pos_embed" in name:
            nn.init.zeros_(parameter)
    model.requires_grad_(requires_grad=False)
    return model


if __name__ == "__main__":
    main()
