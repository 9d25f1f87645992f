"""How long words take: the scoring of regions alone, and all that `--text` does to a photo.

    python benchmarks/words_speed.py [--bundle DIR] [--regions 64] [--rounds 20] [--threads 2]

`score_ms`: regions cut out, encoded and held against every word of the table, without proposals;
they are squares all over a photo of samedge's own. `find_ms`: a word found in each of samedge's own
photos, proposals of everything mode included, reading the file not. Prints one JSON document:
milliseconds of each round's parts, their medians, and the bundle and backend.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import click
import msgspec
import numpy as np

from samedge.bundle.bundle import bundle_path
from samedge.machine.environment import environment
from samedge.pixels.image_files import PHOTOS
from samedge.pixels.images import load_image
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
def main(bundle: str | None, *, regions: int, rounds: int, finds: int, threads: int) -> None:
    """Time the scoring of regions, and the finding of things."""
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
