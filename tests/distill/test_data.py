from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from samedge.distill.augment import PLAIN, AugmentConfig, choose_window
from samedge.distill.coco import CocoFolder
from samedge.distill.composites import Composites
from samedge.distill.data import Mixture, Part, Sample
from samedge.distill.mosaic import mosaic
from samedge.distill.scenes import ImageFolder, Scene, read_rgb
from samedge.errors import DatasetError
from samedge.pixels.frames import PAD_VALUE, Frame

MakeCoco = Callable[..., Path]
GEOMETRY = AugmentConfig(
    full_share=0.3, scale=(0.5, 2.0), colour_share=0, hue_share=0, gray=0, blur=0
)
PICTURES = [
    (60, 90, [(10, 10, 30, 20), (60, 30, 20, 25)]),
    (90, 64, [(5, 50, 40, 30)]),
    (80, 80, [(20, 20, 40, 40), (0, 0, 15, 15), (65, 5, 10, 60)]),
]


def _mixture(make_coco: MakeCoco, config: AugmentConfig, *, size: int = 64) -> Mixture:
    return Mixture([Part(CocoFolder(make_coco(PICTURES)))], image_size=size, augment=config)


def _equal(first: Sample, second: Sample) -> bool:
    one, two = (cast("dict[str, torch.Tensor]", sample) for sample in (first, second))
    return all(torch.equal(one[key], two[key]) for key in one)


def test_shapes_types_and_padding(make_coco: MakeCoco) -> None:
    mixture = _mixture(make_coco, PLAIN)
    for sample in (mixture[i] for i in range(6)):
        assert sample["image"].shape == (64, 64, 3)
        assert sample["image"].dtype == torch.uint8
        assert sample["masks"].shape == (4, 64, 64)
        assert sample["masks"].dtype == torch.uint8
        assert sample["masks"].max() == 1
        assert sample["valid"].dtype == torch.bool
        height, width = sample["valid_size"].tolist()
        assert max(height, width) == 64
        outside = torch.ones(64, 64, dtype=torch.bool)
        outside[:height, :width] = False
        assert (sample["image"][outside] == torch.tensor(PAD_VALUE, dtype=torch.uint8)).all()
        assert not sample["masks"][:, outside].any()
        assert (sample["masks"].flatten(1).any(1) == sample["valid"]).all()


def test_a_whole_photo_has_the_size_that_it_has_in_deployment() -> None:
    rng = np.random.default_rng(0)
    frame = Frame(target_length=64)
    for size in ((480, 640), (333, 500), (50, 3), (64, 64), (1, 900)):
        nothing = np.zeros((0, 4))
        scene = Scene(size, nothing, lambda scale: np.zeros(0), lambda index: np.zeros(0))
        window = choose_window(scene, rng, image_size=64, config=PLAIN)
        assert window.output == frame.input_size(size)


@pytest.mark.parametrize("mosaic_share", [0.0, 1.0])
def test_masks_move_with_the_picture(make_coco: MakeCoco, mosaic_share: float) -> None:
    """Objects are yellow on blue, so that the picture itself says where they are."""
    config = AugmentConfig(**{**vars(GEOMETRY), "mosaic": mosaic_share})
    mixture = Mixture(
        [Part(CocoFolder(make_coco(PICTURES)))],
        image_size=96,
        masks_per_image=16,
        augment=config,
    )
    for index in range(40):
        sample = mixture[index]
        truth = sample["masks"].amax(0).bool()
        seen = sample["image"][..., 0] >= 145  # half way from 40 to 250
        height, width = sample["valid_size"].tolist()
        wrong = (truth ^ seen)[:height, :width].sum().item()
        assert wrong <= 3 * config.min_area, f"sample {index}: more than dropped slivers"
        assert truth.any()


def test_whole_photos_have_the_size_that_deployment_gives_them(make_coco: MakeCoco) -> None:
    mixture = _mixture(make_coco, PLAIN, size=128)
    sizes = {tuple(mixture[i]["valid_size"].tolist()) for i in range(3)}
    assert sizes == {(85, 128), (128, 91), (128, 128)}


def test_flipped_samples_are_mirrored(make_coco: MakeCoco) -> None:
    part = Part(CocoFolder(make_coco(PICTURES[1:2])))
    always = dataclasses.replace(PLAIN, flip=1)
    plain, mirrored = (
        Mixture([part], image_size=90, augment=config)[0] for config in (PLAIN, always)
    )
    for key in ("image", "masks"):
        axis = 1 if key == "image" else 2
        straight = plain[key].narrow(axis, 0, 64)
        assert torch.equal(mirrored[key].narrow(axis, 0, 64), straight.flip(axis))


def test_scale_goes_both_ways(make_coco: MakeCoco) -> None:
    scene = CocoFolder(make_coco(PICTURES)).scene(2, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    scales = []
    for _ in range(300):
        window = choose_window(scene, rng, image_size=64, config=GEOMETRY)
        assert window.top % 8 == window.left % 8 == 0
        assert window.top + window.size[0] <= 80
        assert window.left + window.size[1] <= 80
        assert max(window.output) <= 64
        scales.append(window.output[0] / window.size[0] / (64 / 80))
    assert 0.45 < min(scales) < 0.6
    assert 1.7 < max(scales) < 2.1
    shares = np.histogram(scales, [0, 0.97, 1.03, 3])[0] / 300
    assert shares == pytest.approx([0.34, 0.32, 0.34], abs=0.09)


def test_a_sample_depends_on_seed_and_index_only(make_coco: MakeCoco) -> None:
    root = make_coco(PICTURES)

    def fresh(seed: int = 0) -> Mixture:
        part = Part(CocoFolder(root))
        return Mixture([part], image_size=48, samples_per_epoch=5, seed=seed)

    first = fresh()
    samples = [first[i] for i in range(12)]
    again = fresh()
    for index in (11, 3, 7, 0):
        assert _equal(again[index], samples[index])
    assert not _equal(samples[1], samples[6]), "another epoch, another sample"
    assert not _equal(fresh(1)[1], samples[1]), "another seed, another sample"


def test_global_random_state_is_neither_used_nor_changed(make_coco: MakeCoco) -> None:
    mixture = _mixture(make_coco, AugmentConfig(gray=1, blur=1, hue_share=1, colour_share=1))
    torch.manual_seed(1)
    first, state = mixture[2], torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert _equal(mixture[2], first)


def test_workers_change_nothing(make_coco: MakeCoco) -> None:
    mixture = _mixture(make_coco, AugmentConfig())
    alone = list(DataLoader(mixture, batch_size=2, sampler=range(6)))
    loader = DataLoader(
        mixture, batch_size=2, sampler=range(6), num_workers=2, multiprocessing_context="fork"
    )
    for one, two in zip(alone, loader, strict=True):
        assert _equal(one, two)


def test_a_mixture_can_be_pickled_for_spawned_workers(make_coco: MakeCoco) -> None:
    mixture = _mixture(make_coco, AugmentConfig())
    sample = mixture[1]
    assert _equal(pickle.loads(pickle.dumps(mixture))[1], sample)


def test_every_scene_once_before_one_twice(make_coco: MakeCoco) -> None:
    seen: list[int] = []

    class Spy:
        def __init__(self) -> None:
            self.folder = CocoFolder(make_coco(PICTURES))

        def __len__(self) -> int:
            return 3

        def scene(self, index: int, rng: np.random.Generator, /) -> Scene:
            seen.append(index)
            return self.folder.scene(index, rng)

    mixture = Mixture([Part(Spy())], image_size=32, samples_per_epoch=7)
    for index in range(7):
        mixture[index]
    assert sorted(seen[:3]) == sorted(seen[3:6]) == [0, 1, 2]


def test_weights_are_shares_of_the_samples(make_coco: MakeCoco) -> None:
    many = CocoFolder(make_coco([PICTURES[0]] * 4, name="many"))
    one = CocoFolder(make_coco(PICTURES[1:2], name="one"))
    mixture = Mixture(
        [Part(many, 1.0), Part(one, 3.0), Part(many, 0.0)], image_size=16, samples_per_epoch=200
    )
    counts = np.bincount([int(mixture[i]["source"]) for i in range(200)], minlength=3)
    assert counts[1] == pytest.approx(150, abs=20)
    assert counts[2] == 0


@pytest.mark.parametrize("weights", [[], [0.0], [1.0, -1.0]])
def test_useless_weights(make_coco: MakeCoco, weights: list[float]) -> None:
    folder = CocoFolder(make_coco(PICTURES))
    with pytest.raises(DatasetError, match="positive weight"):
        Mixture([Part(folder, w) for w in weights], image_size=16)


def test_masks_are_drawn_alike_whatever_their_area(make_coco: MakeCoco) -> None:
    root = make_coco([(64, 64, [(0, 0, 5, 5), (10, 10, 50, 50)])])
    mixture = Mixture([Part(CocoFolder(root))], image_size=64, masks_per_image=1, augment=PLAIN)
    small = sum(int(mixture[i]["masks"].sum()) < 100 for i in range(200))
    assert small == pytest.approx(100, abs=30)


def test_tiny_masks_are_dropped_and_others_take_their_place(make_coco: MakeCoco) -> None:
    root = make_coco([(64, 64, [(0, 0, 2, 2), (10, 10, 20, 20), (40, 0, 3, 1)])])
    mixture = Mixture([Part(CocoFolder(root))], image_size=64, masks_per_image=1, augment=PLAIN)
    for index in range(10):
        assert mixture[index]["valid"].tolist() == [True]
        assert int(mixture[index]["masks"].sum()) == 400


def test_repeated_masks_fill_the_slots(make_coco: MakeCoco) -> None:
    part = Part(CocoFolder(make_coco(PICTURES[1:2])))
    mixture = Mixture([part], image_size=32, repeat_masks=True, augment=PLAIN)
    sample = mixture[0]
    assert sample["valid"].all()
    assert (sample["masks"] == sample["masks"][:1]).all()


def test_a_part_may_have_its_own_augmentation(make_coco: MakeCoco) -> None:
    folder = CocoFolder(make_coco(PICTURES))
    smaller = AugmentConfig(full_share=0, scale=(0.5, 0.5))
    mixture = Mixture([Part(folder), Part(folder, augment=smaller)], image_size=64, augment=PLAIN)
    for index in range(12):
        sample = mixture[index]
        assert int(sample["valid_size"].max()) == (32 if sample["source"] else 64)


def test_plain_pictures_have_no_masks(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (9, 8, 7)).save(tmp_path / "a.png")
    mixture = Mixture([Part(ImageFolder(tmp_path))], image_size=32, augment=PLAIN)
    sample = mixture[0]
    assert not sample["valid"].any()
    assert sample["valid_size"].tolist() == [16, 32]
    assert sample["image"][3, 3].tolist() == [9, 8, 7]


def test_plain_pictures_are_turned_upright(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    scene = ImageFolder(tmp_path).scene(0, np.random.default_rng(0))
    assert scene.size == (40, 20)
    assert scene.read_image(1.0).shape == (40, 20, 3)


def test_large_jpegs_are_decoded_at_a_fraction(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:160, :240]
    pixels = np.dstack([rows, columns, rows * 0 + 50]).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    assert read_rgb(tmp_path / "a.jpg", scale=0.2).shape == (40, 60, 3)
    mixture = Mixture([Part(ImageFolder(tmp_path))], image_size=48, augment=PLAIN)
    image = mixture[0]["image"][:32].int()
    expected = (torch.arange(32) + 0.5) * 5 - 0.5
    assert (image[:, 20, 0] - expected).abs().max() < 4


def test_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no pictures"):
        ImageFolder(tmp_path)
    with pytest.raises(DatasetError, match="is not a folder"):
        ImageFolder(tmp_path / "nowhere")


def test_a_mosaic_leaves_no_gap_and_keeps_boxes_on_their_masks(make_coco: MakeCoco) -> None:
    folder = CocoFolder(make_coco(PICTURES))
    rng = np.random.default_rng(0)
    scene = mosaic([folder.scene(i, rng) for i in (0, 1, 2, 0)])
    assert scene.size == (60 + 60, min(90 + 64, 80 + 90))
    picture = scene.read_image(1.0)
    yellow = np.zeros(scene.size, np.uint8)
    for number, (x, y, width, height) in enumerate(scene.boxes.astype(int)):
        mask = scene.read_mask(number)
        assert mask.sum() == width * height
        assert mask[y : y + height, x : x + width].all()
        yellow |= mask
    np.testing.assert_array_equal(yellow > 0, picture[..., 0] == 250)
    assert set(np.unique(picture[..., 0])) == {40, 250}


def test_real_data_gives_masks_of_all_sizes(shared_data: Path) -> None:
    root = shared_data
    mixture = Mixture(
        [
            Part(CocoFolder(root / "train" / "coco"), 2.0),
            Part(Composites(root / "cutouts", backgrounds=(root / "train/coco/images",))),
        ],
        image_size=256,
    )
    areas = []
    for index in range(24):
        sample = mixture[index]
        areas += sample["masks"].flatten(1).sum(1)[sample["valid"]].tolist()
    assert len(areas) > 24
    assert min(areas) >= 10
    assert np.percentile(areas, 90) > 1000 > np.percentile(areas, 20)
