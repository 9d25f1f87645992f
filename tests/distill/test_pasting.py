"""Objects of other photos on a photo: what is covered leaves its mask, what is pasted has one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samedge.distill.augment import AugmentConfig
from samedge.distill.coco import CocoFolder
from samedge.distill.data import Mixture, Part
from samedge.distill.pasting import LEAST_VISIBLE, pasted
from samedge.distill.scenes import Scene

MakeCoco = Callable[..., Path]
LARGE = [(80, 120, [(10, 10, 60, 50), (80, 40, 30, 30)])]
RED = (255, 0, 0)


def _red_squares() -> Scene:
    """Two red squares on black."""
    masks = np.zeros((2, 64, 64), np.uint8)
    masks[0, 8:24, 8:24] = 1
    masks[1, 30:62, 30:62] = 1
    picture = masks.max(0)[..., None] * np.array(RED, np.uint8)
    return Scene(
        size=(64, 64),
        boxes=np.array([(8, 8, 16, 16), (30, 30, 32, 32)], np.float32),
        read_image=lambda _scale: picture,
        read_mask=lambda number: masks[number],
    )


def test_masks_are_what_is_seen(make_coco: MakeCoco) -> None:
    photo = CocoFolder(make_coco(LARGE)).scene(0, np.random.default_rng(0))
    before = [photo.read_mask(number) for number in range(2)]
    covered = pasted_objects = 0
    for seed in range(30):
        scene = pasted(photo, [_red_squares()], rng=np.random.default_rng(seed))
        red = scene.read_image(1.0)[..., 0].astype(int) - scene.read_image(1.0)[..., 1]
        count = len(scene.boxes)
        masks = [scene.read_mask(number) for number in range(count)]
        for number, mask in enumerate(masks[:2]):
            hidden = (before[number] > 0) & (mask == 0)
            assert not (mask & ~before[number]).any(), "a mask below never grows"
            if mask.any():
                assert (red[hidden] > 60).all(), "it loses nothing but what is covered"
                assert mask.sum() >= LEAST_VISIBLE * before[number].sum()
            covered += int(hidden.sum())
        for mask, (x, y, width, height) in zip(masks[2:], scene.boxes[2:].astype(int), strict=True):
            assert (red[mask > 0] > 60).all(), "a pasted mask lies on its object"
            assert mask[y : y + height, x : x + width].sum() == mask.sum() > 0
            pasted_objects += 1
        assert np.sum(masks[2:], 0).max(initial=0) <= 1
    assert covered > 100
    assert pasted_objects > 20


def test_the_photo_itself_stays_as_it_was(make_coco: MakeCoco) -> None:
    photo = CocoFolder(make_coco(LARGE)).scene(0, np.random.default_rng(0))
    before = photo.read_image(1.0).copy()
    pasted(photo, [_red_squares()], rng=np.random.default_rng(1))
    np.testing.assert_array_equal(photo.read_image(1.0), before)


def test_where_nothing_is_to_be_pasted_nothing_changes(make_coco: MakeCoco) -> None:
    photo = CocoFolder(make_coco(LARGE)).scene(0, np.random.default_rng(0))
    empty = Scene(
        size=(64, 64),
        boxes=np.zeros((0, 4), np.float32),
        read_image=photo.read_image,
        read_mask=photo.read_mask,
    )
    assert pasted(photo, [empty], rng=np.random.default_rng(0)) is photo


def test_the_share_of_samples_is_an_option_and_none_by_default(make_coco: MakeCoco) -> None:
    folder = CocoFolder(make_coco(LARGE * 3))
    geometry: dict[str, Any] = {
        "flip": 0.0,
        "full_share": 1.0,
        "colour_share": 0.0,
        "gray": 0.0,
        "blur": 0.0,
    }

    def samples(share: float | None) -> list[torch.Tensor]:
        chosen: dict[str, Any] = {} if share is None else {"pasted": share}
        config = AugmentConfig(**geometry, hue_share=0.0, **chosen)
        mixture = Mixture([Part(folder)], image_size=64, augment=config)
        return [mixture[index]["image"] for index in range(6)]

    plain, none, some = samples(None), samples(0.0), samples(1.0)
    assert all(torch.equal(a, b) for a, b in zip(plain, none, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(plain, some, strict=True))
    again = samples(1.0)
    assert all(torch.equal(a, b) for a, b in zip(some, again, strict=True)), "seed and index alone"
