"""SAM's ONNX decoder, exported as Meta's script does with ``--return-single-mask``.

    env-peers/bin/python meta_decoder.py vit-b FILE.pth DECODER.onnx

The script itself is not in the package of the registry; ``SamOnnxModel``, which it exports, is.
"""

from __future__ import annotations

import sys
import warnings

import torch
from segment_anything.utils.onnx import SamOnnxModel
from weights import build


def main() -> None:
    family, checkpoint, path = sys.argv[1:]
    model = build(family)
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    inputs = {
        "image_embeddings": torch.randn(1, 256, 64, 64),
        "point_coords": torch.randint(0, 1024, (1, 5, 2)).float(),
        "point_labels": torch.randint(0, 4, (1, 5)).float(),
        "mask_input": torch.randn(1, 1, 256, 256),
        "has_mask_input": torch.tensor([1.0]),
        "orig_im_size": torch.tensor([1500.0, 2250.0]),
    }
    points = {1: "num_points"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            SamOnnxModel(model.eval(), return_single_mask=True),
            tuple(inputs.values()),
            path,
            opset_version=17,
            do_constant_folding=True,
            input_names=list(inputs),
            output_names=["masks", "iou_predictions", "low_res_masks"],
            dynamic_axes={"point_coords": points, "point_labels": points},
            dynamo=False,
        )


if __name__ == "__main__":
    main()
