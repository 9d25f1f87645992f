"""How long starting takes: a command's help, and a process's first mask.

    python benchmarks/start.py --rounds 15 -o benchmarks/results/start.json
    python benchmarks/start.py --rounds 15 --against ../before

Every figure is the time from a parent's starting a Python process to its end, or for masks to the
first mask, by the system's clock. With `--against`, another checkout of samedge runs in turn
with this one, and the ratio is that of the pairs. The first round fills caches and does not count:
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
        found: list[list[float]] = [[] for _ in checkouts]
        for number in range(rounds + 1):
            for checkout, values in zip(checkouts, found, strict=True):
                elapsed_ms = start_ms(what, checkout, compiled=compiled)
                if number:
                    values.append(elapsed_ms)
        for checkout, values in zip(checkouts, found, strict=True):
            ratios = [this / other for this, other in zip(found[0], values, strict=True)]
            rows.append(
                StartRow(
                    what=what,
                    checkout="this" if checkout == HERE else "other",
                    n=len(values),
                    median_ms=round(statistics.median(values), 1),
                    min_ms=round(min(values), 1),
                    pair_ratio=None if checkout == HERE else round(statistics.median(ratios), 3),
                )
            )
    return rows


def start_ms(what: str, checkout: Path, *, compiled: Path) -> float:
    """Milliseconds from starting a process to its end, or to the mask that it makes."""
    script = [COMMAND, *COMMANDS[what]] if what in COMMANDS else [MASK, what]
    given = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.time()
    done = subprocess.run(
        [sys.executable, "-c", *script],
        check=True,
        capture_output=True,
        text=True,
        cwd=checkout,
        env={**given, "PYTHONPATH": str(checkout), "PYTHONPYCACHEPREFIX": str(compiled)},
    )
    end = float(done.stdout.split()[-1]) if what in MODELS else time.time()
    return (end - start) * 1e3


if __name__ == "__main__":
    main()
