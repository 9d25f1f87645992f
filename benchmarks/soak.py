"""Memory, open files and threads of one process over very many prompts.

    python benchmarks/soak.py --backend onnxruntime -o build/soak-onnxruntime.json
    make soak      # every backend here that opens the embedded model

100,000 prompts over 1,000 pictures of different sizes, drawn with a seed. After the first tenth,
resident memory may grow by at most 1 MB in 10,000 prompts (a line through the samples, fitted by
least squares), and open files and threads may not grow at all. ``--leak 1024`` keeps so many bytes
a prompt, on purpose: the control, which must fail.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from samedge import runtimes
from samedge.bundle.bundle import Bundle, embedded_path
from samedge.predict.predictor import Predictor
from samedge.types import Array, Prompt

SAMPLES = 100
WARM_UP = 0.1
LIMIT_BYTES = 1_000_000
PER = 10_000


@dataclasses.dataclass(frozen=True)
class Sample:
    """The process after so many prompts."""

    prompts: int
    resident_bytes: int
    files: int
    threads: int


@dataclasses.dataclass(frozen=True)
class Soak:
    """What was seen.

    Attributes:
        backend: that ran, with its version.
        samples: from the first prompt on.
    """

    backend: str
    samples: list[Sample]

    @property
    def warm(self) -> list[Sample]:
        """The samples after the warm-up."""
        last = self.samples[-1].prompts
        return [sample for sample in self.samples if sample.prompts > WARM_UP * last]

    @property
    def growth_bytes(self) -> float:
        """Slope of the resident memory, in bytes in ``PER`` prompts."""
        places = np.array([sample.prompts for sample in self.warm], np.float64)
        memory = np.array([sample.resident_bytes for sample in self.warm], np.float64)
        return float(np.polyfit(places, memory, 1)[0]) * PER

    def complaints(self, limit_bytes: float = LIMIT_BYTES) -> list[str]:
        """What grows that should not."""
        found = []
        if self.growth_bytes > limit_bytes:
            grown = f"{self.growth_bytes / 1e6:.2f} MB in {PER} prompts"
            found.append(f"memory grows by {grown}, limit {limit_bytes / 1e6:g} MB")
        for name in ("files", "threads"):
            first, last = (getattr(sample, name) for sample in (self.warm[0], self.warm[-1]))
            if last > first:
                found.append(f"open {name} grow from {first} to {last}")
        return found


def picture(number: int) -> Array:
    """One of the pictures: blocks of colour, of another size each."""
    rng = np.random.default_rng(number)
    height, width = rng.integers(48, 480, 2)
    blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 8 // width
    return np.ascontiguousarray(blocks[rows][:, columns])


def prompt(number: int, image: Array) -> Prompt:
    """A click or a box inside of a picture."""
    rng = np.random.default_rng(number)
    height, width = image.shape[:2]
    x, y = rng.uniform(0, 0.8, 2) * (width, height)
    if number % 2:
        return Prompt(points=[[x, y]])
    return Prompt(box=[x, y, x + 0.2 * width, y + 0.2 * height])


def soak(
    predictor: Predictor,
    *,
    prompts: int,
    images: int,
    leak_bytes: int = 0,
    samples: int = SAMPLES,
    on_sample: Callable[[Sample], None] = lambda _: None,
) -> Soak:
    """Decode so many prompts and look at the process ``samples`` times.

    Args:
        predictor: an open one.
        prompts: in all.
        images: how many they are about.
        leak_bytes: kept for ever for each prompt, as a control.
        samples: how often to look.
        on_sample: hears of each.
    """
    kept: list[bytearray] = []
    seen: list[Sample] = []
    each, every = max(prompts // images, 1), max(prompts // samples, 1)
    image = picture(0)
    embedding = predictor.encode(image)
    for number in range(prompts):
        if number % each == 0:
            image = picture(number // each)
            embedding = predictor.encode(image)
        predictor.decode(embedding, prompt(number, image))
        if leak_bytes:
            kept.append(bytearray(os.urandom(leak_bytes)))
        if (number + 1) % every == 0:
            seen.append(_sample(number + 1))
            on_sample(seen[-1])
    active = predictor.active_backend()
    return Soak(f"{active.name} {active.version} {active.device}", seen)


def _sample(prompts: int) -> Sample:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free, but not yet given back, is no leak
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    status = Path("/proc/self/status").read_text()
    threads = next(line for line in status.splitlines() if line.startswith("Threads:"))
    return Sample(
        prompts=prompts,
        resident_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
        files=len(list(Path("/proc/self/fd").iterdir())),
        threads=int(threads.split()[1]),
    )


def here(bundle: Path) -> list[str]:
    """Backends that are here and open a bundle."""
    formats = {graph.format for graph in Bundle.open(bundle, verify=False).manifest.own_graphs}
    found = (runtimes.get(name) for name in runtimes.names())
    return [one.name for one in found if formats <= set(one.formats) and one.probe().available]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bundle", type=Path, default=embedded_path())
    parser.add_argument("--backend", help="the bundle's own by default")
    parser.add_argument("--list", action="store_true", help="print the backends that are here")
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--leak", type=int, default=0, metavar="BYTES")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if given.list:
        print(*here(given.bundle))
        return 0

    def show(sample: Sample) -> None:
        print(
            f"{sample.prompts:8} prompts {sample.resident_bytes / 1e6:8.1f} MB "
            f"{sample.files} files {sample.threads} threads",
            flush=True,
        )

    with Predictor.from_bundle(given.bundle, backend=given.backend, threads=1) as predictor:
        found = soak(
            predictor,
            prompts=given.prompts,
            images=given.images,
            leak_bytes=given.leak,
            on_sample=show,
        )
    if given.output is not None:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        document = {**dataclasses.asdict(found), "growth_bytes": found.growth_bytes}
        given.output.write_text(json.dumps(document, indent=1))
    print(f"{found.backend}: {found.growth_bytes / 1e6:.3f} MB in {PER} prompts")
    print(*found.complaints(), sep="\n")
    return 1 if found.complaints() else 0


if __name__ == "__main__":
    sys.exit(main())
