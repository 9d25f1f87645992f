"""What a prompt alone is worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samedge.errors import PromptError, UnknownNameError
from samedge.evaluation.baselines import baseline
from samedge.evaluation.evaluate import EvaluatedSubject, evaluate
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.evaluation.protocols import parse_protocols
from samedge.records import EvalRow, Subject
from samedge.types import Prompt

pytest.importorskip("pycocotools")


class TestBaselines:
    def test_unknown(self) -> None:
        with pytest.raises(UnknownNameError, match="Did you mean 'baseline:box'"):
            baseline("baseline:bax")

    def test_needs_a_box(self) -> None:
        segmenter = baseline("baseline:box")
        with pytest.raises(PromptError, match="the prompt has none"):
            segmenter.decode_batch(np.zeros((4, 4, 3), np.uint8), [Prompt(points=[[1, 1]])])

    def test_clicks_alone_are_refused_before_any_work(self, dataset: Path) -> None:
        (dataset / "a.png").unlink()  # which would be said else
        subject = EvaluatedSubject(
            Subject(bundle="baseline:box", backend="n"), baseline("baseline:box"), boxes_only=True
        )
        truth = load_ground_truth(dataset / "instances.json", dataset)
        with pytest.raises(PromptError, match="Add box to the prompts"):
            evaluate([subject], truth, protocols=parse_protocols("center,clicks:3"))

    def test_filled_box_rounds_to_pixels_and_is_never_empty(self) -> None:
        image = np.zeros((10, 12, 3), np.uint8)
        prompts = [Prompt(box=[1.4, 2.6, 5.6, 7.4]), Prompt(box=[11.8, 9.8, 11.9, 9.9])]
        first, second = baseline("baseline:box").decode_batch(image, prompts)
        assert first.masks[0].sum() == 5 * 4
        assert first.masks[0][3:7, 1:6].all()
        assert second.masks[0].sum() == 1

    def test_grabcut_finds_a_coloured_disc(self) -> None:
        pytest.importorskip("cv2")
        rng = np.random.default_rng(0)
        ys, xs = np.mgrid[:80, :100]
        disc = (ys - 40) ** 2 + (xs - 50) ** 2 < 20**2
        image = np.where(disc[..., None], (200, 60, 40), (40, 90, 160)) + rng.normal(
            0, 8, (80, 100, 3)
        )
        picture = image.clip(0, 255).astype(np.uint8)
        result = baseline("baseline:grabcut").decode_batch(picture, [Prompt(box=[28, 18, 72, 62])])
        mask = result[0].masks[0]
        assert (mask & disc).sum() / (mask | disc).sum() > 0.95
        again = baseline("baseline:grabcut").decode_batch(picture, [Prompt(box=[28, 18, 72, 62])])
        assert np.array_equal(again[0].masks[0], mask)

    @pytest.mark.slow
    def test_known_figures_on_real_photographs(self, shared_data: Path) -> None:
        """The filled box scored 0.601, 0.608, 0.586 and 0.609 when the protocol was laid down."""
        root = shared_data / "eval" / "coco"
        truth = load_ground_truth(root / "instances.json", root / "images")
        named = Subject(bundle="baseline:box", backend="numpy")
        subject = EvaluatedSubject(named, baseline("baseline:box"), boxes_only=True)
        row: EvalRow = evaluate([subject], truth, protocols=parse_protocols("box")).results[0]
        assert row.n == 1282
        figures = [row.miou, row.miou_small, row.miou_medium, row.miou_large]
        assert figures == pytest.approx([0.601, 0.608, 0.586, 0.609], abs=0.0006)
