"""Memory of following a stream for many minutes: this process and its capture process.

    python benchmarks/stream_memory.py drive.mp4 --bundle out/intel --box 410,180,520,260 \\
        --minutes 20 -o benchmarks/results/stream_memory.json

A recording is played over and over at its own pace, as a camera would give it: the newest frame
wins. Each minute prints resident memory, frames a second and the age of masks. Memory counts as
settled after the first tenth, two minutes of twenty; from there on it may grow by at most 2 MB
(issue 20), or the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import msgspec

from samedge.live.camera import Camera
from samedge.live.following import Figures, follow
from samedge.live.frame import now_s
from samedge.live.sources.pyav import library
from samedge.machine.environment import environment
from samedge.predict.subjects import open_predictor, subject
from samedge.tracking.settings import TrackerSettings
from samedge.tracking.tracker import Tracker
from samedge.types import Array, Prompt

LIMIT_BYTES = 2_000_000
WARM_UP = 0.1
RECORDING = "SAMEDGE_BENCHMARK_RECORDING"
"""Environment variable by which the capture process knows the recording."""


class Minute(TypedDict):
    """What one minute gave."""

    minute: int
    resident_bytes: int
    frames_per_s: float | None
    age_p50_ms: float | None
    age_p95_ms: float | None


def frames() -> Iterator[tuple[Array, float]]:
    """The recording again and again, in the capture process: ``python:stream_memory:frames``."""
    start, before_s = time.monotonic(), 0.0
    while True:
        last_s = before_s
        with library().open(os.environ[RECORDING]) as container:
            for frame in container.decode(video=0):
                last_s = before_s + frame.time
                time.sleep(max(0.0, start + last_s - time.monotonic()))
                yield frame.to_ndarray(format="rgb24"), last_s
        before_s = last_s + 1 / 30


def main() -> int:
    """Play, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--bundle", default="samedge-nano")
    parser.add_argument("--box", required=True, help="X0,Y0,X1,Y1 in the first frame")
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--ask-every", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    os.environ[RECORDING] = str(args.recording.resolve())
    predictor, _ = open_predictor(args.bundle, threads=args.threads)
    with predictor:
        predictor.load()
        tracker = Tracker(predictor, settings=TrackerSettings(ask_every=args.ask_every))
        box = [float(side) for side in args.box.split(",")]
        rows = played(tracker, Prompt(box=box), minutes=args.minutes)
        record = {
            "command": " ".join(map(_without_folders, sys.argv)),
            "environment": msgspec.to_builtins(environment(threads=args.threads)),
            "subject": msgspec.to_builtins(subject(predictor, name=Path(args.bundle).name)),
            "limit_bytes": LIMIT_BYTES,
            "growth_bytes": growth(rows),
            "minutes": rows,
        }
    if args.output:
        args.output.write_text(json.dumps(record, indent=1) + "\n")
    print(f"grew by {growth(rows) / 1e6:.2f} MB, limit {LIMIT_BYTES / 1e6:.0f} MB")
    return int(growth(rows) > LIMIT_BYTES)


def played(tracker: Tracker, prompt: Prompt, *, minutes: int) -> list[Minute]:
    """Follow for so many minutes; one row each."""
    rows: list[Minute] = []
    with Camera(f"python:{Path(__file__).stem}:{frames.__name__}") as camera:
        start, figures = now_s(), Figures()
        for followed in follow(camera, tracker, prompts=[prompt], until_s=start + 60 * minutes + 5):
            figures.add(followed)
            if now_s() - start < 60 * (len(rows) + 1):
                continue
            rows.append(
                Minute(
                    minute=len(rows) + 1,
                    resident_bytes=resident_bytes(),
                    frames_per_s=figures.frames_per_s,
                    age_p50_ms=figures.age_ms(50),
                    age_p95_ms=figures.age_ms(95),
                )
            )
            print(rows[-1], flush=True)
            figures = Figures()
            if len(rows) == minutes:
                break
    return rows


def _without_folders(word: str) -> str:
    """A word of the command line; of a path on this machine the name alone."""
    return Path(word).name if Path(word).is_absolute() else word


def growth(rows: list[Minute]) -> int:
    """Bytes from the settled minute to the last."""
    settled = rows[min(int(len(rows) * WARM_UP), len(rows) - 1)]
    return rows[-1]["resident_bytes"] - settled["resident_bytes"]


def resident_bytes() -> int:
    """Of this process and its children, by Linux's files."""
    own = os.getpid()
    found = Path(f"/proc/{own}/task").glob("*/children")
    pids = [own, *(int(pid) for file in found for pid in file.read_text().split())]
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main())
