"""Objects as a model draws them, to be asked about."""

from __future__ import annotations

from pathlib import Path

import pytest

from samedge.predict.predictor import Predictor
from samedge.proof import own_objects
from samedge.proof.photos import load_calibration


def test_own_instances_are_objects_that_differ(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The toy model draws cones, whose edge is anywhere between two logits.
    monkeypatch.setattr(own_objects, "_STABLE", 0.0)
    with Predictor.from_bundle(toy_bundle) as predictor:
        found = own_objects.own_instances(predictor, next(load_calibration().photos()))
    assert 2 <= len(found) <= 8
    for instance in found:
        x0, y0, x1, y1 = map(int, instance.box)
        assert instance.mask[y0:y1, x0:x1].sum() == instance.mask.sum() == instance.area
