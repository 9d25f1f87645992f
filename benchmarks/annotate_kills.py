"""Annotate many photos with two processes, killed at random, and compare with a run left alone.

    python benchmarks/annotate_kills.py --photos 1000 --kills 5 --seed 0

Photos are made here: small, different, with a few shapes each. Exit 1 when a byte differs. With
--folder and --minutes it works in pieces: exit 75 asks for the same call again. Then the run that
is left alone is killed, too, at the end of each call; how often is said.
"""

from __future__ import annotations

import argparse
import contextlib
import json
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


class Sitting:
    """As much of the work as fits into the time; what is left is for the next call.

    Args:
        folder: keeps photos, results and what was done.
        seconds: of this call.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self._state, self._end = folder / "state.json", time.monotonic() + seconds
        self.state: dict[str, float] = (
            json.loads(self._state.read_text()) if self._state.exists() else {}
        )

    def note(self, name: str, value: float) -> None:
        """Keep a figure for the next call."""
        self.state[name] = value
        self._state.write_text(json.dumps(self.state))

    def run(self, name: str, arguments: list[str]) -> None:
        """Run a command to its end; where time is up, it is stopped, and the next call goes on.

        Raises:
            TimeoutError: the time is up.
        """
        start = time.monotonic()
        try:
            subprocess.run(arguments, check=True, timeout=max(self._end - start, 1))
        except subprocess.TimeoutExpired:
            self.note(f"{name}_stops", self.stops(name) + 1)
            raise TimeoutError from None
        finally:
            self.note(name, self.state.get(name, 0) + time.monotonic() - start)

    def stops(self, name: str) -> int:
        """How often the end of a call killed a command."""
        return int(self.state.get(f"{name}_stops", 0))

    def check(self) -> None:
        """Whether there is time left; raises TimeoutError where there is none."""
        if time.monotonic() > self._end:
            raise TimeoutError


def compared(folder: Path, sitting: Sitting, options: argparse.Namespace) -> bool:
    """Both runs and their comparison; whether the files are equal."""
    photos, whole, killed = (folder / name for name in ("photos", "whole", "killed"))
    for number in range(options.photos):
        path = photos / f"{number % 7}" / f"{number:04d}.png"
        if not path.exists():
            make_photo(path, seed=number)
    if "whole_done" not in sitting.state:
        sitting.run("seconds", command(photos, whole, options.bundle))
        sitting.note("whole_done", 1)
    seconds = sitting.state["seconds"]
    print(f"left alone but for {sitting.stops('seconds')} ends of a call: {seconds:.0f} s")
    rng = random.Random(options.seed)
    waits = [rng.uniform(0.1, seconds / (options.kills + 1)) for _ in range(options.kills)]
    for number in range(int(sitting.state.get("kills", 0)), options.kills):
        sitting.check()
        process = subprocess.Popen(command(photos, killed, options.bundle))
        time.sleep(waits[number])
        process.send_signal(signal.SIGKILL)
        process.wait()
        sitting.note("kills", number + 1)
        print(f"killed after {len(list((killed / 'parts').rglob('*.json')))} photos")
    sitting.run("after_kills", command(photos, killed, options.bundle))
    equal = (whole / "annotations.json").read_bytes() == (killed / "annotations.json").read_bytes()
    leftovers = list(killed.rglob(".samedge-tmp-*"))
    print(f"equal: {equal}; leftovers: {len(leftovers)}")
    return equal and not leftovers


def main() -> int:
    """Run both, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle")
    parser.add_argument("--folder", type=Path, help="keep the work there, for calls that go on")
    parser.add_argument("--minutes", type=float, default=600, help="of this call")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return 0 if compared(folder, Sitting(folder, options.minutes * 60), options) else 1
        except TimeoutError:
            print("time is up: the same command goes on")
            return 75


if __name__ == "__main__":
    sys.exit(main())
