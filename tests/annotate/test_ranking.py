"""Images whose annotation teaches most come first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samedge.annotate import ranking
from samedge.annotate.ranking import Ranked, rank_images
from samedge.annotate.run import photos_listed, tasks_of
from samedge.predict.predictor import Predictor


def ranked(name: str, uncertainty: float) -> Ranked:
    return Ranked(
        name=name,
        doubt=uncertainty,
        instability=uncertainty,
        disagreement=uncertainty,
        novelty=1.0,
    )


def order(found: dict[str, tuple[float, list[float]]], *, weight: float) -> list[str]:
    images = [ranked(name, uncertainty) for name, (uncertainty, _) in found.items()]
    points = [np.array(point, np.float32) for _, point in found.values()]
    return [one.name for one in ranking._ordered(images, points, weight)]


def test_without_novelty_the_least_sure_come_first() -> None:
    found = {"a": (0.1, [1.0, 0]), "b": (0.9, [1.0, 0]), "c": (0.5, [1.0, 0])}
    assert order(found, weight=0) == ["b", "c", "a"]


def test_a_twin_of_the_first_waits_for_what_is_new() -> None:
    found = {"first": (0.9, [1.0, 0]), "twin": (0.8, [1.0, 0]), "new": (0.5, [-1.0, 0])}
    assert order(found, weight=0.5) == ["first", "new", "twin"]


def test_figures_are_shares_and_a_bad_image_is_listed(tmp_path: Path, toy_bundle: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "c.png").write_bytes(b"none")
    heard: list[tuple[int, int]] = []
    with Predictor.from_bundle(toy_bundle) as predictor:
        made = rank_images(
            predictor,
            tasks_of(photos_listed(tmp_path, results=tmp_path / "out")),
            points_per_side=3,
            progress=lambda *s: heard.append(s),
        )
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert sorted(one.name for one in made.images) == ["a.png", "b.png"]
    assert [(name, error.kind) for name, error in made.failures] == [("c.png", "image")]
    assert made.failures[0][1].remedy
    for one in made.images:
        figures = (one.doubt, one.instability, one.disagreement, one.novelty)
        assert all(0 <= figure <= 1 for figure in figures)
    # The toy's candidates are cones of different radius, of predicted IoU 0.9 at best.
    assert made.images[0].doubt == pytest.approx(0.1, abs=1e-5)
    assert made.images[0].disagreement > 0
