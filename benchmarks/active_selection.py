"""Does `samedge annotate --rank` find the photos on which a person has most to mend?

    python benchmarks/active_selection.py --dataset train/coco/instances.json \\
        --images train/coco/images --limit 60 -o benchmarks/results/active_selection.json

Each photo is ranked without its ground truth, as the command does. Then the ground truth says what
there was to mend: the objects that a click in their middle does not get (IoU below 0.7), and the
mean of 1 - IoU. The first third of the order is compared with the first third of random orders. No
student is trained: how much one gains by the photos that come first is not measured here.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from samedge.annotate.ranking import Measured, measure, ordered
from samedge.evaluation.evaluate import EvaluatedSubject, evaluate
from samedge.evaluation.ground_truth import GroundTruth, load_ground_truth
from samedge.evaluation.protocols import parse_protocols
from samedge.pixels.images import load_image
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import open_predictor, subject

GOOD_IOU, SHARE, DRAWS = 0.7, 1 / 3, 20_000


def measured(predictor: Predictor, truth: GroundTruth) -> list[Measured]:
    """What the model doubts in every photo."""
    return [measure(predictor, load_image(image.path), name=image.name) for image in truth.images]


def to_mend(predictor: Predictor, truth: GroundTruth) -> dict[str, tuple[int, float]]:
    """Objects of each photo that a click does not get, and the mean of 1 - IoU."""
    own = EvaluatedSubject(subject=subject(predictor), segmenter=predictor)
    (scores,) = evaluate([own], truth, protocols=parse_protocols("center")).instances
    ious: defaultdict[str, list[float]] = defaultdict(list)
    for score in scores:
        ious[score.image].append(score.iou)
    return {
        name: (sum(iou < GOOD_IOU for iou in found), 1 - float(np.mean(found)))
        for name, found in ious.items()
    }


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two orders, ties broken by place."""
    one, two = (values.argsort(kind="stable").argsort() for values in (first, second))
    return float(np.corrcoef(one, two)[0, 1])


def gains(order: list[int], mended: np.ndarray, rng: np.random.Generator) -> dict[str, object]:
    """What the first third of an order holds, beside random thirds."""
    count = max(1, round(len(order) * SHARE))
    random = np.array([mended[rng.permutation(len(order))[:count]].mean() for _ in range(DRAWS)])
    found = float(mended[order[:count]].mean())
    low, high = np.percentile(random, [2.5, 97.5])
    return {
        "first_third": round(found, 4),
        "random_third": round(float(random.mean()), 4),
        "random_ci95": [round(float(low), 4), round(float(high), 4)],
        "pays": bool(found > high),
    }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--bundle")
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    truth = load_ground_truth(given.dataset, given.images, limit=given.limit)
    predictor, _ = open_predictor(given.bundle, threads=1)
    with predictor:
        doubts = measured(predictor, truth)
        mend = to_mend(predictor, truth)
    names = [one.ranked.name for one in doubts]
    objects, loss = (np.array([mend[name][i] for name in names], float) for i in (0, 1))
    uncertainty = np.array([one.ranked.uncertainty for one in doubts])
    rng = np.random.default_rng(0)
    orders = {
        "rank": [names.index(one.name) for one in ordered(doubts)],
        "uncertainty": [int(index) for index in (-uncertainty).argsort(kind="stable")],
    }
    record = {
        "bundle_id": predictor.manifest.id,
        "model": predictor.manifest.model.name,
        "photos": len(names),
        "objects": {name: gains(order, objects, rng) for name, order in orders.items()},
        "mean_loss": {name: gains(order, loss, rng) for name, order in orders.items()},
        "spearman": {
            **{
                name: round(spearman(np.array([getattr(d.ranked, name) for d in doubts]), loss), 3)
                for name in ("uncertainty", "doubt", "instability", "disagreement")
            },
            "uncertainty_with_objects": round(spearman(uncertainty, objects), 3),
        },
    }
    text = json.dumps(record, indent=2)
    print(text)
    if given.output is not None:
        given.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
