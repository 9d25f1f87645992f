"""Which images are sampled, what is refused, and that feeds are the runtime's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samedge.errors import CalibrationError
from samedge.pixels.frames import Frame
from samedge.pixels.image_files import PHOTOS
from samedge.proof.photos import (
    FEW_IMAGES,
    generated_prompts,
    load_calibration,
)
from samedge.types import Array, Role


def picture(seed: int, *, side: int = 64) -> Array:
    """Blocks of random colours: no two seeds alike."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(blocks.repeat(side // 4, 0).repeat(side // 4, 1))


def folder_of(folder: Path, seeds: Sequence[int]) -> Path:
    folder.mkdir(exist_ok=True)
    for index, seed in enumerate(seeds):
        Image.fromarray(picture(seed)).save(folder / f"{index:03}.png")
    return folder


def test_the_same_sample_every_time(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", range(40))
    first, second = (load_calibration(folder, limit=20) for _ in range(2))
    assert first == second
    assert len(first.images) == 20
    assert first.fingerprint == second.fingerprint
    other = load_calibration(folder, limit=20, seed=1)
    assert other.images != first.images
    assert other.fingerprint != first.fingerprint


def test_a_photo_of_equal_name_and_size_is_another(tmp_path: Path) -> None:
    """Else figures that were measured on other photos would be taken for those of these."""
    folder = folder_of(tmp_path / "photos", range(4))
    first = load_calibration(folder).fingerprint
    photo = folder / "000.png"
    content = photo.read_bytes()
    photo.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of the checksum behind the pixels
    assert load_calibration(folder).fingerprint != first


def test_samedge_ships_photos_to_calibrate_on() -> None:
    data = load_calibration()
    assert data.source == PHOTOS
    assert len(data.images) == 4
    assert len(list(data.pictures())) == 4 * 5  # each with its quarters
    truth = data.ground_truth()
    assert truth is not None
    assert sum(len(image.annotations) for image in truth.images) == 12


def test_many_images_are_not_cut_up(tmp_path: Path) -> None:
    data = load_calibration(folder_of(tmp_path / "photos", range(FEW_IMAGES)))
    assert len(list(data.pictures())) == FEW_IMAGES


def test_a_coco_file_names_its_images(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "coco", [])
    folder_of(folder / "images", range(5))
    (folder / "images" / "stray.png").write_bytes((folder / "images" / "000.png").read_bytes())
    names = ["000.png", "002.png", "gone.png"]
    document = {"images": [{"file_name": name} for name in names], "annotations": []}
    (folder / "instances.json").write_text(json.dumps(document))
    by_file, by_folder = load_calibration(folder / "instances.json"), load_calibration(folder)
    assert [path.name for path in by_file.images] == ["000.png", "002.png"]
    assert len(by_folder.images) == 6
    assert by_file.truth == by_folder.truth == folder / "instances.json"


@pytest.mark.parametrize(
    ("seeds", "said"),
    [([], "holds 0 images"), ([1], "holds 1 images"), ([3] * 6, "only 1 differ")],
)
def test_too_few_or_alike_images_are_refused(tmp_path: Path, seeds: list[int], said: str) -> None:
    with pytest.raises(CalibrationError, match=said):
        load_calibration(folder_of(tmp_path / "photos", seeds))


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", range(4))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    with pytest.raises(CalibrationError, match=r"broken\.jpg"):
        load_calibration(folder)


def test_all_broken_images_are_named_at_once(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(
        CalibrationError, match=r"cannot be read \(a\.jpg, b\.jpg, c\.jpg\): "
    ) as error:
        load_calibration(tmp_path)
    assert ".)" not in str(error.value)


def test_missing_places_and_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="There is no"):
        load_calibration(tmp_path / "nowhere")
    note = tmp_path / "note.txt"
    note.write_text("hello")
    with pytest.raises(CalibrationError, match="one file"):
        load_calibration(note)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(CalibrationError, match="no COCO file"):
        load_calibration(tmp_path / "list.json")


def test_encoder_feeds_are_what_the_runtime_feeds(tmp_path: Path) -> None:
    data = load_calibration(folder_of(tmp_path / "photos", range(FEW_IMAGES)))
    frame = Frame(target_length=96, pad_value=(1, 2, 3))
    feeds = list(data.encoder_feeds(frame))
    assert len(feeds) == FEW_IMAGES
    for feed, path in zip(feeds, data.images, strict=True):
        picture = np.asarray(Image.open(path))
        expected = frame.view_of(picture).encoder_input(picture)
        np.testing.assert_array_equal(feed["image"], expected)


class Encoder:
    """Gives two maps."""

    def run(self, role: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        assert role == Role.ENCODER
        assert feeds["image"].shape == (1, 64, 64, 3)
        return {
            "image_embeddings": np.zeros((1, 8, 4, 4), np.float32),
            "fine": np.zeros((1, 2, 8, 8), np.float32),
        }


def test_decoder_feeds_hold_every_kind_of_prompt(tmp_path: Path) -> None:
    data = load_calibration(folder_of(tmp_path / "photos", range(FEW_IMAGES)))
    frame = Frame(target_length=64)
    feeds = list(data.decoder_feeds(frame, Encoder()))
    assert all({"image_embeddings", "fine"} <= feed.keys() for feed in feeds)
    labels = {tuple(sorted(set(feed["point_labels"].ravel().tolist()))) for feed in feeds}
    assert labels == {(2.0, 3.0), (-1.0, 1.0), (-1.0, 0.0, 1.0), (1.0, 2.0, 3.0)}
    assert {float(feed["has_mask_input"][0]) for feed in feeds} == {0.0, 1.0}
    fixed = next(iter(data.decoder_feeds(frame, Encoder(), bucket=(4, 6))))
    assert fixed["point_coords"].shape == (4, 6, 2)


@pytest.mark.parametrize("size", [(20, 30), (480, 640), (3000, 200)])
def test_prompts_lie_inside_of_the_image(size: tuple[int, int]) -> None:
    for seed in range(50):
        for prompt in generated_prompts(size, 16, seed=seed):
            points = np.asarray(prompt.points).reshape(-1, 2)
            corners = np.zeros(0) if prompt.box is None else np.asarray(prompt.box)
            places = np.concatenate([points, corners.reshape(-1, 2)])
            assert (places >= 0).all()
            assert (places <= (size[1], size[0])).all()


def test_pictures_in_hidden_folders_are_none(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.png", "b.png", ".thumbnails/a.png", "deep/.trash/b.png")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed)).save(path)
    assert [path.name for path in load_calibration(tmp_path).images] == ["a.png", "b.png"]
