"""Annotate many photos with two processes, killed at random, and compare with a run left alone.

    python benchmarks/annotate_kills.py --photos 1000 --kills 5 --seed 0

Photos are made here: small, different, with a few shapes each. Exit 1 when a byte differs.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 96


def make_photo(path: Path, *, seed: int) -> None:
    """A picture of three ellipses on noise."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 90, (SIDE, SIDE, 3), np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        x, y, w, h = rng.integers(10, SIDE // 2, 4).tolist()
        draw.ellipse((x, y, x + w, y + h), fill=tuple(rng.integers(90, 255, 3).tolist()))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def command(photos: Path, output: Path, bundle: str | None) -> list[str]:
    """The command line under test: a coarse grid, so that a thousand photos take minutes."""
    own = ["--bundle", bundle] if bundle else []
    return [
        *(sys.executable, "-m", "samedge", "annotate", str(photos), "--auto", "-q", *own),
        *("-o", str(output), "--workers", "2", "--points-per-side", "2"),
    ]


def main() -> int:
    """Run both, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        photos, whole, killed = (Path(folder, name) for name in ("photos", "whole", "killed"))
        for number in range(options.photos):
            make_photo(photos / f"{number % 7}" / f"{number:04d}.png", seed=number)
        start = time.monotonic()
        subprocess.run(command(photos, whole, options.bundle), check=True)
        seconds = time.monotonic() - start
        print(f"left alone: {seconds:.0f} s")
        for _ in range(options.kills):
            process = subprocess.Popen(command(photos, killed, options.bundle))
            time.sleep(rng.uniform(0.1, seconds / (options.kills + 1)))
            process.send_signal(signal.SIGKILL)
            process.wait()
            print(f"killed after {len(list((killed / 'parts').rglob('*.json')))} photos")
        subprocess.run(command(photos, killed, options.bundle), check=True)
        equal = (whole / "annotations.json").read_bytes() == (
            killed / "annotations.json"
        ).read_bytes()
        leftovers = list(killed.rglob(".samedge-tmp-*"))
        print(f"equal: {equal}; leftovers: {len(leftovers)}")
    return 0 if equal and not leftovers else 1


if __name__ == "__main__":
    sys.exit(main())
