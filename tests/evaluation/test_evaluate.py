from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.errors import PromptError, UnknownNameError
from samedge.evaluation.baselines import baseline
from samedge.evaluation.evaluate import EvaluatedSubject, Evaluation, evaluate
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.evaluation.protocols import parse_protocols
from samedge.formats.results import Masks
from samedge.pixels import rle
from samedge.records import EvalRecord, Subject, read, write
from samedge.types import ActiveBackend, Prompt
from tests.evaluation.squares import SIZE, TRUTHS, annotation

pytest.importorskip("pycocotools")


def _masks(masks: Sequence[np.ndarray], predicted: Sequence[float]) -> Masks:
    return Masks(
        masks=np.stack(masks),
        iou_predictions=np.array(predicted, np.float32),
        low_res_logits=np.zeros((len(masks), 4, 4), np.float32),
        stability_scores=np.ones(len(masks), np.float32),
        backend=ActiveBackend("fake", None, "cpu"),
    )


@dataclasses.dataclass
class Oracle:
    """Knows the truth; draws it shrunk at the right by ``cut`` px, less with every click."""

    cut: int = 0
    seen: list[Prompt] = dataclasses.field(default_factory=list)

    def encode(self, image: np.ndarray) -> np.ndarray:
        return image

    def decode_batch(
        self, embedding: np.ndarray, prompts: Sequence[Prompt], *, multimask: bool = False
    ) -> list[Masks]:
        self.seen += prompts
        return [self._draw(prompt, multimask) for prompt in prompts]

    def _draw(self, prompt: Prompt, multimask: bool) -> Masks:
        truth = next(m for _, m in TRUTHS if self._asks_for(prompt, m))
        cut = max(0, self.cut - max(0, len(prompt.points) - 1))
        right = np.nonzero(truth.any(0))[0].max() + 1
        mask = truth.copy()
        mask[:, right - cut :] = False
        if not multimask:
            return _masks([mask], [0.9])
        return _masks([np.zeros(SIZE, bool), mask, truth], [0.1, 0.9, 0.5])

    @staticmethod
    def _asks_for(prompt: Prompt, truth: np.ndarray) -> bool:
        if prompt.box is not None:
            x0, y0 = prompt.box[:2].astype(int)
            return bool(truth[y0, x0] and truth[:, x0 - 1].sum() == 0)
        x, y = prompt.points[0].astype(int)
        return bool(truth[y, x])


def _run(segmenter: Any, dataset: Path, prompts: str) -> Evaluation:
    truth = load_ground_truth(dataset / "instances.json", dataset)
    subject = EvaluatedSubject(Subject(bundle="fake", backend="fake"), segmenter)
    return evaluate([subject], truth, protocols=parse_protocols(prompts))


def test_perfect_masks_score_one(dataset: Path) -> None:
    result = _run(Oracle(), dataset, "box,center,clicks:3")
    assert [row.prompt for row in result.results] == ["box", "center", "clicks:3"]
    for row in result.results:
        assert row.n == 3
        assert row.n_by_size == {"small": 1, "medium": 1, "large": 1}
        figures = (row.miou, row.miou_small, row.miou_medium, row.miou_large, row.boundary_iou)
        assert figures == (1.0,) * 5
        assert row.ci95 == (1.0, 1.0)


def test_hand_made_case_scores_what_paper_and_pencil_say(dataset: Path) -> None:
    """Squares of 20, 40 and 100 px that lose 10 columns: 10/20, 30/40 and 90/100."""
    row = _run(Oracle(cut=10), dataset, "box").results[0]
    assert (row.miou_small, row.miou_medium, row.miou_large) == (0.5, 0.75, 0.9)
    assert row.miou == pytest.approx((0.5 + 0.75 + 0.9) / 3)
    assert row.miou_oracle is None  # one mask a prompt: no choice, no oracle
    # The diagonal is 200, the band 4 px: 100 px square 100^2 - 92^2 = 1536 against 90 x 100 with
    # 9000 - 82 * 92 = 1456; common: all of the latter but its right column of 92 x 4 px.
    large = next(s for s in _run(Oracle(cut=10), dataset, "box").instances[0] if s.area == 10_000)
    common = 1456 - 92 * 4
    assert large.boundary_iou == pytest.approx(common / (1536 + 1456 - common))


def test_center_takes_the_predicted_best_and_reports_the_oracle(dataset: Path) -> None:
    row = _run(Oracle(cut=10), dataset, "center").results[0]
    assert row.miou == pytest.approx((0.5 + 0.75 + 0.9) / 3)
    assert row.miou_oracle == 1.0


def test_clicks_go_where_the_error_is(dataset: Path) -> None:
    oracle = Oracle(cut=2)
    row = _run(oracle, dataset, "clicks:4").results[0]
    # Two columns are missing, then one, then none; the fourth click is not needed.
    assert row.miou_by_click is not None
    expected = [(1 - k / 20 + 1 - k / 40 + 1 - k / 100) / 3 for k in (2, 1, 0, 0)]
    assert row.miou_by_click == pytest.approx(expected)
    assert row.miou == 1.0
    small = [
        p for p in oracle.seen if p.points[0, 0] < 30 and p.points[0, 1] < 30 and len(p.points) == 2
    ]
    first, second = small[0].points
    assert tuple(first) == (19, 19)
    assert second[0] in (28, 29)
    assert 10 <= second[1] < 30
    assert small[0].labels.tolist() == [1, 1]
    assert small[0].mask is not None
    assert max(len(p.points) for p in oracle.seen) == 3


def test_surplus_is_clicked_as_background(dataset: Path) -> None:
    class Everything(Oracle):
        def _draw(self, prompt: Prompt, multimask: bool) -> Masks:
            return _masks([np.ones(SIZE, bool)], [0.9])

    oracle = Everything()
    row = _run(oracle, dataset, "clicks:2").results[0]
    assert row.miou_small == pytest.approx(400 / (SIZE[0] * SIZE[1]))
    assert all(p.labels.tolist() == [1, 0] for p in oracle.seen if len(p.points) == 2)


def test_subjects_share_one_pass_and_its_examples(dataset: Path) -> None:
    truth = load_ground_truth(dataset / "instances.json", dataset)
    subjects = [
        EvaluatedSubject(Subject(bundle="good", backend="fake"), Oracle()),
        EvaluatedSubject(Subject(bundle="poor", backend="fake"), Oracle(cut=10)),
        EvaluatedSubject(
            Subject(bundle="baseline:box", backend="n"), baseline("baseline:box"), boxes_only=True
        ),
    ]
    seen: list[tuple[int, int]] = []
    said: list[str] = []
    result = evaluate(
        subjects,
        truth,
        protocols=parse_protocols("box,center"),
        progress=lambda done, total: seen.append((done, total)),
        stage=said.append,
    )
    assert seen == [(1, 2), (2, 2)]
    assert [text.startswith("box mIoU ") for text in said] == [True, True]
    rows = [(row.bundle, row.prompt) for row in result.results]
    assert ("baseline:box", "center") not in rows
    assert len(rows) == 5
    assert [(e.rank, e.prompt) for e in result.examples[:3]] == [
        ("best", "box"),
        ("median", "box"),
        ("worst", "box"),
    ]
    worst = result.examples[2]
    assert [m.bundle for m in worst.masks] == ["good", "poor", "baseline:box"]
    assert [m.iou for m in worst.masks] == [1.0, 0.5, 1.0]
    drawn = rle.mask_from_rle(worst.truth)
    assert np.array_equal(drawn, TRUTHS[0][1])


def test_a_picture_that_is_listed_twice(dataset: Path) -> None:
    """As merged files have it: an image for each annotator, both of one file."""
    file = dataset / "instances.json"
    document = json.loads(file.read_text())
    first = document["images"][0]
    document["images"].append(first | {"id": 77})
    document["annotations"].append(annotation(99, 77, TRUTHS[0][1]))
    file.write_text(json.dumps(document))
    found = _run(Oracle(), dataset, "box")
    assert (found.results[0].n, found.results[0].miou) == (4, 1.0)
    assert [(e.image, e.annotation_id) for e in found.examples[::2]] == [
        ("a.png", 1),
        ("a.png", 99),
    ]


def test_record_survives_a_round_trip(dataset: Path, tmp_path: Path) -> None:
    record = _run(Oracle(cut=3), dataset, "box").record()
    write(record, tmp_path / "out" / "record.json")
    again = read(tmp_path / "out" / "record.json")
    assert isinstance(again, EvalRecord)
    assert again.results == record.results
    assert again.samedge_version
    document = json.loads((tmp_path / "out" / "record.json").read_text())
    assert document["schema"] == "samedge.eval/1"
    promised = {"bundle", "backend", "prompt", "n", "miou", "miou_small", "miou_medium"}
    promised |= {"miou_large", "boundary_iou", "ci95", "miou_oracle"}
    assert promised <= set(document["results"][0])
    assert document["dataset"]["skipped"] == {"iscrowd": 1}


def test_a_size_without_instances_is_null(dataset: Path) -> None:
    truth = load_ground_truth(dataset / "instances.json", dataset, limit=1)
    subject = EvaluatedSubject(Subject(bundle="x", backend="x"), Oracle())
    row = evaluate([subject], truth, protocols=parse_protocols("box")).results[0]
    assert row.n == 1
    assert row.miou_large is None
    assert row.ci95 is None  # one image says nothing about the spread over images


@pytest.mark.parametrize("seed", range(3))
def test_a_second_implementation_agrees(dataset: Path, seed: int) -> None:
    """torchmetrics' and pycocotools' way: IoU of run lengths, averaged over instances."""
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(seed)

    class Noisy(Oracle):
        def _draw(self, prompt: Prompt, multimask: bool) -> Masks:
            truth = next(m for _, m in TRUTHS if self._asks_for(prompt, m))
            return _masks([truth ^ (rng.random(SIZE) < 0.1)], [0.9])

    result = _run(Noisy(), dataset, "box")
    ious = []
    for score in result.instances[0]:
        truth = TRUTHS[score.annotation_id - 1][1]
        mask = rle.mask_from_rle(score.rle)
        both = [coco.encode(np.asfortranarray(m.astype(np.uint8))) for m in (truth, mask)]
        ious.append(coco.iou(both[:1], both[1:], [0])[0, 0])
    assert result.results[0].miou == pytest.approx(np.mean(ious), abs=1e-12)


class TestProtocols:
    def test_parses(self) -> None:
        parsed = parse_protocols("box, center,clicks:5,box")
        assert [(p.name, p.clicks) for p in parsed] == [("box", 0), ("center", 1), ("clicks:5", 5)]

    def test_unknown_is_answered_with_the_nearest(self) -> None:
        with pytest.raises(UnknownNameError, match="Did you mean 'center'"):
            parse_protocols("centre")

    @pytest.mark.parametrize("text", ["clicks:0", "clicks:x", "clicks:", "clicks", " , "])
    def test_refuses(self, text: str) -> None:
        with pytest.raises(PromptError):
            parse_protocols(text)
