"""INT8 against fp32 on annotated images: mIoU, IoU between the masks, and size.

    W="--checkpoint samedge/models/weights/samedge-nano.safetensors --calibration train/coco \\
       --dataset eval/coco/instances.json --work build/quantization"
    python benchmarks/quantization.py export $W      # four bundles: intel and cpu, fp32 and int8
    python benchmarks/quantization.py accuracy $W --slice 0/4    # ... to 3/4
    python benchmarks/quantization.py record $W -o benchmarks/results/quantization.json

Bundles are exported without their gates, so that what fails is measured too. Calibration and
evaluation images are different ones. Each step keeps what it found in the work folder, so that it
can be cut into short pieces and go on after an interruption. Latency is `samedge bench`'s, of the
bundles in the work folder.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import file_hash
from samedge.calibration.plan import load_plan
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.evaluation.protocols import answers, parse_protocols
from samedge.export import export
from samedge.machine import environment
from samedge.pixels import metrics
from samedge.predict.predictor import Predictor

PRECISIONS = ("fp32", "int8")
PROTOCOLS = "box,center,clicks:3"
RESAMPLES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("export", "accuracy", "record"))
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--plan", type=Path, help="precision plan of INT8, or the model's own")
    parser.add_argument("--targets", nargs="+", default=["intel", "cpu"])
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--slice", default="0/1", help="this part of the images of so many parts")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    {"export": bundles, "accuracy": accuracy, "record": record}[args.step](args)


def bundles(args: argparse.Namespace) -> None:
    """Export what is not there yet, with the time that it takes."""
    for target in args.targets:
        for precision in PRECISIONS:
            name = f"{target}-{precision}"
            if not (args.work / name).exists():
                start = time.perf_counter()
                export(
                    args.checkpoint,
                    target,
                    precision=precision,
                    output=args.work / name,
                    calibration=args.calibration,
                    plan=load_plan(args.plan) if args.plan and precision == "int8" else None,
                    gate=False,
                )
                print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


def accuracy(args: argparse.Namespace) -> None:
    """IoUs of one slice of the images: truth and fp32, truth and INT8, fp32 and INT8."""
    index, count = map(int, args.slice.split("/"))
    truth = load_ground_truth(args.dataset, args.dataset.parent / "images")
    protocols = parse_protocols(PROTOCOLS)
    for target in args.targets:
        file = args.work / f"accuracy-{target}-{index}-{count}.json"
        if file.exists():
            continue
        found: list[tuple[int, str, float, float, float]] = []
        with ExitStack() as stack:
            pair = [stack.enter_context(opened(args, f"{target}-{p}")) for p in PRECISIONS]
            for image in range(index, len(truth.images), count):
                found += [(image, *row) for row in compared(pair, truth.images[image], protocols)]
        file.write_text(json.dumps(found))
        print(file.name, len(found), flush=True)


def compared(
    pair: list[Predictor], image: Any, protocols: Any
) -> Iterator[tuple[str, float, float, float]]:
    picture, instances = image.pixels(), list(image.instances())
    sides = []
    for predictor in pair:
        embedding = predictor.encode(picture)

        def decode(
            prompts: Any, *, multimask: bool = False, p: Any = predictor, e: Any = embedding
        ) -> Any:
            return p.decode_batch(e, prompts, multimask=multimask)

        sides.append(
            [(n, a.mask, a.ious[-1]) for n, a in answers(decode, instances, protocols=protocols)]
        )
    for (name, expected, plain), (_, mask, low) in zip(*sides, strict=True):
        yield name, float(plain), float(low), metrics.mask_iou(expected, mask)


def record(args: argparse.Namespace) -> None:
    """Everything that was measured, in one document."""
    document = {
        "checkpoint": {"name": args.checkpoint.name, "sha256": file_hash(args.checkpoint)},
        "environment": msgspec.to_builtins(environment.environment()),
        "targets": {target: summary(args, target) for target in args.targets},
    }
    text = json.dumps(document, indent=2)
    print(text)
    if args.output is not None:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text + "\n")


def summary(args: argparse.Namespace, target: str) -> dict[str, Any]:
    files = sorted(args.work.glob(f"accuracy-{target}-*.json"))
    rows = [row for file in files for row in json.loads(file.read_text())]
    sizes = {p: size(Bundle.open(args.work / f"{target}-{p}")) for p in PRECISIONS}
    small = Bundle.open(args.work / f"{target}-int8").manifest
    return {
        "prompts": [
            prompt_row(name, rows)
            for name in PROTOCOLS.split(",")
            if any(row[1] == name for row in rows)
        ],
        "bytes": sizes,
        "size_ratio": sizes["int8"] / sizes["fp32"],
        "plan": small.plan,
    }


def prompt_row(name: str, rows: list[list[Any]]) -> dict[str, Any]:
    images = np.asarray([row[0] for row in rows if row[1] == name])
    plain, low, between = np.asarray([row[2:] for row in rows if row[1] == name]).T
    return {
        "prompt": name,
        "n": len(plain),
        "images": len(set(images.tolist())),
        "miou_fp32": float(plain.mean()),
        "miou_int8": float(low.mean()),
        "drop": float(plain.mean() - low.mean()),
        "drop_ci95": interval(images, plain - low),
        "mask_iou_mean": float(between.mean()),
        "mask_iou_p05": float(np.percentile(between, 5)),
    }


def interval(images: Any, drops: Any) -> list[float]:
    """95% bootstrap over images."""
    random = np.random.default_rng(0)
    names = np.unique(images)
    sums = np.asarray([drops[images == name].sum() for name in names])
    counts = np.asarray([(images == name).sum() for name in names])
    picks = random.integers(0, len(names), (RESAMPLES, len(names)))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    return [float(np.percentile(means, q)) for q in (2.5, 97.5)]


def size(bundle: Bundle) -> int:
    return bundle.size_bytes


def opened(args: argparse.Namespace, name: str) -> Predictor:
    return Predictor.from_bundle(args.work / name)


if __name__ == "__main__":
    main()
