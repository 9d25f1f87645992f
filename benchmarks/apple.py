"""Core ML packages against torch and fp32: sizes, masks, accuracy, and the Neural Engine lint.

    python benchmarks/apple.py --dataset instances.json --images photos/ --work build/apple \\
        -o benchmarks/results/apple.json

Packages are written once into the work folder, without gates, so that what fails is measured too.
They run through the mil backend, on the same boxes and clicks as the model itself in torch. The
measurement goes on where it was left: with --seconds it stops in time, and writes its record when
every image is done.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from samedge.bundle.writer import BundleWriter
from samedge.evaluation.ground_truth import TruthImage, load_ground_truth
from samedge.evaluation.protocols import answers, parse_protocols
from samedge.export.base import ExportRequest
from samedge.export.sources import opened_model
from samedge.export.staging import staged
from samedge.inspection.ane import lint_package
from samedge.machine.environment import environment
from samedge.pixels import metrics, rle
from samedge.predict.predictor import Predictor
from samedge.proof.photos import load_calibration
from samedge.targets import target
from samedge.types import Precision

PROTOCOLS = "box,center"
BARS = {"fp16": (0.5, 0.003), "w8": (0.27, 0.005), "w6": (0.22, 0.01)}
"""Size over fp32's, and mean IoU that may be lost."""

LEAST_MASK_IOU = 0.995


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="samedge-nano")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, help="images for int8's ranges")
    parser.add_argument("--precisions", default="fp32,fp16,w8,w6")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seconds", type=float, help="stop after so long, to be called again")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    start = time.monotonic()
    args.work.mkdir(parents=True, exist_ok=True)
    names = ["torch", *args.precisions.split(",")]
    for name in names:
        write_bundle(args, name)
    images = load_ground_truth(args.dataset, args.images, limit=args.limit).images
    for index, image in enumerate(images):
        if args.seconds is not None and time.monotonic() - start > args.seconds:
            print(f"{index} of {len(images)} images; call it again")
            return
        measure_image(args.work, names, image)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(record(args, names, images), indent=2) + "\n")


def write_bundle(args: argparse.Namespace, name: str) -> None:
    """Write one bundle, ungated, if it is not there."""
    path = args.work / "bundles" / name
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    row = target("torch" if name == "torch" else "apple")
    precision = Precision.FP32 if name == "torch" else Precision(name)
    model, source = opened_model(args.model, image_size=None)
    request = ExportRequest(
        model=model.eval(),
        source=source,
        target=row,
        precision=precision,
        buckets=row.prompt_buckets,
        calibration=None if args.calibration is None else load_calibration(args.calibration),
    )
    with BundleWriter(path) as writer:
        began = time.monotonic()
        bundle = staged(request, writer)
        writer.commit(bundle.manifest)
    print(f"{name}: {time.monotonic() - began:.0f} s")


_OPEN: dict[str, Predictor] = {}


def predictor(work: Path, name: str) -> Predictor:
    if name not in _OPEN:
        backend = None if name == "torch" else "mil"
        _OPEN[name] = Predictor.from_bundle(work / "bundles" / name, backend=backend, verify=False)
    return _OPEN[name]


def measure_image(work: Path, names: Sequence[str], image: TruthImage) -> None:
    """Score one image with every bundle that has not seen it; torch's masks are kept beside it."""
    folder = work / "scores"
    folder.mkdir(exist_ok=True)
    path = folder / f"{Path(image.name).stem}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    for name in names:
        if name not in known:
            known[name] = list(scores(predictor(work, name), image))
            path.write_text(json.dumps(known))


def scores(segmenter: Predictor, image: TruthImage) -> Iterator[dict[str, Any]]:
    instances = list(image.instances())
    embedding = segmenter.encode(image.pixels())

    def decode(prompts: Sequence[Any], *, multimask: bool = False) -> list[Any]:
        return segmenter.decode_batch(embedding, prompts, multimask=multimask)

    for protocol, answer in answers(decode, instances, protocols=parse_protocols(PROTOCOLS)):
        yield {
            "prompt": protocol,
            "iou": answer.ious[-1],
            "rle": rle.rle_from_mask(answer.mask),
        }


def record(args: argparse.Namespace, names: Sequence[str], images: Any) -> dict[str, Any]:
    pages = [
        json.loads((args.work / "scores" / f"{Path(image.name).stem}.json").read_text())
        for image in images
    ]
    rows = {name: row(args.work, name, pages) for name in names}
    for name in names:
        rows[name] |= {"verdict": verdict(rows, name)}
    return {
        "schema": "samedge.apple-benchmark/1",
        "model": args.model,
        "images": len(images),
        "protocols": PROTOCOLS,
        "rows": rows,
        "neural_engine": lint(args.work / "bundles" / "fp16"),
        "environment": msgspec.to_builtins(environment()),
    }


def row(work: Path, name: str, pages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Bytes, and by protocol the mIoU, its loss against torch and the masks' IoU with torch's."""
    bundle = predictor(work, name).bundle
    manifest = bundle.manifest
    result: dict[str, Any] = {
        "bytes": {g.role: bundle.artifact(g.role).bytes for g in manifest.graphs},
        "bundle": manifest.id,
        "versions": manifest.versions,
    }
    for protocol in PROTOCOLS.split(","):
        pairs = [
            (have, want)
            for page in pages
            for have, want in zip(page[name], page["torch"], strict=True)
            if have["prompt"] == protocol
        ]
        same = [
            metrics.mask_iou(rle.mask_from_rle(a["rle"]), rle.mask_from_rle(b["rle"]))
            for a, b in pairs
        ]
        result[protocol] = {
            "n": len(pairs),
            "miou": float(np.mean([have["iou"] for have, _ in pairs])),
            "mask_iou_torch_mean": float(np.mean(same)),
            "mask_iou_torch_p05": float(np.percentile(same, 5)),
        }
    return result


def verdict(rows: dict[str, Any], name: str) -> dict[str, Any]:
    """The row against its bars: size and loss are against the fp32 package."""
    size = sum(rows[name]["bytes"].values()) / sum(rows["fp32"]["bytes"].values())
    losses = {p: rows["fp32"][p]["miou"] - rows[name][p]["miou"] for p in PROTOCOLS.split(",")}
    found: dict[str, Any] = {"size_ratio": size, "losses": losses}
    if name in BARS:
        most_size, most_loss = BARS[name]
        found |= {"size_bar": most_size, "loss_bar": most_loss}
        found["passed"] = size <= most_size and max(losses.values()) <= most_loss
    if name == "fp16":
        means = [rows[name][p]["mask_iou_torch_mean"] for p in PROTOCOLS.split(",")]
        found["mask_iou_bar"] = LEAST_MASK_IOU
        found["passed"] = found["passed"] and float(np.mean(means)) >= LEAST_MASK_IOU
    return found


def lint(bundle: Path) -> dict[str, Any]:
    return {
        path.stem: {
            "operations": report.operations,
            "errors": len(report.errors),
            "layout_operations": report.layout_operations,
            "layout_traffic": report.layout_traffic,
            "layout_share": report.layout_share,
            "host_operations": report.host_operations,
        }
        for path in sorted(bundle.glob("*.mlpackage"))
        for report in [lint_package(path)]
    }


if __name__ == "__main__":
    main()
