"""transformers' ViT-B with the given weights, exported by optimum-intel: fp32, and int8 of its own.

    env-optimum/bin/python optimum_files.py TENSORS.safetensors PHOTOS FOLDER

int8 is optimum-intel's own recipe for ``sam-vit-base``: the vision encoder quantized with NNCF. Its
calibration set comes from a hub there and from the folder of photos here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nncf
import safetensors.torch
from optimum.intel import (
    OVConfig,
    OVPipelineQuantizationConfig,
    OVQuantizationConfig,
    OVQuantizer,
    OVSamModel,
)
from optimum.intel.openvino.quantization import OVCalibrationDataset
from PIL import Image
from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor


def main() -> None:
    tensors, photos, folder = map(Path, sys.argv[1:])
    processor = SamProcessor(SamImageProcessor())
    source = folder / "torch"
    plain_model(tensors).save_pretrained(source)
    processor.save_pretrained(source)
    model = OVSamModel.from_pretrained(source, export=True, compile=False)
    model.save_pretrained(folder / "fp32")
    processor.save_pretrained(folder / "fp32")
    samples = [
        {"pixel_values": processor(Image.open(path), return_tensors="pt")["pixel_values"]}
        for path in sorted(photos.glob("*.jpg"))
    ]
    recipe = OVQuantizationConfig(bits=8, num_samples=len(samples))
    OVQuantizer(model).quantize(
        calibration_dataset=OVCalibrationDataset({"vision_encoder": nncf.Dataset(samples)}),
        ov_config=OVConfig(
            quantization_config=OVPipelineQuantizationConfig({"vision_encoder": recipe})
        ),
        save_directory=folder / "int8",
    )
    processor.save_pretrained(folder / "int8")


def plain_model(tensors: Path) -> SamModel:
    """SAM ViT-B with the weights; only the copy of the positional encoding may be missing."""
    model = SamModel(SamConfig()).eval()
    missing, extra = model.load_state_dict(safetensors.torch.load_file(tensors), strict=False)
    copies = "prompt_encoder.shared_embedding.positional_embedding"
    if extra or set(missing) - {copies}:
        raise SystemExit(f"weights do not fit SamModel: missing {missing}, left over {extra}")
    state = model.state_dict()
    if copies in state:
        state[copies].copy_(state["shared_image_embedding.positional_embedding"])
    return model


if __name__ == "__main__":
    main()
