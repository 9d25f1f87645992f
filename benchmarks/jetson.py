"""What a machine without an NVIDIA GPU can say of the Jetson bundles.

    python benchmarks/jetson.py accuracy --precision fp16 --calibration train/coco \\
        --dataset eval/coco --work build/jetson            # fp32, fp16 and int8; --slice 0/4 ...
    python benchmarks/jetson.py compile --model nano --precision int8 --work build/jetson
    python benchmarks/jetson.py report --work build/jetson -o benchmarks/results/jetson.json

* accuracy: the typed graphs of the embedded model through the reference (ONNX Runtime with its
  optimizations off), one box prompt an instance; ``report`` compares the precisions instance by
  instance.
* compile: all graphs of a model, parsed and compiled ahead of time by TensorRT for RTX. MobileSAM
  and SAM ViT-B have random weights, which changes nothing in what a parser sees.
* report: one document, with the roofline bounds, which are arithmetic and no measurement. With
  ``--before`` the models that were compiled for an earlier record stay in it.

Every step leaves a file in ``--work``, so that a long run can be cut into short ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.evaluation.evaluate import EvaluatedSubject, evaluate
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.evaluation.protocols import parse_protocols
from samedge.files.lines import created_now
from samedge.inspection.roofline import bounds, graph_cost
from samedge.machine.environment import environment
from samedge.pixels import metrics
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import subject
from samedge.targets import target
from samedge.types import Array, Precision

ROLES = ("encoder", "decoder")
REFERENCE = {"graph_optimization": "disabled"}
CAPABILITIES = ("8.6", "8.9")
LOST_AT_MOST = {"fp16": 0.003, "int8": 0.005}
INT8_ENCODER_AT_MOST = 0.35
MODELS = {"nano": "samedge-nano", "mobile-sam": "tinyvit", "sam-vit-b": "vit"}
"""The embedded model by its name, the others by their encoders."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    steps = {"accuracy": accuracy, "compile": compiled, "report": report}
    parsers = {name: commands.add_parser(name) for name in steps}
    for command in parsers.values():
        command.add_argument("--work", type=Path, required=True)
    for name in ("accuracy", "compile"):
        parsers[name].add_argument("--precision", choices=("fp32", "fp16", "int8"), required=True)
    parsers["accuracy"].add_argument("--calibration", type=Path, required=True)
    parsers["accuracy"].add_argument("--dataset", type=Path, required=True)
    parsers["accuracy"].add_argument("--slice", default="0/1", metavar="I/N")
    parsers["compile"].add_argument("--model", choices=tuple(MODELS), required=True)
    parsers["report"].add_argument("-o", "--output", type=Path, required=True)
    parsers["report"].add_argument(
        "--before", type=Path, help="an earlier record; its compiled models stay"
    )
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    steps[args.command](args)


# ---- accuracy


def accuracy(args: argparse.Namespace) -> None:
    index, count = map(int, args.slice.split("/"))
    bundle = exported(args)
    truth = load_ground_truth(args.dataset / "instances.json", args.dataset / "images")
    part = dataclasses.replace(truth, images=truth.images[index::count])
    backend = runtimes.get("onnxruntime")
    with Predictor(bundle, backend, device="cpu", options=REFERENCE) as predictor:
        predictor.load()
        evaluated = EvaluatedSubject(subject(predictor), predictor)
        found = evaluate([evaluated], part, protocols=parse_protocols("box"))
    scores = [[s.image, s.annotation_id, s.area, s.iou] for s in found.instances[0]]
    path = args.work / f"accuracy.{args.precision}.{index}of{count}.json"
    record = {"dataset": args.dataset.name, "calibration": args.calibration.name, "scores": scores}
    path.write_text(json.dumps(record))
    print(path, len(scores), found.results[0].miou)


def exported(args: argparse.Namespace) -> Bundle:
    """The embedded model's bundle, exported once."""
    from samedge.export import export

    folder: Path = args.work / f"nano-{args.precision}"
    if not folder.exists():
        export(
            MODELS["nano"],
            "jetson",
            precision=args.precision,
            calibration=args.calibration,
            output=folder,
            gate=False,  # what it loses is measured here
        )
    return Bundle.open(folder)


# ---- compile


def profiles(graph: Path) -> list[dict[str, tuple[int, ...]]]:
    """The shapes of a graph's dynamic inputs for each of the Jetson's prompt buckets."""
    import onnx

    inputs = {
        tensor.name: [
            axis.dim_param or axis.dim_value for axis in tensor.type.tensor_type.shape.dim
        ]
        for tensor in onnx.load(graph, load_external_data=False).graph.input
    }
    dynamic = {name: axes for name, axes in inputs.items() if any(isinstance(a, str) for a in axes)}
    sizes = ({"batch": b, "points": n} for b, n in target("jetson").prompt_buckets)
    return [
        {name: tuple(size.get(a, a) for a in axes) for name, axes in dynamic.items()}
        for size in sizes
        if dynamic
    ]


def compiled(args: argparse.Namespace) -> None:
    from samedge.runtimes.tensorrt.build import build
    from samedge.runtimes.tensorrt.builder import BuildJob

    folder = args.work / f"compile-{args.model}-{args.precision}"
    folder.mkdir(exist_ok=True)
    write_graphs(args, folder)
    rows = []
    for role in ROLES:
        graph = folder / f"{role}.onnx"
        for capability in CAPABILITIES:
            engine = folder / f"{role}-{capability}.engine"
            job = BuildJob(
                flavour="tensorrt-rtx",
                onnx=str(graph),
                engine=str(engine),
                profiles=profiles(graph),
                capabilities=[capability],
            )
            start = time.perf_counter()
            found = build(job)
            row = {"model": args.model, "precision": args.precision, "role": role}
            row |= {"capability": capability, "version": found.version, "layers": found.layers}
            row |= {"onnx_bytes": bytes_of(graph), "engine_bytes": found.bytes}
            rows.append(row | {"seconds": round(time.perf_counter() - start, 1)})
            engine.unlink()
            print(rows[-1], flush=True)
    path = args.work / f"compile.{args.model}.{args.precision}.json"
    path.write_text(json.dumps(rows))


def write_graphs(args: argparse.Namespace, folder: Path) -> None:
    """A model's graphs as ``samedge export`` writes them, without its checks of the masks."""
    import torch

    from samedge.bundle.manifest import ModelRecord
    from samedge.export import base
    from samedge.export.base import ExportRequest
    from samedge.models.building import build_model
    from samedge.models.spec import ModelSpec
    from samedge.models.zoo import load_model
    from samedge.pixels.image_files import PHOTOS
    from samedge.pixels.images import load_image
    from samedge.proof.photos import CalibrationSet

    class TwoPhotos(CalibrationSet):
        """Without their quarters: ranges of random weights mean nothing, and ViT-B is slow."""

        def pictures(self) -> Iterator[Array]:
            return map(load_image, self.images)

    torch.manual_seed(0)
    if args.model == "nano":
        model = load_model(MODELS["nano"])
    else:
        model = build_model(ModelSpec(encoder=MODELS[args.model], image_size=1024))
    row = target("jetson")
    request = ExportRequest(
        model=model.eval().requires_grad_(requires_grad=False),
        source=ModelRecord(name=args.model, licence="", origin="", encoder=MODELS[args.model]),
        target=row,
        precision=Precision(args.precision),
        buckets=row.prompt_buckets,
        calibration=TwoPhotos(PHOTOS, (PHOTOS / "astronaut.jpg", PHOTOS / "coffee.jpg")),
    )
    base.get("tensorrt").export(request, folder)


def bytes_of(graph: Path) -> int:
    """A graph with its external weights."""
    return sum(path.stat().st_size for path in graph.parent.glob(f"{graph.name}*"))


# ---- report


def report(args: argparse.Namespace) -> None:
    before = {} if args.before is None else json.loads(args.before.read_text())
    rows = accuracy_rows(args.work)
    encoders = {row["precision"]: row["encoder_bytes"] for row in rows}
    graphs = [
        row
        for path in sorted(args.work.glob("compile.*.json"))
        for row in json.loads(path.read_text())
    ]
    new = {(g["model"], g["precision"]) for g in graphs}
    earlier = before.get("compiled", [])
    graphs += [g for g in earlier if (g["model"], g["precision"]) not in new]
    ratio = encoders["int8"] / encoders["fp32"]
    share = min(share_of(args.work, precision) for precision in encoders)
    within = [row for row in rows if row["precision"] in LOST_AT_MOST]
    record = {
        "schema": "samedge.benchmarks.jetson/1",
        "created": created_now(),
        "environment": msgspec.to_builtins(environment()),
        "share_of_images": share,
        "accuracy": rows,
        "int8_encoder_over_fp32": ratio,
        "compiled": graphs,
        "roofline": roofline(args.work),
        "bars": {
            "accuracy": share == 1
            and all(r["lost"] <= LOST_AT_MOST[r["precision"]] for r in within),
            "int8_encoder_bytes": ratio <= INT8_ENCODER_AT_MOST,
            "compiled": {(g["model"], g["precision"], g["role"], g["capability"]) for g in graphs}
            >= {
                (model, precision, role, capability)
                for model in MODELS
                for precision in LOST_AT_MOST
                for role in ROLES
                for capability in CAPABILITIES
            },
        },
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record["bars"]))


def accuracy_rows(work: Path) -> list[dict[str, Any]]:
    scores = {precision: scores_of(work, precision) for precision in ("fp32", *LOST_AT_MOST)}
    plain = scores["fp32"]
    rows = []
    for precision, found in scores.items():
        if found.keys() != plain.keys():
            raise SystemExit(f"{precision} and fp32 were not measured on the same instances.")
        losses = [plain[key][1] - found[key][1] for key in plain]
        images = [key[0] for key in plain]
        bundle = Bundle.open(work / f"nano-{precision}")
        by_size = {
            name: float(
                np.mean([iou for area, iou in found.values() if metrics.size_class(area) == name])
            )
            for name in ("small", "medium", "large")
        }
        rows.append(
            {
                "precision": precision,
                "bundle_id": bundle.id,
                "n": len(found),
                "miou": float(np.mean([iou for _, iou in found.values()])),
                "miou_by_size": by_size,
                "lost": float(np.mean(losses)),
                "lost_ci95": metrics.bootstrap_mean(losses, images),
                **{f"{role}_bytes": bundle.artifact(role).bytes for role in ROLES},
                **{f"{role}_sha256": bundle.artifact(role).sha256 for role in ROLES},
            }
        )
    return rows


def scores_of(work: Path, precision: str) -> Mapping[tuple[str, int], tuple[float, float]]:
    """Area and IoU by image and annotation."""
    found = {}
    for path in sorted(work.glob(f"accuracy.{precision}.*.json")):
        for image, annotation, area, iou in json.loads(path.read_text())["scores"]:
            found[image, annotation] = (area, iou)
    return dict(sorted(found.items()))


def share_of(work: Path, precision: str) -> float:
    """Share of the dataset's images that was measured: 1 when every slice is there."""
    slices = [path.stem.split(".")[-1] for path in work.glob(f"accuracy.{precision}.*.json")]
    return min(1.0, round(sum(1 / int(part.split("of")[1]) for part in slices), 9))


def roofline(work: Path) -> list[dict[str, Any]]:
    """Bounds of the embedded model's graphs on every module; see samedge/machine/hardware.py."""
    rows = []
    for precision in LOST_AT_MOST:
        bundle = Bundle.open(work / f"nano-{precision}")
        for role in ROLES:
            cost = graph_cost(bundle.artifact_path(role))
            row = {"precision": precision, "role": role, "bytes_moved": cost.bytes_moved}
            row["operations"] = {kind.value: count for kind, count in cost.operations.items()}
            row["bound_ms"] = {bound.target: bound.bound_ms for bound in bounds(cost)}
            rows.append(row)
    return rows


if __name__ == "__main__":
    main()
