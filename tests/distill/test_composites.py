from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.distill.composites import CompositeConfig, Composites, read_cutout, texture
from samedge.errors import DatasetError, RecipeError

STILL = CompositeConfig(size=96, objects=(3, 3), extent=(0.3, 0.5), rotation=0, colour=0, blur=0)


@pytest.fixture
def cutouts(tmp_path: Path) -> Path:
    """Opaque discs in three pure colours, on transparent squares."""
    folder = tmp_path / "cutouts"
    folder.mkdir()
    rows, columns = np.mgrid[-20:20, -20:20] + 0.5
    for name, colour in {"a": (255, 0, 0), "b": (0, 255, 0), "c": (255, 0, 255)}.items():
        pixels = np.zeros((40, 40, 4), np.uint8)
        pixels[rows**2 + columns**2 < 19**2] = (*colour, 255)
        Image.fromarray(pixels).save(folder / f"{name}.webp", lossless=True)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (120, 60), (0, 0, 255)).save(folder / "blue.png")
    return folder


def test_masks_are_exactly_the_pasted_pixels(cutouts: Path, photos: Path) -> None:
    config = CompositeConfig(**{**vars(STILL), "texture_share": 0.0})
    source = Composites(cutouts, backgrounds=(photos,), config=config)
    for seed in range(10):
        scene = source.scene(seed, np.random.default_rng(seed))
        picture = scene.read_image(1.0).astype(int)
        assert picture.shape == (48, 96, 3) == (*scene.size, 3)
        union = np.zeros(scene.size, int)
        for number, (x, y, width, height) in enumerate(scene.boxes.astype(int)):
            mask = scene.read_mask(number)
            union += mask
            inside = mask[y : y + height, x : x + width]
            assert inside.sum() == mask.sum()
            assert inside.any(0).all(), "the box is tight"
            assert inside.any(1).all(), "the box is tight"
        assert union.max() <= 1, "a later cut-out hides an earlier one"
        blue = (picture[..., 2] > 250) & (picture[..., 0] < 5)
        assert not (blue & (union > 0)).any(), "no mask on the background"


def test_alpha_above_127_is_the_mask(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 4), 255, np.uint8)
    pixels[:, :2, 3], pixels[:, 2:4, 3] = 127, 128
    Image.fromarray(pixels).save(tmp_path / "half.png")
    config = CompositeConfig(
        size=8, objects=(1, 1), extent=(1, 1), rotation=0, colour=0, blur=0, min_visible=0
    )
    source = Composites(tmp_path, config=config)
    for seed in range(50):
        scene = source.scene(0, np.random.default_rng(seed))
        if not len(scene.boxes):
            continue
        _x, _y, width, height = scene.boxes[0].astype(int)
        assert width <= 6
        assert scene.read_mask(0).sum() == width * height


EFFECTS = ("feather", "motion", "match_light", "shadow", "uneven_light", "chains")


@pytest.mark.parametrize("effect", ["feather", "motion", "chains"])
def test_masks_are_disjoint_and_lie_where_objects_cover_more_than_half(
    cutouts: Path, photos: Path, effect: str
) -> None:
    """Red discs on blue: red is the share of a pixel that is covered, whatever the effect."""
    for name in ("b.webp", "c.webp"):
        (cutouts / name).unlink()
    shares = {"texture_share": 0.0, "min_visible": 0.0, effect: 1.0}
    config = CompositeConfig(**{**vars(STILL), **shares})
    source = Composites(cutouts, backgrounds=(photos,), config=config)
    for seed in range(20):
        scene = source.scene(0, np.random.default_rng(seed))
        masks = [scene.read_mask(number) for number in range(len(scene.boxes))]
        union = np.sum([np.zeros(scene.size, np.uint8), *masks], 0)
        assert union.max() == 1
        assert (scene.read_image(1.0)[union > 0][:, 0] >= 127).all()


@pytest.mark.parametrize("effect", ["feather", "motion"])
def test_one_soft_object_is_marked_exactly(cutouts: Path, photos: Path, effect: str) -> None:
    shares = {"texture_share": 0.0, "objects": (1, 1), "min_visible": 0.0, effect: 1.0}
    source = Composites(
        cutouts, backgrounds=(photos,), config=CompositeConfig(**{**vars(STILL), **shares})
    )
    softened = 0
    for seed in range(20):
        scene = source.scene(0, np.random.default_rng(seed))
        picture = scene.read_image(1.0).astype(int)
        # Discs are red, green or magenta on blue: of each the share that is not the background.
        covered = np.maximum(picture[..., 0], picture[..., 1])
        mask = scene.read_mask(0) > 0
        assert (covered[mask] >= 127).all()
        assert (covered[~mask] <= 128).all()
        softened += int(((covered > 20) & (covered < 235)).sum())
    assert softened > 1000, "edges are soft"


@pytest.mark.parametrize("effect", ["match_light", "uneven_light"])
def test_light_changes_pixels_and_no_mask(cutouts: Path, photos: Path, effect: str) -> None:
    plain = {**vars(STILL), "texture_share": 0.0, "objects": (1, 1), "min_visible": 0.0}
    changed = 0
    for seed in range(10):
        scenes = [
            Composites(
                cutouts, backgrounds=(photos,), config=CompositeConfig(**{**plain, effect: share})
            ).scene(0, np.random.default_rng(seed))
            for share in (0.0, 1.0)
        ]
        np.testing.assert_array_equal(scenes[0].read_mask(0), scenes[1].read_mask(0))
        changed += int((scenes[0].read_image(1.0) != scenes[1].read_image(1.0)).sum())
    assert changed > 1000


def test_a_shadow_darkens_the_ground_beside_its_object(cutouts: Path, photos: Path) -> None:
    plain = {**vars(STILL), "texture_share": 0.0, "objects": (1, 1), "min_visible": 0.0}
    lit, dark = (
        Composites(
            cutouts, backgrounds=(photos,), config=CompositeConfig(**{**plain, "shadow": share})
        ).scene(0, np.random.default_rng(1))
        for share in (0.0, 1.0)
    )
    np.testing.assert_array_equal(lit.read_mask(0), dark.read_mask(0))
    ground = lit.read_mask(0) == 0
    difference = lit.read_image(1.0).astype(int) - dark.read_image(1.0)
    assert (difference[ground] >= -1).all()
    assert difference[ground].max() > 40


def test_in_a_chain_every_object_touches_the_one_before(cutouts: Path, photos: Path) -> None:
    shares = {"texture_share": 0.0, "objects": (4, 4), "min_visible": 0.0, "extent": (0.2, 0.2)}

    def hidden(chains: float) -> float:
        config = CompositeConfig(**{**vars(STILL), **shares, "chains": chains})
        source = Composites(cutouts, backgrounds=(photos,), config=config)
        found = [source.scene(0, np.random.default_rng(seed)) for seed in range(20)]
        seen = [s.read_mask(n).sum() for s in found for n in range(len(s.boxes))]
        return float(np.mean(seen))

    assert hidden(1.0) < 0.85 * hidden(0.0)


def test_effects_that_are_off_draw_nothing(cutouts: Path, photos: Path) -> None:
    """A recipe without them makes the pictures that it made before there were any."""
    config = CompositeConfig(size=64)
    assert not any(getattr(config, effect) for effect in EFFECTS)
    rng = np.random.default_rng(5)
    Composites(cutouts, backgrounds=(photos,), config=config).scene(1, rng)
    assert rng.integers(2**32) == 1875470708


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_share_is_between_none_and_all(effect: str) -> None:
    wrong: dict[str, Any] = {effect: 1.5}
    with pytest.raises(RecipeError, match=effect):
        CompositeConfig(**wrong)


def test_a_hidden_object_is_not_marked(cutouts: Path) -> None:
    everything = CompositeConfig(
        size=64, objects=(12, 12), extent=(0.5, 1.5), colour=0, blur=0, min_visible=0.5
    )
    scene = Composites(cutouts, config=everything).scene(0, np.random.default_rng(3))
    assert 0 < len(scene.boxes) < 12


def test_a_scene_depends_on_its_generator_only(cutouts: Path, photos: Path) -> None:
    source = Composites(cutouts, backgrounds=(photos,), config=CompositeConfig(size=64))
    first = source.scene(1, np.random.default_rng(5))
    source.scene(2, np.random.default_rng(6))
    second = source.scene(1, np.random.default_rng(5))
    np.testing.assert_array_equal(first.read_image(1.0), second.read_image(1.0))
    np.testing.assert_array_equal(first.boxes, second.boxes)
    other = source.scene(1, np.random.default_rng(7))
    assert not np.array_equal(first.read_image(1.0)[:40, :40], other.read_image(1.0)[:40, :40])


def test_turned_colours_have_no_fringe(tmp_path: Path) -> None:
    """The colour of transparent pixels never shows: a black square on transparent white darkens."""
    pixels = np.full((40, 40, 4), (255, 255, 255, 0), np.uint8)
    pixels[8:32, 8:32] = (0, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "black.png")
    config = CompositeConfig(size=64, objects=(1, 1), extent=(0.7, 0.9), colour=0, blur=1)
    for seed in range(5):
        scene = Composites(tmp_path, config=config).scene(0, np.random.default_rng(seed))
        plain = texture((64, 64), _after_choice(seed))
        assert (scene.read_image(1.0).astype(int) - plain <= 1).all()


def _after_choice(seed: int) -> np.random.Generator:
    """The generator in the state in which ``Composites`` makes its texture."""
    rng = np.random.default_rng(seed)
    rng.random()
    return rng


def test_texture_is_a_picture_with_contrast() -> None:
    pixels = texture((40, 70), np.random.default_rng(0))
    assert pixels.shape == (40, 70, 3)
    assert pixels.dtype == np.uint8
    assert pixels.std() > 5


def test_cutout_errors_name_the_file(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "opaque.png")
    with pytest.raises(DatasetError, match=r"opaque\.png has mode RGB, expected an alpha"):
        read_cutout(tmp_path / "opaque.png")
    (tmp_path / "broken.webp").write_bytes(b"RIFF")
    with pytest.raises(DatasetError, match=r"broken\.webp is not a readable picture"):
        read_cutout(tmp_path / "broken.webp")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DatasetError, match=r"pipe\.png is not a readable picture"):
        read_cutout(tmp_path / "pipe.png")  # and is not waited for
    with pytest.raises(DatasetError, match="is not a folder"):
        Composites(tmp_path / "nowhere")
