"""INT8 against fp32 on annotated images: mIoU, IoU between the masks, latency in turns, and size.

    python benchmarks/quantization.py --checkpoint samedge-nano.safetensors \\
        --calibration train/coco --dataset eval/coco -o benchmarks/results/quantization.json

Bundles are exported without their gates, so that what fails is measured too. Calibration and
evaluation images are different ones. For each target the INT8 encoder is timed in turns with its
own fp32, and the `intel` one also with fp32 on ONNX Runtime.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from samedge import environment
from samedge.calibration.accuracy import compare, latency_ratios
from samedge.calibration.dataset import CalibrationSet, load_calibration
from samedge.calibration.plan import load_plan
from samedge.export import export
from samedge.manifest import file_hash
from samedge.predictor import Predictor

TARGETS = ("intel", "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--plan", type=Path)
    parser.add_argument("--max-images", type=int, default=150)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        record = measured(args, Path(scratch))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(record, indent=2) + "\n")


def measured(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    plan = None if args.plan is None else load_plan(args.plan)
    data = load_calibration(args.dataset, limit=args.max_images)
    bundles = {}
    for target in TARGETS:
        for precision in ("fp32", "int8"):
            name = f"{target}-{precision}"
            result = export(
                args.checkpoint,
                target,
                precision=precision,
                output=folder / name,
                calibration=args.calibration,
                plan=plan if precision == "int8" else None,
                gate=False,
            )
            bundles[name] = result.bundle.path
            print(name, result.parity, flush=True)
    rows = {target: row(bundles, target, data, args.max_images) for target in TARGETS}
    with opened(bundles["cpu-fp32"]) as slow, opened(bundles["intel-int8"]) as fast:
        ratios = latency_ratios(slow, fast, next(data.pictures()))
    return {
        "checkpoint": {"name": args.checkpoint.name, "sha256": file_hash(args.checkpoint)},
        "environment": msgspec.to_builtins(environment.environment()),
        "targets": rows,
        "intel_int8_over_onnxruntime_fp32": {"encode": ratios[0], "decode": ratios[1]},
    }


def row(bundles: dict[str, Path], target: str, data: CalibrationSet, most: int) -> dict[str, Any]:
    with opened(bundles[f"{target}-fp32"]) as plain, opened(bundles[f"{target}-int8"]) as small:
        found = compare(plain, small, data, max_images=most)
    document: dict[str, Any] = msgspec.to_builtins(found)
    print(target, json.dumps(document), flush=True)
    return document


def opened(path: Path) -> Predictor:
    return Predictor.from_bundle(path)


if __name__ == "__main__":
    main()
