"""Seconds and peak memory of ``samedge export``, ``segment`` and ``everything``, a process each.

    python benchmarks/export_cost.py -o benchmarks/results/export_cost.json

ViT-B has random weights in a checkpoint with the official names; what it costs to export does not
depend on their values. It is exported in fp32; the embedded model in fp32 and with ``auto``, which
tries and measures several precisions. Peak memory is the largest resident set that the system saw,
interpreter and libraries included. On a busy machine look at
``processor_seconds``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import torch

from samedge._version import __version__
from samedge.files.lines import created_now
from samedge.machine.environment import environment
from samedge.models.building import build_model
from samedge.models.keymaps import META
from samedge.models.spec import ModelSpec

PHOTO = Path(__file__).parents[1] / "samedge" / "data" / "photos" / "astronaut.jpg"
LIMITS = {  # seconds, bytes
    "export auto": (None, None),
    "export nano": (60.0, None),
    "export vit-b": (300.0, 10e9),
    "segment nano": (None, 500e6),
    "everything nano": (None, 500e6),
}
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
# A process inherits the peak of its parent, and this one holds torch: a small one in between.
LAUNCHER = """
import json, resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""


def vit_b(path: Path) -> None:
    """SAM ViT-B with random weights under the official names."""
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = {}
    for name, tensor in build_model(ModelSpec(encoder="vit", image_size=1024)).state_dict().items():
        sources = META.sources(name)
        sizes = [1, len(tensor) - 1] if len(sources) == 2 else [1] * len(sources)
        parts = tensor.split(sizes) if len(sources) > 1 else [tensor]
        state |= {source: part.clone() for source, part in zip(sources, parts, strict=True)}
    torch.save(state, path)


def cost(limit: str, *arguments: str) -> dict[str, Any]:
    """Run a command of samedge; what it cost, and whether it kept to its limits."""
    command = [sys.executable, "-m", "samedge", *arguments, "--quiet"]
    start = time.perf_counter()
    launched = [sys.executable, "-S", "-c", LAUNCHER, *command]
    answer = subprocess.run(launched, stdout=subprocess.PIPE, check=True).stdout
    code, processor_seconds, peak = json.loads(answer)
    seconds, peak = time.perf_counter() - start, peak * MAXRSS_UNIT
    most_seconds, most_bytes = LIMITS[limit]
    kept = code == 0
    kept &= most_seconds is None or seconds < most_seconds
    kept &= most_bytes is None or peak < most_bytes
    row = {
        "limit": limit,
        "command": " ".join(["samedge", *(Path(a).name if "/" in a else a for a in arguments)]),
        "exit_code": code,
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor_seconds, 2),
        "peak_rss_bytes": peak,
        "max_seconds": most_seconds,
        "max_bytes": most_bytes,
        "held": kept,
    }
    print(json.dumps(row))
    return row


def nano(target: str, folder: Path) -> list[dict[str, Any]]:
    """The embedded model: exported in fp32 and with ``auto``, then one box and 1,024 clicks."""
    bundle = str(folder / f"nano-{target}")
    export = ("export", "--target", target)
    segment = ("segment", str(PHOTO), "--bundle", bundle, "--box", "153,15,301,189")
    picture = ("--format", "overlay", "-o", str(folder / "overlay.png"))
    found = [
        cost("export auto", *export, "-o", str(folder / f"auto-{target}")),
        cost("export nano", *export, "--precision", "fp32", "-o", bundle),
    ]
    cost("segment nano", *segment, *picture)  # compiles, runs the canary, fills the caches
    found.append(cost("segment nano", *segment, *picture))
    every = ("everything", str(PHOTO), "--bundle", bundle, "-o", str(folder / "masks.json"))
    return [*found, cost("everything nano", *every)]


def large(target: str, folder: Path) -> list[dict[str, Any]]:
    """ViT-B in fp32."""
    checkpoint = folder / "vit_b.pth"
    if not checkpoint.exists():
        vit_b(checkpoint)
    options = ("--checkpoint", str(checkpoint), "--target", target, "--precision", "fp32")
    return [cost("export vit-b", "export", *options, "-o", str(folder / f"vit-b-{target}"))]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--model", choices=["nano", "vit-b"], help="one of them alone")
    parser.add_argument("--target", choices=["cpu", "intel"], help="one of them alone")
    arguments = parser.parse_args()
    cases = {"nano": nano, "vit-b": large}
    load, measured = os.getloadavg(), []
    with tempfile.TemporaryDirectory() as folder:
        for target in [arguments.target] if arguments.target else ["cpu", "intel"]:
            for name in [arguments.model] if arguments.model else cases:
                measured += cases[name](target, Path(folder))
    document = {
        "benchmark": "export_cost",
        "created": created_now(),
        "samedge_version": __version__,
        "environment": msgspec.to_builtins(environment()),
        "load_average_before": load,
        "results": measured,
    }
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")
    sys.exit(not all(row["held"] for row in measured))


if __name__ == "__main__":
    main()
