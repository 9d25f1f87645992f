"""Boxes that are asked about again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.errors import OptionError
from samedge.predict.graphs import Graphs
from samedge.predict.predictor import Predictor
from samedge.types import Prompt, Role
from tests.toys.bundle import write_bundle

pytest.importorskip("onnx")
LARGE = Prompt(box=[20, 20, 300, 200])


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one for each call of a decoder."""
    calls: list[str] = []
    real = Graphs.run

    def counted(self: Graphs, role: str, feeds: Any) -> Any:
        if role == Role.DECODER:
            calls.append(role)
        return real(self, role, feeds)

    monkeypatch.setattr(Graphs, "run", counted)
    return calls


@pytest.mark.parametrize(
    ("mode", "rounds", "asked"),
    [("never", None, 1), ("never", 1, 2), ("never", 2, 3), ("auto", None, 2), ("auto", 0, 1)],
)
def test_a_box_is_asked_about_again(
    toy_bundle: Path,
    backend: str,
    image: np.ndarray,
    decodes: list[str],
    mode: Any,
    rounds: int | None,
    asked: int,
) -> None:
    with Predictor.from_bundle(
        toy_bundle, backend=backend, focus=mode, refine=rounds, verify=False
    ) as predictor:
        assert predictor.refine == asked - 1
        assert predictor.beside(2).refine == predictor.refine
        embedding = predictor.encode(image)
        predictor.decode(embedding, LARGE)
        assert len(decodes) == asked
        decodes.clear()
        mask = predictor.decode(embedding, LARGE, multimask=True).low_res_logits[0]
        predictor.decode(embedding, Prompt(box=LARGE.box, mask=mask))
        assert len(decodes) == 2  # candidates and earlier masks are not asked about again


def test_both_answers_count(toy_bundle: Path, backend: str, image: np.ndarray) -> None:
    with Predictor.from_bundle(toy_bundle, backend=backend, refine=1) as predictor:
        embedding = predictor.encode(image)
        prompts = [LARGE, Prompt(points=[[50, 50]]), Prompt(box=[-9, -9, -3, -3])]
        found, click, skipped = predictor.decode_batch(embedding, prompts, on_invalid="skip")
        logits, quality = predictor.decode_logits(embedding, [LARGE])
        again = Prompt(box=LARGE.box, mask=2 * logits[0, 0])
        second, rating = predictor.decode_logits(embedding, [again])
        assert found is not None
        assert np.allclose(found.low_res_logits[0], (logits[0, 0] + second[0, 0]) / 2, atol=1e-5)
        assert found.iou_predictions[0] == pytest.approx(rating[0, 0])
        assert not np.array_equal(second, logits), "the toy hears no masks"
        assert quality.shape == rating.shape
        assert click is not None
        assert click.focus is None
        assert skipped is None


def test_rounds_that_cannot_be_are_refused(toy_bundle: Path, backend: str, tmp_path: Path) -> None:
    for count in (9, -1, 1.5):
        rounds: Any = count
        with pytest.raises(OptionError, match=f"refine is {count}, expected"):
            Predictor.from_bundle(toy_bundle, backend=backend, refine=rounds)
    maskless = write_bundle(tmp_path / "maskless", prompts=["point", "box"])
    with pytest.raises(OptionError, match="takes no mask"):
        Predictor.from_bundle(maskless, backend=backend, refine=1)
    with Predictor.from_bundle(maskless, backend=backend, focus="auto") as predictor:
        assert predictor.refine == 0
