"""Clicks of two bundles on one photo: one, sixteen, and the 1,024 of a grid.

    samedge export --model samedge-nano --target cpu --precision fp32 -o build/after
    python benchmarks/click_speed.py build/before build/after -o clicks.json

`build/before` is a bundle of the model before, made in the same way from its checkpoint
(`--checkpoint`). Both are opened by samedge's own runtime; what is timed is `decode_logits`: the
decoder's graph in the batches that the runtime makes, without cutting masks. The two take turns in
an order that changes from round to round, after a pause in which their threads come to rest. The
ratio is the geometric mean of the rounds' ratios, its interval a bootstrap over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import msgspec
import numpy as np

from samedge.bundle.bundle import embedded_path
from samedge.machine.environment import environment
from samedge.pixels.images import load_image
from samedge.pixels.metrics import bootstrap_ratio
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.predictor import Predictor
from samedge.types import Prompt

COUNTS = {1: 20, 16: 5, 1024: 1}
"""Clicks of a call, and the calls of a round, whose median counts."""
PAUSE_S = 0.2


class ClickRow(TypedDict):
    """How two bundles answer so many clicks."""

    clicks: int
    rounds: int
    before_ms: float
    after_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    if args.rounds < 5:
        parser.error("an interval needs five rounds at least")
    image = load_image(sorted((embedded_path().parent / "photos").glob("*.jpg"))[0])
    load = os.getloadavg()[0]
    with Predictor.from_bundle(args.before) as before, Predictor.from_bundle(args.after) as after:
        pair = [(one, one.encode(image)) for one in (before, after)]
        rows = [
            row_of(pair, grid(count, image.shape), calls=calls, rounds=args.rounds)
            for count, calls in COUNTS.items()
        ]
        bundles = [f"{one.bundle.manifest.model.name} {one.bundle.id}" for one in (before, after)]
    record = {
        "command": " ".join(word for word in sys.argv if not Path(word).is_absolute()),
        "environment": msgspec.to_builtins(environment()),
        "load": load,
        "bundles": bundles,
        "results": rows,
    }
    args.output.write_text(json.dumps(record, indent=1) + "\n")
    for row in rows:
        print(row)


def grid(count: int, shape: Sequence[int]) -> list[Prompt]:
    """So many clicks in a square grid on a photo."""
    side = round(count**0.5)
    places = (np.arange(side) + 0.5) / side
    height, width = shape[:2]
    return [Prompt(points=[[x * width, y * height]]) for y in places for x in places]


def row_of(
    pair: Sequence[tuple[Predictor, ImageEmbedding]],
    prompts: Sequence[Prompt],
    *,
    calls: int,
    rounds: int,
) -> ClickRow:
    """Time both in turns."""
    times: list[list[float]] = [[], []]
    for number in range(1 + rounds):
        for index in (0, 1) if number % 2 else (1, 0):
            predictor, embedding = pair[index]
            time.sleep(PAUSE_S)
            found = [taken_ms(predictor, embedding, prompts) for _ in range(calls)]
            if number:  # the first round fills caches
                times[index].append(float(np.median(found)))
    before, after = (np.array(one) for one in times)
    interval = bootstrap_ratio(before.tolist(), after.tolist())
    assert interval is not None, "five rounds at least"
    ratio, low, high = interval
    return ClickRow(
        clicks=len(prompts),
        rounds=rounds,
        before_ms=float(np.median(before)),
        after_ms=float(np.median(after)),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
    )


def taken_ms(predictor: Predictor, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    predictor.decode_logits(embedding, prompts)
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    main()
