from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import DatasetError, PromptError, UnknownNameError
from samedge.evaluation.baselines import baseline
from samedge.evaluation.evaluate import EvaluatedSubject, Evaluation, evaluate
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.evaluation.protocols import parse_protocols
from samedge.formats.results import Masks
from samedge.pixels import rle
from samedge.records import EvalRecord, EvalRow, Subject, read, write
from samedge.types import ActiveBackend, Prompt

pytest.importorskip("pycocotools")

SIZE = (120, 160)


def _square(x: int, y: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


# Small, medium and large; the last two share an image.
TRUTHS = [
    ("a.png", _square(10, 10, 20)),
    ("b.png", _square(5, 70, 40)),
    ("b.png", _square(50, 10, 100)),
]


def _annotation(index: int, image_id: int, mask: np.ndarray) -> dict[str, Any]:
    ys, xs = np.nonzero(mask)
    x0, y0 = int(xs.min()), int(ys.min())
    box = [x0, y0, int(xs.max()) + 1 - x0, int(ys.max()) + 1 - y0]
    return {
        "id": index,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": box,
        "area": int(mask.sum()),
        "segmentation": rle.rle_from_mask(mask),
    }


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three squares on two images, beside one crowd that does not count."""
    names = ["a.png", "b.png"]
    for name in names:
        Image.new("RGB", SIZE[::-1], (90, 120, 30)).save(tmp_path / name)
    annotations = [_annotation(i + 1, names.index(n) + 1, m) for i, (n, m) in enumerate(TRUTHS)]
    crowd = {**_annotation(9, 1, TRUTHS[0][1]), "iscrowd": 1}
    images = [
        {"id": i + 1, "file_name": n, "height": SIZE[0], "width": SIZE[1]}
        for i, n in enumerate(names)
    ]
    document = {
        "images": images,
        "annotations": [*annotations, crowd],
        "categories": [{"id": 1, "name": "object"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(document))
    return tmp_path


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
    document["annotations"].append(_annotation(99, 77, TRUTHS[0][1]))
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


class TestGroundTruth:
    def _break(self, dataset: Path, change: Any) -> Path:
        path = dataset / "instances.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
        return path

    def test_missing_file_and_not_json(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"none\.json cannot be read"):
            load_ground_truth(tmp_path / "none.json", tmp_path)
        (tmp_path / "bad.json").write_text("[")
        with pytest.raises(DatasetError, match=r"bad\.json is not JSON"):
            load_ground_truth(tmp_path / "bad.json", tmp_path)
        (tmp_path / "list.json").write_text("[]")
        with pytest.raises(DatasetError, match="no list 'images'"):
            load_ground_truth(tmp_path / "list.json", tmp_path)

    def test_what_cannot_be_drawn_is_counted_and_does_not_end_the_run(
        self, dataset: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = self._break(dataset, lambda d: d["annotations"][1].update(segmentation=[["x"]]))
        truth = load_ground_truth(path, dataset)
        reason = "a polygon with coordinates that are no numbers"
        assert truth.skipped == {"iscrowd": 1, reason: 1}
        assert truth.skipped_ids[reason] == [2]
        assert f"1 with {reason} (annotation 2)" in caplog.text

    def test_an_annotation_without_mask_or_without_image(self, dataset: Path) -> None:
        path = self._break(dataset, lambda d: d["annotations"][0].pop("segmentation"))
        assert load_ground_truth(path, dataset).skipped["no segmentation"] == 1
        path = self._break(
            dataset, lambda d: d["annotations"][0].update(segmentation=[], image_id=77)
        )
        with pytest.raises(DatasetError, match="belongs to image 77"):
            load_ground_truth(path, dataset)

    @pytest.mark.parametrize(
        ("box", "reason"),
        [
            ([500, 500, 20, 20], "a box that does not touch its mask"),
            ([0.1, 0.1, 0.2, 0.3], "a box that does not touch its mask"),
        ],
    )
    def test_a_box_elsewhere_is_counted(self, dataset: Path, box: Any, reason: str) -> None:
        path = self._break(dataset, lambda d: d["annotations"][0].update(bbox=box))
        assert load_ground_truth(path, dataset).skipped[reason] == 1

    def test_nothing_left_says_why(self, dataset: Path) -> None:
        def spoil(document: dict[str, Any]) -> None:
            for annotation in document["annotations"]:
                annotation["segmentation"] = [[1, 1, 2, 2]]

        with pytest.raises(DatasetError, match=r"no instance.*3 with a polygon of fewer than"):
            load_ground_truth(self._break(dataset, spoil), dataset)

    def test_names_the_missing_and_the_wrong_image(self, dataset: Path) -> None:
        truth = load_ground_truth(dataset / "instances.json", dataset / "elsewhere")
        with pytest.raises(DatasetError, match=r"no .*elsewhere/a\.png: give the folder"):
            truth.images[0].pixels()
        Image.new("RGB", (10, 20)).save(dataset / "a.png")
        truth = load_ground_truth(dataset / "instances.json", dataset)
        with pytest.raises(DatasetError, match="is 20 x 10"):
            truth.images[0].pixels()

    def test_orientation_in_exif_is_not_applied(self, dataset: Path) -> None:
        picture = Image.new("RGB", SIZE[::-1])
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save(dataset / "a.png", exif=exif)
        truth = load_ground_truth(dataset / "instances.json", dataset)
        assert truth.images[0].pixels().shape == (*SIZE, 3)

    def test_instances_without_a_pixel_are_counted_and_left_out(self, dataset: Path) -> None:
        empty = rle.rle_from_mask(np.zeros(SIZE, bool))
        path = self._break(dataset, lambda d: d["annotations"][2].update(segmentation=empty))
        truth = load_ground_truth(path, dataset)
        assert truth.skipped == {"iscrowd": 1, "empty": 1}
        assert sum(len(image.annotations) for image in truth.images) == 2

    def test_a_degenerate_box_is_replaced_by_the_masks_own(self, dataset: Path) -> None:
        path = self._break(dataset, lambda d: d["annotations"][0].update(bbox=[10, 10, 0, 5]))
        instance = next(load_ground_truth(path, dataset).images[0].instances())
        assert instance.box == (10.0, 10.0, 30.0, 30.0)


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
