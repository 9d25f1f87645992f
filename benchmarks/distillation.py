"""Does a teacher help? Students of the same architecture and number of steps, with and without.

    python benchmarks/distillation.py nano=samedge-nano \\
        pico=runs/pico/last.safetensors pico-alone=runs/pico-alone/last.safetensors \\
        --dataset eval/coco/instances.json --images eval/coco/images \\
        -o benchmarks/results/distillation.json

Every model is exported to a `cpu` bundle and evaluated by `samedge.evaluation.evaluate` on the same
one pass. Beside the accuracy stand the parameters and the arithmetic of the image encoder, counted
by torch (a multiplication and an addition are two operations).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.utils.flop_counter import FlopCounterMode

from samedge import records
from samedge.evaluation.evaluate import EvaluatedSubject, evaluate
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.evaluation.protocols import parse_protocols
from samedge.export import export
from samedge.machine import environment
from samedge.models.zoo import load_model
from samedge.predict.subjects import open_predictor, subject

PROMPTS = "box,center,clicks:3"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="LABEL=CHECKPOINT")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    named = dict(text.split("=", 1) for text in args.models)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        subjects = []
        for label, checkpoint in named.items():
            export(checkpoint, "cpu", output=Path(scratch) / label)
            predictor, _ = open_predictor(str(Path(scratch) / label))
            stack.enter_context(predictor)
            subjects.append(EvaluatedSubject(subject(predictor, name=label), predictor))
        truth = load_ground_truth(args.dataset, args.images, limit=args.limit)
        found = evaluate(subjects, truth, protocols=parse_protocols(PROMPTS))
    document = {
        "environment": msgspec.to_builtins(environment.environment()),
        "encoders": {label: encoder_cost(checkpoint) for label, checkpoint in named.items()},
        "dataset": {"images": len(truth.images), "prompts": PROMPTS},
        "results": [row(result) for result in found.results],
    }
    args.output.write_text(json.dumps(document, indent=2) + "\n")
    for result in document["results"]:
        print(result)


def encoder_cost(checkpoint: str) -> dict[str, Any]:
    """Parameters and arithmetic of one model's image encoder, at its own input size."""
    model = load_model(checkpoint)
    image = torch.zeros(1, 3, model.image_size, model.image_size)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.image_encoder(image)
    return {
        "input_size": model.image_size,
        "parameters": sum(p.numel() for p in model.image_encoder.parameters()),
        "gflop": counter.get_total_flops() / 1e9,
    }


def row(result: records.EvalRow) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(result)
    kept = ("bundle", "prompt", "n", "ci95", "boundary_iou", "artifact_sha256")
    return {k: v for k, v in document.items() if k in kept or k.startswith("miou")}


if __name__ == "__main__":
    main()
