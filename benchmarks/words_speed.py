"""How long words take: the scoring of regions alone, and all that `--text` does to a photo.

    python benchmarks/words_speed.py [--bundle DIR] [--regions 64] [--rounds 20] [--threads 2]
    python benchmarks/words_speed.py --against ../before --finds 8

`score_ms`: regions cut out, encoded and held against every word of the table, without proposals;
they are squares all over a photo of samedge's own. `find_ms`: a word found in each of samedge's own
photos, proposals of everything mode included, reading the file not. Prints one JSON document:
milliseconds of each round's parts, their medians, and the bundle and backend.

With --against, the folder of another version of samedge, both find a word in the photos in turns,
each in a process of its own with its own embedded model: what else the machine does falls on both.
`ratio` is the mean of the rounds' (this version's time over the other's, on a logarithmic scale),
with a 95% interval over rounds.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import numpy as np

from samedge.bundle.bundle import bundle_path
from samedge.machine.environment import environment
from samedge.pixels.image_files import PHOTOS
from samedge.pixels.images import load_image
from samedge.pixels.metrics import bootstrap_mean
from samedge.predict.predictor import Predictor
from samedge.predict.words.crops import region_crops
from samedge.predict.words.finding import find
from samedge.predict.words.regions import RegionScorer


@click.command()
@click.option("--bundle", default=None, help="A bundle with words; default: the embedded one.")
@click.option("--regions", default=64, show_default=True)
@click.option("--rounds", default=20, show_default=True)
@click.option("--finds", default=3, show_default=True, help="Rounds over the photos.")
@click.option("--threads", default=2, show_default=True)
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another version of samedge: time the finding of both in turns.",
)
def main(
    bundle: str | None,
    *,
    regions: int,
    rounds: int,
    finds: int,
    threads: int,
    against: Path | None,
) -> None:
    """Time the scoring of regions, and the finding of things."""
    if against is not None:
        print(json.dumps(_compared(against, finds, threads), indent=1))
        return
    image = load_image(PHOTOS / "astronaut.jpg")
    masks = squares(image.shape[:2], regions)
    path = bundle_path(bundle)
    with Predictor.from_bundle(path, threads=threads, any_backend=True) as predictor:
        scorer = RegionScorer(predictor.graphs)
        words = scorer.asked([scorer.table.words[row].name for row in scorer.table.askable])
        scorer.margins(scorer.embed(image, masks), words)  # opens the graph
        total, cut = [], []
        for _ in range(rounds):
            start = time.perf_counter()
            scorer.margins(scorer.embed(image, masks), words)
            total.append((time.perf_counter() - start) * 1e3)
            start = time.perf_counter()
            region_crops(image, masks, record=scorer.record, side=_side(predictor))
            cut.append((time.perf_counter() - start) * 1e3)
        found = {
            path.stem: _find_ms(predictor, path, finds) for path in sorted(PHOTOS.glob("*.jpg"))
        }
        active = predictor.active_backend("region_encoder")
    document = {
        "bundle": predictor.bundle.id,
        "backend": {"name": active.name, "version": active.version, "device": active.device},
        "threads": threads,
        "regions": regions,
        "words": len(words),
        "score_ms": {"p50": statistics.median(total), "min": min(total), "rounds": total},
        "of_it_crops_ms": {"p50": statistics.median(cut), "min": min(cut)},
        "find_ms": found,
        "environment": msgspec.to_builtins(environment(threads=threads)),
    }
    print(json.dumps(document, indent=1))


def _find_ms(predictor: Predictor, path: Path, rounds: int) -> dict[str, object]:
    """Milliseconds of each round on one photo, by stages, after one that is not counted."""
    image = load_image(path)
    find(predictor, "person", image=image)
    spent = []
    for _ in range(rounds):
        start = time.perf_counter()
        answer = find(predictor, "person", image=image)
        spent.append((time.perf_counter() - start) * 1e3)
    size = list(image.shape[:2])
    return {
        "size": size,
        "p50": statistics.median(spent),
        "rounds": spent,
        "last": answer.timing_ms,
    }


_FINDING = """
import sys, time
from pathlib import Path
import samedge
print(samedge.__file__, flush=True)
from samedge.pixels.images import load_image
from samedge.predict.words.predictor import load_default
with load_default(threads=int(sys.argv[1])) as predictor:
    for line in sys.stdin:
        image = load_image(Path(line.strip()))
        start = time.perf_counter()
        predictor.find("person", image)
        print((time.perf_counter() - start) * 1e3, flush=True)
"""


def _compared(other: Path, rounds: int, threads: int) -> dict[str, object]:
    """Times of this version and another one, round by round in turns."""
    photos = sorted(PHOTOS.glob("*.jpg"))
    with _finder(Path(__file__).parents[1], threads) as own, _finder(other, threads) as theirs:
        sides = (own, theirs)
        smallest = min(photos, key=lambda path: path.stat().st_size)
        for side in sides:
            _asked_ms(side, smallest)  # opens the graphs
        spent: dict[str, list[tuple[float, float]]] = {path.stem: [] for path in photos}
        for number in range(rounds):
            for path in photos:
                order = sides if number % 2 else sides[::-1]
                made = {id(side): _asked_ms(side, path) for side in order}
                spent[path.stem].append((made[id(own)], made[id(theirs)]))
            print(f"{number + 1} of {rounds}: {spent}", file=sys.stderr, flush=True)
    logs = {name: [float(np.log(a / b)) for a, b in pairs] for name, pairs in spent.items()}
    every = [float(np.mean(one)) for one in zip(*logs.values(), strict=True)]
    return {
        "threads": threads,
        "rounds_ms": spent,
        "ratio": {"all": _ratio(every), **{name: _ratio(one) for name, one in logs.items()}},
        "environment": msgspec.to_builtins(environment(threads=threads)),
    }


@contextlib.contextmanager
def _finder(version: Path, threads: int) -> Iterator[subprocess.Popen[str]]:
    """A process of a version of samedge that finds persons in the photos it is told."""
    folder = str(version.resolve())
    environ = {**os.environ, "PYTHONPATH": folder}
    command = [sys.executable, "-c", _FINDING, str(threads)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environ, cwd=folder, stdin=pipe, stdout=pipe, text=True
    ) as process:  # the current folder goes before PYTHONPATH
        assert process.stdout is not None
        found = Path(process.stdout.readline().strip())
        assert found.is_relative_to(folder), f"{folder} holds no samedge: {found} was taken"
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _asked_ms(process: subprocess.Popen[str], path: Path) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    print(path, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def _ratio(logs: list[float]) -> dict[str, object]:
    interval = bootstrap_mean(logs, range(len(logs)))
    ends = None if interval is None else [round(float(np.exp(end)), 3) for end in interval]
    return {"mean": round(float(np.exp(np.mean(logs))), 3), "ci95": ends}


def squares(size: tuple[int, ...], count: int) -> list[np.ndarray]:
    """(H, W) bool masks of squares of many sizes, all over an image."""
    rng = np.random.default_rng(0)
    masks = []
    for _ in range(count):
        side = int(rng.uniform(0.05, 0.6) * min(size))
        y, x = (int(rng.integers(0, length - side)) for length in size)
        mask = np.zeros(size, bool)
        mask[y : y + side, x : x + side] = True
        masks.append(mask)
    return masks


def _side(predictor: Predictor) -> int:
    side = predictor.graphs.session("region_encoder").inputs[0].shape[1]
    assert isinstance(side, int)
    return side


if __name__ == "__main__":
    main()
