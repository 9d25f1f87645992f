from __future__ import annotations

import dataclasses
import types
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from samedge.bundle.bundle import embedded_path
from samedge.bundle.manifest import usual_thresholds
from samedge.bundle.thresholds import EverythingRecord, Thresholds
from samedge.errors import ImageError, OptionError
from samedge.pixels import metrics
from samedge.pixels.boxes import point_grid, soft_nms_order
from samedge.pixels.frames import Frame
from samedge.pixels.image_files import PHOTOS
from samedge.pixels.images import load_image
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.everything import (
    AutomaticMask,
    EverythingConfig,
    batch_count,
    masks_and_clicks,
    segment_everything,
)
from samedge.predict.everything_points import ClickGrid
from samedge.predict.words.predictor import load_default
from samedge.types import Array, Prompt

SIDE = 256
DISCS = np.array([(60, 50, 22), (150, 60, 30), (70, 140, 35), (190, 150, 18), (150, 60, 12)], float)
"""``(x, y, radius)`` in the input frame; the last lies on the second."""


def _logits(coords: Array) -> tuple[Array, Array]:
    """The decoder of a world of discs.

    A click answers with the smallest disc under it, the largest, and the image's right part; a
    click on nothing with masks of low predicted IoU.

    Args:
        coords: (B, 2) xy pixels of the input frame.

    Returns:
        Low-res logits (B, 3, S/4, S/4) and predicted IoU (B, 3), float32.
    """
    ys, xs = np.mgrid[: SIDE // 4, : SIDE // 4] * 4 + 1.5
    shapes = [(r - np.hypot(xs - x, ys - y)) for x, y, r in DISCS]
    logits, quality = [], []
    for x, y in coords:
        hit = [i for i, (cx, cy, r) in enumerate(DISCS) if np.hypot(x - cx, y - cy) < r]
        hit.sort(key=lambda i: DISCS[i, 2])
        small, large = (hit[0], hit[-1]) if hit else (0, 0)
        blurred = 0.02 * (xs - 120)  # stable nowhere
        logits.append([9 * shapes[small], 9 * shapes[large], blurred])
        # Clicks nearer to the middle are surer, so that suppression has one right choice.
        middle = np.hypot(x - DISCS[large, 0], y - DISCS[large, 1]) / 1000
        score = 0.97 - middle if hit else 0.3
        quality.append([score, score - 0.01, 0.95])
    return np.array(logits, np.float32), np.array(quality, np.float32)


@dataclasses.dataclass
class FakePredictor:
    """Has the methods of a predictor that automatic masks use."""

    focus: str = "never"
    calls: list[int] = dataclasses.field(default_factory=list)
    manifest: Any = dataclasses.field(
        default_factory=lambda: types.SimpleNamespace(thresholds=Thresholds())
    )

    frame: Frame = dataclasses.field(default_factory=lambda: Frame(target_length=SIDE))

    def encode(self, image: Array) -> ImageEmbedding:
        view = self.frame.view_of(image)
        return ImageEmbedding({"image_embeddings": image}, view, "fake")

    def decode_logits(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt]
    ) -> tuple[Array, Array]:
        self.calls.append(len(prompts))
        points = np.array([prompt.points[0] for prompt in prompts])
        logits, iou = _logits(embedding.view.input_coords(points))
        return np.pad(logits, [(0, 0), (1, 0), (0, 0), (0, 0)]), np.pad(iou, [(0, 0), (1, 0)])


def _run(image: Array, **settings: Any) -> list[AutomaticMask]:
    predictor: Any = FakePredictor()
    config = EverythingConfig.segment_anything(**settings)
    return segment_everything(predictor, image, config=config)


def _counted(*, coarse_to_fine: bool) -> tuple[list[AutomaticMask], int]:
    """The masks, and the clicks that they took, whose steps all were told."""
    predictor: Any = FakePredictor()
    config = EverythingConfig.segment_anything(coarse_to_fine=coarse_to_fine)
    steps: list[tuple[int, int]] = []

    def told(done: int, total: int) -> None:
        steps.append((done, total))

    masks, clicks = masks_and_clicks(predictor, _image(), config=config, progress=told)
    assert sum(predictor.calls) == clicks
    total = batch_count((420, 560), config)
    assert steps[-1] == (total, total)
    assert len(set(steps)) == len(steps)
    return masks, clicks


def _image(height: int = 420, width: int = 560) -> Array:
    return np.zeros((height, width, 3), np.uint8)


class TestSegmentEverything:
    def test_finds_every_disc_once(self) -> None:
        masks = _run(_image())
        assert len(masks) == len(DISCS)
        scale = 560 / SIDE
        for x, y, radius in DISCS:
            ys, xs = np.mgrid[:420, :560]
            disc = np.hypot(xs - x * scale, ys - y * scale) < radius * scale
            assert max(metrics.mask_iou(disc, found.mask) for found in masks) > 0.93

    def test_masks_carry_what_they_are(self) -> None:
        for found in _run(_image()):
            assert found.area == found.mask.sum()
            assert found.box == metrics.bounding_box(found.mask)
            assert found.crop_box == (0, 0, 560, 420)
            assert found.predicted_iou > 0.88
            assert 0.95 <= found.stability_score <= 1
            x, y = found.point
            assert found.mask[int(y), int(x)]

    def test_best_first_and_in_batches(self) -> None:
        predictor: Any = FakePredictor()
        seen: list[tuple[int, int]] = []
        config = EverythingConfig.segment_anything(points_per_side=9, points_per_batch=20)
        masks = segment_everything(
            predictor,
            _image(),
            config=config,
            progress=lambda done, total: seen.append((done, total)),
        )
        quality = [mask.predicted_iou for mask in masks]
        assert quality == sorted(quality, reverse=True)
        assert predictor.calls == [20, 20, 20, 20, 1]
        assert batch_count((420, 560), config) == 5
        assert seen == [(done, 5) for done in range(1, 6)]

    def test_thresholds_drop(self, caplog: pytest.LogCaptureFixture) -> None:
        assert _run(_image(), pred_iou_threshold=0.99) == []
        assert "highest predicted IoU is 0.97 (threshold 0.99)" in caplog.text
        assert _run(_image(), stability_threshold=1.01) == []

    def test_crops_find_and_place(self) -> None:
        """Every crop shows the same discs, so the crops' own copies join the image's."""
        masks = _run(_image(), crop_layers=1, points_per_side=16)
        crops = {mask.crop_box for mask in masks}
        assert len(crops) > 1
        for found in masks:
            x0, y0, x1, y1 = found.crop_box
            assert x0 <= found.box[0] < found.box[2] <= x1
            assert y0 <= found.box[1] < found.box[3] <= y1
            assert found.mask.shape == (420, 560)

    def test_equals_segment_anything(self) -> None:
        """The same decoder inside Meta's automatic mask generator finds the same masks."""
        torch = pytest.importorskip("torch")
        generator = pytest.importorskip("segment_anything").SamAutomaticMaskGenerator
        image = _image(210, 280)
        theirs = generator(_fake_sam(torch), points_per_side=14).generate(image)
        ours = _run(image, points_per_side=14)
        assert len(ours) == len(theirs)
        for reference in theirs:
            mask = reference["segmentation"]
            best = max(ours, key=lambda found: metrics.mask_iou(mask, found.mask))
            assert metrics.mask_iou(mask, best.mask) > 0.999
            assert best.predicted_iou == pytest.approx(reference["predicted_iou"], abs=1e-6)
            assert best.stability_score == pytest.approx(reference["stability_score"], abs=0.03)
            assert best.point == pytest.approx(reference["point_coords"][0])
            assert best.area == pytest.approx(reference["area"], rel=1e-3)

    def test_coarse_to_fine_finds_the_same_with_fewer_clicks(self) -> None:
        found, counts = {}, {}
        for skips in (False, True):
            found[skips], counts[skips] = _counted(coarse_to_fine=skips)
        assert counts[False] == 32 * 32
        assert counts[True] < counts[False]
        assert len(found[False]) == len(DISCS)
        missed = [
            mask
            for mask in found[False]
            if max(metrics.mask_iou(mask.mask, one.mask) for one in found[True]) < 0.9
        ]
        # The disc on a disc lies between the coarse clicks, on what a good mask covers already.
        assert [mask.parent is not None for mask in missed] == [True]

    def test_a_mask_knows_what_it_is_a_part_of(self) -> None:
        masks = _run(_image())
        scale = 560 / SIDE
        by_size = sorted(masks, key=lambda mask: mask.area)
        small = by_size[0]
        assert small.parent is not None
        parent = masks[small.parent]
        assert parent.area > small.area
        assert parent.mask[int(60 * scale), int(150 * scale)]
        assert sum(mask.parent is not None for mask in masks) == 1
        assert small.record().parent == small.parent
        assert parent.record().parent is None

    def test_small_masks_and_holes_go(self) -> None:
        areas = sorted(mask.area for mask in _run(_image()))
        kept = sorted(mask.area for mask in _run(_image(), min_area=areas[0] + 1))
        assert kept == areas[1:]

    def test_ranks_by_stability_too(self) -> None:
        masks = _run(_image(), stability_weight=2.0)
        ranked = [mask.predicted_iou * mask.stability_score**2 for mask in masks]
        assert ranked == sorted(ranked, reverse=True)
        assert len(masks) == len(DISCS)

    def test_soft_suppression_puts_what_overlaps_last(self) -> None:
        plain = _run(_image(), box_nms_threshold=1.0)
        soft = _run(_image(), box_nms_threshold=1.0, soft_nms_sigma=1.0)
        assert sorted(one.area for one in soft) == sorted(one.area for one in plain)
        boxes = np.array([one.box for one in plain])
        ranks = np.array([one.predicted_iou for one in plain])
        order = soft_nms_order(boxes, ranks, sigma=1.0)
        assert [one.box for one in soft] == [plain[index].box for index in order]
        assert order.tolist() != list(range(len(plain)))

    def test_between_crops_the_smaller_wins_or_the_better(self) -> None:
        smaller = _run(_image(), crop_layers=1, points_per_side=16)
        better = _run(_image(), crop_layers=1, points_per_side=16, crops_by_rank=True)
        assert {mask.crop_box for mask in smaller} != {(0, 0, 560, 420)}
        assert len(better) <= len(smaller) + len(DISCS)
        assert max(mask.predicted_iou for mask in better) == better[0].predicted_iou

    def test_refuses_no_image_and_silly_settings(self) -> None:
        with pytest.raises(ImageError):
            _run(np.zeros((4, 4), np.uint8))
        no_config: Any = {"points_per_side": 2}
        with pytest.raises(OptionError, match="config is a dict"):
            segment_everything(no_config, np.zeros((4, 4, 3), np.uint8), config=no_config)
        with pytest.raises(OptionError, match="points_per_side is 0, expected 1 or more"):
            EverythingConfig(points_per_side=0)
        wrong: Any = "8"
        with pytest.raises(OptionError, match="points_per_side is '8', expected a whole number"):
            EverythingConfig(points_per_side=wrong)
        with pytest.raises(OptionError, match="crop_layers is '8', expected a whole num"):
            EverythingConfig(crop_layers=wrong)
        with pytest.raises(OptionError, match="pred_iou_threshold is '8', expected a number"):
            EverythingConfig(pred_iou_threshold=wrong)
        with pytest.raises(OptionError, match="stability_weight is nan, expected a number"):
            EverythingConfig(stability_weight=float("nan"))
        with pytest.raises(OptionError, match=r"soft_nms_sigma is -1\.0, expected 0 or more"):
            EverythingConfig(soft_nms_sigma=-1.0)
        for ratio in (-0.1, 1.0, 5):
            with pytest.raises(OptionError, match=f"crop_overlap_ratio is {ratio}, expected a sh"):
                EverythingConfig(crop_overlap_ratio=ratio)
        with pytest.raises(OptionError, match="crop_layers is 9, expected 0 to 4"):
            EverythingConfig(crop_layers=9)
        with pytest.raises(OptionError, match="min_area is -1, expected 0 or more pixels"):
            EverythingConfig(min_area=-1)


def _fake_sam(torch: Any) -> Any:
    """A `Sam` of segment-anything whose decoder is the world of discs."""
    from segment_anything.modeling import Sam
    from segment_anything.modeling.image_encoder import ImageEncoderViT

    class Prompts(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *, points: Any, boxes: Any, masks: Any) -> tuple[Any, Any]:
            return points[0], points[0]

        def get_dense_pe(self) -> None:
            return None

    class Decoder(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *, sparse_prompt_embeddings: Any, **rest: Any) -> tuple[Any, Any]:
            logits, iou = _logits(sparse_prompt_embeddings[:, 0].numpy())
            return torch.from_numpy(logits), torch.from_numpy(iou)

    encoder = ImageEncoderViT(img_size=SIDE, embed_dim=16, depth=1, num_heads=1)
    return Sam(encoder, Prompts(), Decoder()).eval()


class TestParts:
    @pytest.mark.parametrize("side", [1, 2, 3, 9, 32])
    def test_every_click_comes_once_where_nothing_settles(self, side: int) -> None:
        view = Frame(target_length=SIDE).view((420, 560))
        grid = ClickGrid(point_grid(side) * (560, 420), view, coarse_to_fine=True)
        numbers = np.concatenate(list(grid.batches(7)))
        assert sorted(numbers.tolist()) == list(range(side * side))

    def test_settled_clicks_do_not_come(self) -> None:
        view = Frame(target_length=SIDE).view((420, 560))
        points = point_grid(32) * (560, 420)
        grid = ClickGrid(points, view, coarse_to_fine=True)
        left_half = np.full((1, SIDE // 4, SIDE // 4), -5, np.float32)
        left_half[:, :, : SIDE // 8] = 5
        seen = []
        for place, numbers in enumerate(grid.batches(64)):
            if place == 0:
                assert len(numbers) == 64  # every fourth click
                grid.settle(left_half, threshold=0.0)
            else:
                seen += numbers.tolist()
        assert (points[seen, 0] > 280).all()
        assert len(seen) == 512 - 32


def test_thresholds_are_the_bundles() -> None:
    manifest: Any = types.SimpleNamespace(thresholds=usual_thresholds("samedge-nano"))
    nano = EverythingConfig.for_bundle(manifest, stability_threshold=0.8, crop_layers=None)
    assert (nano.pred_iou_threshold, nano.stability_threshold, nano.crop_layers) == (0.6, 0.8, 0)
    assert EverythingConfig().rules(manifest).pred_iou_threshold == 0.6
    manifest.thresholds = usual_thresholds("mobile-sam")
    theirs = EverythingConfig.segment_anything(coarse_to_fine=True)
    assert EverythingConfig.for_bundle(manifest) == theirs


@pytest.mark.skipif(not embedded_path().exists(), reason="the model is not embedded here")
def test_the_embedded_model_finds_something_by_default() -> None:
    photo = load_image(PHOTOS / "coffee.jpg")
    with load_default() as predictor:
        few: Any = {"points_per_side": 6, "crop_layers": 1}
        own = EverythingConfig.for_bundle(predictor.manifest, **few)
        assert segment_everything(predictor, photo, config=own)
        assert segment_everything(predictor, photo, config=EverythingConfig(**few))
        theirs = EverythingConfig.segment_anything(points_per_side=6)
        assert not segment_everything(predictor, photo, config=theirs)


def test_only_with_crops_near_duplicates_stay_and_not_for_who_goes_through_all() -> None:
    manifest: Any = types.SimpleNamespace(thresholds=usual_thresholds("mobile-sam"))
    own = EverythingRecord(crop_layers=1, crop_suppression=0.85, soft_nms_sigma=5.0)
    manifest.thresholds = msgspec.structs.replace(manifest.thresholds, everything=own)

    def cuts(config: EverythingConfig) -> tuple[float, float, float]:
        rules = config.rules(manifest)
        return rules.box_nms_threshold, rules.crop_nms_threshold, rules.soft_nms_sigma

    assert cuts(EverythingConfig()) == (0.85, 0.85, 5.0)
    assert cuts(EverythingConfig(crop_layers=0)) == (0.7, 0.7, 5.0)
    assert cuts(EverythingConfig.without_near_duplicates(manifest)) == (0.7, 0.7, 5.0)
    assert cuts(EverythingConfig(box_nms_threshold=0.5)) == (0.5, 0.85, 5.0)
