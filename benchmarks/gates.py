"""The gates themselves: what they refuse, what they pass, and why masks differ at all.

    python benchmarks/gates.py causes --photos eval/coco/images -o causes.json
    python benchmarks/gates.py mutants --runs 20 -o mutants.json
    python benchmarks/gates.py sound --bundles build/quantization --calibration train/coco -o s.json
    python benchmarks/gates.py commands --seeds 0 1 2 3 4 --work build/gates -o commands.json

`causes`: bf16 and INT8, emulated in torch layer by layer, against fp32 over random prompts: how
their masks differ by the stability of fp32's own mask, and how often another candidate is chosen.

`mutants`: every fault of `tests/proof/mutants.py`, at every precision, in so many runs with other
layers and photos; how many passed, and how much each changes the masks by itself. A run asks parity
first and, if that passes, accuracy; the runtime's guard against dead encoders stands before both.

`sound`: bundles that are known to be good, judged on random subsets of a calibration set: how often
they are refused.

`commands`: three exports of nano at the command line, with other seeds: exit codes and seconds.

Each step prints a line a finding, and can be run alone. ONEDNN_MAX_CPU_ISA hides instruction sets
from OpenVINO: AVX512_CORE_VNNI leaves out AMX and bf16.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from samedge.bundle.bundle import Bundle, embedded_path
from samedge.calibration.plan import PrecisionPlan, load_plan
from samedge.errors import InferenceError
from samedge.export.sources import photo_paths, read_photos
from samedge.machine import environment
from samedge.models import zoo
from samedge.models.promptable import PromptableModel
from samedge.pixels.images import load_image
from samedge.predict.predictor import Predictor
from samedge.proof import parity
from samedge.proof.accuracy import compare
from samedge.proof.decision import Budget, GraphLimits, graph_limits
from samedge.proof.photos import CalibrationSet, load_calibration
from samedge.proof.reference import TorchReference
from samedge.proof.scenes import Reference
from samedge.types import Array, Precision
from tests.proof import emulated, mutants

COMMANDS = {
    "intel int8": ("--target", "intel", "--precision", "int8"),
    "cpu int8": ("--target", "cpu", "--precision", "int8"),
    "intel auto": ("--target", "intel"),
}
STABILITIES = (0.0, 0.3, 0.6, 0.8, 1.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("causes", "mutants", "sound", "commands"))
    parser.add_argument("--model", default="samedge-nano")
    parser.add_argument("--photos", type=Path, help="folder; else samedge's own")
    parser.add_argument("--count", type=int, default=8, help="photos of the folder, evenly spread")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--only", nargs="*", help="mutants by a part of their name")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "int8"])
    parser.add_argument("--seconds", type=float, default=60.0, help="of accuracy, a bundle")
    parser.add_argument("--bundles", type=Path, help="folder with TARGET-fp32 and TARGET-int8")
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--subset", type=int, default=24, help="photos in a random subset")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--work", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    steps: dict[str, Callable[[argparse.Namespace], Any]] = {
        "causes": causes,
        "mutants": mutant_table,
        "sound": sound,
        "commands": commands,
    }
    document = {
        "model": args.model,
        "environment": msgspec.to_builtins(environment.environment()),
        "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA"),
        args.step: steps[args.step](args),
    }
    if args.output is not None:
        args.output.write_text(json.dumps(document, indent=2) + "\n")


def photos_of(args: argparse.Namespace) -> list[Array]:
    if args.photos is None:
        return read_photos(photo_paths(None))
    found = sorted(path for path in args.photos.iterdir() if path.suffix in (".jpg", ".png"))
    step = max(len(found) // args.count, 1)
    return [load_image(path) for path in found[::step][: args.count]]


def rounded(model: PromptableModel, precision: str, plan: PrecisionPlan) -> PromptableModel:
    """A model as a precision computes it: INT8 in the encoder, with bf16 elsewhere."""
    if precision == "fp32":
        return model
    if precision != "int8":
        return emulated.rounded(model, Precision(precision))
    feeds = load_calibration().encoder_feeds(model.frame)

    def keep(name: str) -> bool:
        return plan.precision_of(f"image_encoder.{name}") is not Precision.INT8

    return emulated.rounded(emulated.quantized(model, feeds, keep=keep), Precision.BF16)


def own_plan(name: str) -> PrecisionPlan:
    file = zoo.WEIGHTS / f"{name}.plan.json"
    return load_plan(file) if file.is_file() else PrecisionPlan()


def limits_for(precision: str) -> GraphLimits:
    if precision == "int8":
        return graph_limits(Precision.INT8, Precision.BF16)
    return graph_limits(Precision(precision), Precision(precision))


def opened(model: PromptableModel) -> Predictor:
    """A model in torch behind the interface of the bundle that comes with samedge."""
    return emulated.opened(Bundle.open(embedded_path(), verify=False), model)


class Remembering(TorchReference):
    """The model in torch, which answers the same question once."""

    def __init__(self, model: PromptableModel) -> None:
        super().__init__(model)
        self._known: dict[str, dict[str, Array]] = {}

    def run(self, role: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        digest = hashlib.sha256(role.encode())
        for name in sorted(feeds):
            digest.update(name.encode() + np.ascontiguousarray(feeds[name]).tobytes())
        key = digest.hexdigest()
        if key not in self._known:
            self._known[key] = super().run(role, feeds)
        return self._known[key]


def causes(args: argparse.Namespace) -> dict[str, Any]:
    model = zoo.load_model(args.model).eval()
    photos, plan = photos_of(args), own_plan(args.model)
    found = {}
    for precision in args.precisions:
        if precision == "fp32":
            continue
        with opened(rounded(model, precision, plan)) as subject:
            measured = parity.measure(
                TorchReference(model), subject, photos=photos, limits=limits_for(precision)
            )
        found[precision] = {**msgspec.to_builtins(measured.record()), "by": by_cause(measured)}
        print(precision, json.dumps(found[precision], indent=1), flush=True)
    return found


def by_cause(measured: parity.Parity) -> list[dict[str, Any]]:
    """IoU of the masks by the stability of fp32's, in units of its own spread."""
    weights = np.concatenate([row.weights for row in measured.rows])
    plain = np.concatenate([row.ious for row in measured.rows])
    decided = np.concatenate([row.decided for row in measured.rows])
    rows = []
    for low, high in itertools.pairwise(STABILITIES):
        chosen = (weights >= low) & (weights < high)
        rows.append(
            {
                "stability": [low, high],
                "share": float(chosen.mean()),
                "iou": float(plain[chosen].mean()) if chosen.any() else None,
                "decided_iou": float(decided[chosen].mean()) if chosen.any() else None,
                "share_of_difference": float((1 - plain[chosen]).sum() / (1 - plain).sum()),
            }
        )
    return rows


def mutant_table(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs of every fault: refused by parity, by accuracy, or passed."""
    model, plan = zoo.load_model(args.model).eval(), own_plan(args.model)
    names = [n for n in mutants.MUTATIONS if not args.only or any(o in n for o in args.only)]
    sound_models = {p: rounded(model, p, plan) for p in args.precisions}
    rows = []
    reference = Remembering(model)
    with opened(model) as plain:
        for name in names:
            for precision in args.precisions:
                row = mutant_row(args, name, precision, sound_models[precision], reference, plain)
                rows.append(row)
                print(json.dumps(row), flush=True)
    return rows


def mutant_row(
    args: argparse.Namespace,
    name: str,
    precision: str,
    computed: PromptableModel,
    model: TorchReference,
    plain: Predictor,
) -> dict[str, Any]:
    photos = photos_of(args)
    runs = args.runs if name in mutants.OF_ONE_LAYER else min(args.runs, len(photos))
    by_guard = by_parity = by_accuracy = passed = 0
    survivors = []
    for seed in range(runs):
        random = np.random.default_rng(seed)
        pair = [photos[i] for i in random.choice(len(photos), 2, replace=False)]
        with opened(mutants.mutant(computed, name, seed=seed)) as subject:
            try:
                measured = parity.measure(model, subject, photos=pair, limits=limits_for(precision))
            except InferenceError:  # the runtime's own guard: an encoder that is dead
                by_guard += 1
                continue
            if not measured.passed:
                by_parity += 1
                continue
            reference = Reference(plain, load_calibration(), seed=seed)
            found = compare(reference, subject, budget=Budget(seconds=args.seconds), timed=False)
        if found.verdict == "refused":
            by_accuracy += 1
        else:
            passed += 1
            record = measured.record()
            survivors.append(
                {
                    "seed": seed,
                    "verdict": found.verdict,
                    "drop": found.drop,
                    "decided_iou_mean": record.decided_iou_mean,
                    "logit_error": record.logit_error,
                    "decoder_error": record.decoder_error,
                    "embedding_cosine_min": record.embedding_cosine_min,
                }
            )
    return {
        "mutant": name,
        "precision": precision,
        "runs": runs,
        "guard": by_guard,
        "parity": by_parity,
        "accuracy": by_accuracy,
        "passed": passed,
        "survivors": survivors,
    }


def sound(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Good bundles on random subsets of a calibration set."""
    everything = load_calibration(args.calibration, limit=10_000)
    rows = []
    for target in ("intel", "cpu"):
        paths = [args.bundles / f"{target}-{p}" for p in ("fp32", "int8")]
        if not all(path.exists() for path in paths):
            continue
        with (
            Predictor.from_bundle(paths[0], threads=1) as plain,
            Predictor.from_bundle(paths[1], threads=1, verify=False) as small,
        ):
            for seed in range(args.runs):
                row = {
                    "target": target,
                    "seed": seed,
                    **judged(args, everything, seed, plain, small),
                }
                rows.append(row)
                print(json.dumps(row), flush=True)
    return rows


def judged(
    args: argparse.Namespace,
    everything: CalibrationSet,
    seed: int,
    plain: Predictor,
    small: Predictor,
) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    chosen = random.choice(len(everything.images), args.subset, replace=False)
    images = tuple(everything.images[i] for i in sorted(chosen))
    subset = CalibrationSet(everything.source, images)
    found = compare(
        Reference(plain, subset, seed=seed), small, budget=Budget(seconds=args.seconds), timed=False
    )
    return {
        "verdict": found.verdict,
        "images": found.images,
        "seconds": found.seconds,
        "rows": msgspec.to_builtins(found.rows),
    }


def commands(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Exports at the command line."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in args.seeds:
            for name, options in COMMANDS.items():
                row = {
                    "command": name,
                    "seed": seed,
                    **exported(options, seed, Path(scratch, "out")),
                }
                rows.append(row)
                print(json.dumps(row), flush=True)
    return rows


def exported(options: Sequence[str], seed: int, output: Path) -> dict[str, Any]:
    start = time.perf_counter()
    found = subprocess.run(
        [
            sys.executable,
            "-m",
            "samedge",
            "export",
            *options,
            "--seed",
            str(seed),
            *("-o", str(output), "--json", "-q"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    row: dict[str, Any] = {"exit": found.returncode, "seconds": time.perf_counter() - start}
    try:
        document = json.loads(found.stdout)
    except ValueError:
        return {**row, "said": found.stderr[-500:]}
    accuracy = document.get("accuracy") or {}
    return {
        **row,
        "precision": [a["precision"] for a in document.get("artifacts", [])],
        "verdict": accuracy.get("verdict"),
        "images": accuracy.get("images"),
        "gate_seconds": accuracy.get("seconds"),
        "choices": document.get("choices"),
        "said": document.get("message"),
    }


if __name__ == "__main__":
    main()
