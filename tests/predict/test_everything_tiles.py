"""Everything mode by tiles: the masks of a picture that was never looked at as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge import formats
from samedge.errors import ImageError, OptionError
from samedge.pixels import metrics
from samedge.pixels.boxes import Box, nms, soft_nms_order
from samedge.pixels.image_files import PHOTOS
from samedge.pixels.images import load_image
from samedge.pixels.picture_parts import opened_in_parts
from samedge.pixels.rle import mask_from_rle, rle_from_mask
from samedge.pixels.tiles import Tiling
from samedge.predict import everything_tiles
from samedge.predict.everything import EverythingConfig, segment_everything
from samedge.predict.everything_masks import AutomaticMask, mask_from_record
from samedge.predict.everything_pieces import TileMasks
from samedge.predict.everything_stitched import stitched
from samedge.predict.everything_suppression import between_groups, soft_order
from samedge.predict.everything_tiles import everything_in_tiles, masks_of, segment_in_tiles
from samedge.predict.predictor import Predictor
from samedge.types import Array

_CELL = 4 / 256


def mask_of(pixels: Array, *, iou: float = 0.9, parent: int | None = None) -> AutomaticMask:
    box = metrics.bounding_box(pixels)
    assert box is not None
    height, width = pixels.shape
    rows, columns = np.nonzero(pixels)
    point = (float(columns[0]), float(rows[0]))
    return AutomaticMask(
        rle=rle_from_mask(pixels),
        box=box,
        area=int(pixels.sum()),
        predicted_iou=iou,
        stability_score=0.8,
        point=point,
        crop_box=(0, 0, width, height),
        parent=parent,
    )


def numbers_in(picture: Array) -> list[AutomaticMask]:
    """What a model would find that sees each number above 0 as a thing, larger ones surer."""
    found = [n for n in np.unique(picture).tolist() if n]
    return [mask_of(picture == n, iou=0.5 + n / 100) for n in sorted(found, reverse=True)]


def by_tiles(picture: Array, tiling: Tiling) -> list[AutomaticMask]:
    size = picture.shape[0], picture.shape[1]
    tiles = [
        TileMasks((x0, y0, x1, y1), numbers_in(picture[y0:y1, x0:x1]))
        for x0, y0, x1, y1 in tiling.boxes(size)
    ]
    return stitched(tiles, size=size, cell=_CELL, suppression=0.7, stability_weight=1.0)


def check_frame(masks: Sequence[AutomaticMask], size: tuple[int, int]) -> None:
    """Every figure is of the whole picture's frame."""
    for one in masks:
        pixels = one.mask
        assert pixels.shape == size
        assert metrics.bounding_box(pixels) == one.box
        assert pixels.sum() == one.area
        assert pixels[int(one.point[1]), int(one.point[0])]


@pytest.mark.parametrize("seed", range(8))
def test_what_a_tile_holds_comes_back_to_the_pixel(seed: int) -> None:
    """Things shorter than the overlap: each is whole in a tile, and there once."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((300, 420), np.uint8)
    for number in range(1, 41):
        y, x = rng.integers(0, 280), rng.integers(0, 400)
        height, width = rng.integers(4, 20, 2)
        picture[y : y + height, x : x + width] = number
    masks = by_tiles(picture, Tiling(100, 30))
    truth = numbers_in(picture)
    assert {m.rle["counts"] for m in masks} == {m.rle["counts"] for m in truth}
    assert len(masks) == len(truth)
    assert not any(mask.is_cut for mask in masks)
    check_frame(masks, (300, 420))


def test_what_is_longer_than_the_overlap_is_joined() -> None:
    picture = np.zeros((300, 420), np.uint8)
    picture[120:140] = 3  # a road from edge to edge
    picture[:, 200:230] = 2  # a river under it, in two parts
    picture[10:290, 300:410] = 5  # a field over several tiles both ways
    masks = by_tiles(picture, Tiling(100, 20))
    truth = {m.rle["counts"]: m for m in numbers_in(picture)}
    whole = {m.rle["counts"] for m in masks}
    assert truth[rle_from_mask(picture == 5)["counts"]].rle["counts"] in whole
    road = max(masks, key=lambda mask: mask.box[2] - mask.box[0])
    assert road.box == (0, 120, 420, 140) or road.box == (0, 120, 300, 140)
    assert not any(mask.is_cut for mask in masks)
    check_frame(masks, (300, 420))
    ranks = [m.predicted_iou * m.stability_score for m in masks]
    assert ranks == sorted(ranks, reverse=True)


def tile(box: Box, *masks: tuple[Box, float]) -> TileMasks:
    """A tile with boxes of the picture as masks, and their predicted IoU."""
    x0, y0, x1, y1 = box
    found = []
    for (left, top, right, bottom), iou in masks:
        pixels = np.zeros((y1 - y0, x1 - x0), np.bool_)
        pixels[top - y0 : bottom - y0, left - x0 : right - x0] = True
        found.append(mask_of(pixels, iou=iou))
    return TileMasks(box, found)


LEFT, RIGHT = (0, 0, 100, 100), (80, 0, 180, 100)


def stitch(*tiles: TileMasks) -> list[AutomaticMask]:
    return stitched(tiles, size=(100, 180), cell=_CELL, suppression=0.7, stability_weight=1.0)


def test_a_piece_that_the_neighbour_shows_whole_is_the_neighbours() -> None:
    # The left tile sees the left half of a thing; the right one all of it, or nothing there.
    whole = stitch(tile(LEFT, ((85, 20, 100, 60), 0.9)), tile(RIGHT, ((85, 20, 120, 60), 0.5)))
    assert [(m.box, m.is_cut) for m in whole] == [((85, 20, 120, 60), False)]
    assert stitch(tile(LEFT, ((85, 20, 100, 60), 0.9)), tile(RIGHT)) == []


def test_a_piece_without_its_rest_says_so() -> None:
    (found,) = stitch(tile(LEFT, ((20, 20, 100, 60), 0.9)), tile(RIGHT))
    assert (found.box, found.is_cut) == ((20, 20, 100, 60), True)
    assert found.record().is_cut is True
    other = stitch(tile(LEFT, ((20, 20, 100, 60), 0.9)), tile(RIGHT, ((80, 70, 150, 90), 0.9)))
    assert [mask.is_cut for mask in other] == [True, True]  # what goes on there is another thing


def test_pieces_of_one_thing_are_one_mask() -> None:
    (found,) = stitch(tile(LEFT, ((20, 20, 100, 60), 0.9)), tile(RIGHT, ((80, 22, 160, 60), 0.6)))
    assert found.box == (20, 20, 160, 60)
    assert found.area == 80 * 40 + 60 * 38
    assert found.predicted_iou == pytest.approx((0.9 * 3200 + 0.6 * 3040) / 6240)
    assert found.crop_box == (0, 0, 180, 100)
    assert found.point == (20.0, 20.0)
    assert not found.is_cut


def test_what_a_tile_tells_apart_stays_apart() -> None:
    """A house, and the house with its garden, look alike where the neighbour sees them."""
    found = stitch(
        tile(LEFT, ((20, 20, 100, 60), 0.9), ((50, 20, 100, 60), 0.8)),
        tile(RIGHT, ((80, 20, 160, 60), 0.7)),
    )
    assert sorted(m.box for m in found) == [(20, 20, 160, 60), (50, 20, 100, 60)]
    assert sorted((m.box, m.is_cut) for m in found)[1] == ((50, 20, 100, 60), True)


def test_of_two_masks_of_a_thing_the_better_stays() -> None:
    for left, right in ((0.9, 0.6), (0.6, 0.9)):
        (found,) = stitch(
            tile(LEFT, ((84, 20, 95, 60), left)), tile(RIGHT, ((84, 20, 96, 60), right))
        )
        assert found.box == ((84, 20, 95, 60) if left > right else (84, 20, 96, 60))


def test_parts_of_joined_things_keep_their_wholes() -> None:
    def with_part(one: TileMasks) -> TileMasks:
        whole, part = one.masks
        return TileMasks(one.box, [whole, dataclasses.replace(part, parent=0)])

    left = with_part(tile(LEFT, ((20, 20, 100, 60), 0.9), ((30, 30, 50, 50), 0.8)))
    right = with_part(tile(RIGHT, ((80, 20, 160, 60), 0.9), ((110, 30, 130, 50), 0.7)))
    found = stitch(left, right)
    assert [(m.box, m.parent) for m in found] == [
        ((20, 20, 160, 60), None),
        ((30, 30, 50, 50), 0),
        ((110, 30, 130, 50), 0),
    ]


def test_the_order_of_tiles_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    picture = np.kron(rng.integers(0, 9, (12, 16)).astype(np.uint8), np.ones((25, 25), np.uint8))
    tiles = [
        TileMasks(box, numbers_in(picture[box[1] : box[3], box[0] : box[2]]))
        for box in Tiling(128, 32).boxes((300, 400))
    ]
    one, two = (
        stitched(some, size=(300, 400), cell=_CELL, suppression=0.7, stability_weight=1.0)
        for some in (tiles, tiles[::-1])
    )
    assert [m.record() for m in one] == [m.record() for m in two]


def test_suppression_between_tiles_is_the_plain_one(rng: np.random.Generator) -> None:
    corners = rng.uniform(0, 300, (200, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 90, (200, 2))], axis=1)
    scores = rng.permutation(200) / 200
    groups = [frozenset({n}) for n in range(200)]
    winners = between_groups(boxes, scores, groups=groups, threshold=0.3)
    kept = np.flatnonzero(winners == np.arange(200))
    assert sorted(kept.tolist()) == sorted(nms(boxes, scores, threshold=0.3).tolist())
    same = [frozenset({1})] * 200
    all_kept = between_groups(boxes, scores, groups=same, threshold=0.3)
    assert (all_kept == np.arange(200)).all()


@pytest.mark.parametrize("sigma", [0.0, 1e-6, 0.5, 5.0])
def test_the_order_is_that_of_soft_nms(sigma: float, rng: np.random.Generator) -> None:
    corners = rng.uniform(0, 300, (300, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 120, (300, 2))], axis=1)
    scores = rng.permutation(300) / 300
    wanted = soft_nms_order(boxes, scores, sigma=sigma).tolist()
    assert soft_order(boxes, scores, sigma=sigma) == wanted
    assert soft_order(boxes[:0], scores[:0], sigma=sigma) == []


@pytest.fixture(scope="module")
def predictor(toy_bundle: Path) -> Any:
    with Predictor.from_bundle(toy_bundle) as opened:
        yield opened


_FEW = EverythingConfig(
    points_per_side=6, pred_iou_threshold=0.0, stability_threshold=0.0, crop_layers=0
)


def photo() -> Array:
    return load_image(PHOTOS / "coffee.jpg")[:200, 100:400]


def test_one_tile_is_the_picture(predictor: Predictor) -> None:
    whole = segment_everything(predictor, photo(), config=_FEW)
    tiled = segment_in_tiles(predictor, photo(), tile=512, config=_FEW)
    assert [m.record() for m in tiled] == [m.record() for m in whole]


def test_tiles_are_those_segmented_by_hand(predictor: Predictor) -> None:
    """Masks that lie in one tile alone are the ones of that part of the picture."""
    image = photo()
    tiling = Tiling(128, 16)
    by_hand = set()
    for x0, y0, x1, y1 in tiling.boxes((200, 300)):
        part = np.ascontiguousarray(image[y0:y1, x0:x1])
        for one in segment_everything(predictor, part, config=_FEW):
            placed = np.zeros((200, 300), np.bool_)
            placed[y0:y1, x0:x1] = one.mask
            by_hand.add(rle_from_mask(placed)["counts"])
    masks = segment_in_tiles(predictor, image, tile=128, overlap=16, config=_FEW)
    check_frame_of_boxes(masks)
    single = [
        m for m in masks if m.crop_box[2] - m.crop_box[0] <= 128 >= m.crop_box[3] - m.crop_box[1]
    ]
    assert len(single) > 3
    assert {m.rle["counts"] for m in single} <= by_hand


def check_frame_of_boxes(masks: Sequence[AutomaticMask]) -> None:
    for one in masks:
        pixels = one.mask
        assert (metrics.bounding_box(pixels), int(pixels.sum())) == (one.box, one.area)


def test_a_file_by_tiles_is_the_array_by_tiles(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(photo()).save(path)
    wanted = segment_in_tiles(predictor, photo(), tile=128, config=_FEW)
    ticks: list[tuple[int, int]] = []
    found = everything_in_tiles(
        predictor,
        path,
        tiling=Tiling(128),
        config=_FEW,
        progress=lambda done, total: ticks.append((done, total)),
    )
    assert list(found.found.masks) == [mask.record() for mask in wanted]
    assert found.found.pixels is not None
    assert ticks == [(n, 6) for n in range(1, 7)]
    pytest.importorskip("pyvips")
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=50000")
    streamed = segment_in_tiles(predictor, str(path), tile=128, config=_FEW)
    assert [m.rle for m in streamed] == [m.rle for m in wanted]
    with pytest.raises(OptionError, match=r"overlay holds masks.*coco or geojson or sam"):
        everything_in_tiles(
            predictor, path, tiling=Tiling(128), config=_FEW, into=formats.get("overlay")
        )


def test_tiles_that_were_done_are_not_done_again(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Store:
        def __init__(self) -> None:
            self.kept: dict[Box, list[Any]] = {}

        def find(self, box: Box) -> list[AutomaticMask] | None:
            found = self.kept.get(box)
            return None if found is None else [mask_from_record(record) for record in found]

        def keep(self, box: Box, masks: Sequence[AutomaticMask]) -> None:
            self.kept[box] = [mask.record() for mask in masks]

    store = Store()

    def masks() -> list[Any]:
        with opened_in_parts(photo()) as picture:
            found = masks_of(predictor, picture, tiling=Tiling(128), config=_FEW, store=store)
        return [mask.record() for mask in found]

    first = masks()
    calls = []

    def counted(*args: Any, **more: Any) -> Any:
        calls.append(1)
        return segment_everything(*args, **more)

    monkeypatch.setattr(everything_tiles, "segment_everything", counted)
    assert masks() == first
    assert not calls
    store.kept.popitem()
    assert masks() == first
    assert len(calls) == 1


def test_an_interrupt_ends_it(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(everything_tiles, "segment_everything", interrupted)
    with pytest.raises(KeyboardInterrupt):
        segment_in_tiles(predictor, photo(), tile=128, config=_FEW)


def test_what_is_no_picture_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        segment_in_tiles(predictor, tmp_path / "absent.tif")
    with pytest.raises(ImageError, match="expected"):
        segment_in_tiles(predictor, np.zeros((4, 4), np.uint8))
    with pytest.raises(OptionError, match="64 or more"):
        segment_in_tiles(predictor, photo(), tile=10)


def test_outlines_of_a_mask_need_its_window_alone(tmp_path: Path) -> None:
    """GeoJSON of a picture whose masks are never decoded whole is that of masks that are."""
    pixels = np.zeros((40, 60), np.bool_)
    pixels[10:30, 20:50], pixels[15:20, 30:35] = True, False
    record = mask_of(pixels).record()
    window, corner = record.window()
    assert np.array_equal(window, pixels[10:30, 20:50])
    assert corner.tolist() == [20, 10]
    assert np.array_equal(mask_from_rle(record.rle), pixels)
