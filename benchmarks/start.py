"""How long starting takes: a command's help, and a process's first mask.

    python benchmarks/start.py --rounds 15 -o benchmarks/results/start.json
    python benchmarks/start.py --rounds 15 --against ../before

Every figure is the time from a parent's starting a Python process to its end, or for masks to the
first mask, by the system's clock. With `--against`, another checkout of samedge runs in turn
with this one, and the ratio is that of the pairs. `library` is the least that such a process can
do: it runs the same two files on the same photo with ONNX Runtime, NumPy and Pillow alone, by
default options, without a manifest, a hash, a canary, a mask of the photo's size; `imports` only
imports those three. The first round fills caches and does not count:
the canary's memory, and Python's compiled modules, which an installed package comes
with; they go into a folder of their own, also where the environment forbids them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import msgspec

from samedge.bundle.bundle import Bundle, embedded_path
from samedge.machine.environment import environment

HERE = Path(__file__).resolve().parents[1]
COMMANDS = {"--version": ["--version"], "segment --help": ["segment", "--help"]}
MODELS = ("samedge-pico", "samedge-nano")
COMMAND = "import sys; sys.argv[0] = 'samedge'; from samedge.__main__ import main; main()"
MASK = """
import sys, time
import samedge
name = sys.argv[1]
from samedge.bundle.bundle import embedded_path
photo = sorted(embedded_path(name).parent.glob("photos/*.jpg"))[0]
image = samedge.load_image(photo)
with samedge.load_default(model=name, backend="onnxruntime") as predictor:
    height, width = image.shape[:2]
    found = predictor.predict(image, samedge.Prompt(points=[[width / 2, height / 2]]))
    assert found.masks.any()
    print(time.time())
"""
LIBRARY = """
import sys, time
import numpy as np, onnxruntime
from PIL import Image
encoder, decoder, photo = sys.argv[1:]
image = Image.open(photo).convert("RGB")
image.thumbnail((512, 512), Image.Resampling.BILINEAR)
pixels = np.zeros((1, 512, 512, 3), np.uint8)
pixels[0, :image.height, :image.width] = image
cpu = ["CPUExecutionProvider"]
opened = [onnxruntime.InferenceSession(path, providers=cpu) for path in (encoder, decoder)]
names = [output.name for output in opened[0].get_outputs()]
known = dict(zip(names, opened[0].run(None, {"image": pixels})))
for tensor in opened[1].get_inputs():
    shape = [length if isinstance(length, int) else 1 for length in tensor.shape]
    known.setdefault(tensor.name, np.ones(shape, np.float32))
found = opened[1].run(None, {tensor.name: known[tensor.name] for tensor in opened[1].get_inputs()})
assert np.isfinite(found[0]).all()
print(time.time())
"""
IMPORTS = "import numpy, onnxruntime, PIL.Image, time; print(time.time())"
BARS_MS = {"--version": 60.0, "segment --help": 60.0, "samedge-pico": 280.0, "samedge-nano": 320.0}


class StartRow(TypedDict):
    """One thing that is started."""

    what: str
    checkout: str
    n: int
    median_ms: float
    min_ms: float
    pair_ratio: float | None


def main() -> None:
    """Start everything in turn, and print and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--against", type=Path, help="another checkout of samedge")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    checkouts = [HERE] if args.against is None else [HERE, args.against.resolve()]
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(checkouts, args.rounds, compiled=Path(folder))
    record = {
        "command": " ".join(word for word in sys.argv if not Path(word).is_absolute()),
        "environment": msgspec.to_builtins(environment()),
        "results": rows,
    }
    if args.output:
        args.output.write_text(json.dumps(record, indent=1) + "\n")
    for row in rows:
        print(row)


def measured(checkouts: Sequence[Path], rounds: int, *, compiled: Path) -> list[StartRow]:
    """Rows of everything by every checkout, this one first.

    Args:
        checkouts: of samedge.
        rounds: that count.
        compiled: where Python keeps what it has compiled.
    """
    rows = []
    for what in (*COMMANDS, *MODELS):
        ways = dict(zip(("this", "other"), (scripts(what, one) for one in checkouts), strict=False))
        if what in MODELS:
            ways |= {"library": library(what), "imports": (["-c", IMPORTS], HERE)}
        found: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(rounds + 1):
            for way, (script, checkout) in ways.items():
                elapsed_ms = start_ms(
                    script, checkout, compiled=compiled, is_ended=what in COMMANDS
                )
                if number:
                    found[way].append(elapsed_ms)
        for way, values in found.items():
            ratios = [this / other for this, other in zip(found["this"], values, strict=True)]
            rows.append(
                StartRow(
                    what=what,
                    checkout=way,
                    n=len(values),
                    median_ms=round(statistics.median(values), 1),
                    min_ms=round(min(values), 1),
                    pair_ratio=None if way == "this" else round(statistics.median(ratios), 3),
                )
            )
    return rows


def scripts(what: str, checkout: Path) -> tuple[list[str], Path]:
    """What Python is given to do a thing by a checkout of samedge, and where."""
    return ["-c", *([COMMAND, *COMMANDS[what]] if what in COMMANDS else [MASK, what])], checkout


def library(model: str) -> tuple[list[str], Path]:
    """The same of a mask by ONNX Runtime alone."""
    bundle = Bundle.open(embedded_path(model))
    photo = min((bundle.folder.parent / "photos").glob("*.jpg"))
    paths = [bundle.artifact_path("encoder"), bundle.artifact_path("decoder"), photo]
    return ["-c", LIBRARY, *map(str, paths)], HERE


def start_ms(script: Sequence[str], checkout: Path, *, compiled: Path, is_ended: bool) -> float:
    """Milliseconds from starting a process to its end, or to the mask that it makes."""
    given = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.time()
    done = subprocess.run(
        [sys.executable, *script],
        check=True,
        capture_output=True,
        text=True,
        cwd=checkout,
        env={**given, "PYTHONPATH": str(checkout), "PYTHONPYCACHEPREFIX": str(compiled)},
    )
    end = time.time() if is_ended else float(done.stdout.split()[-1])
    return (end - start) * 1e3


if __name__ == "__main__":
    main()
