"""Following on a model that the test can predict."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from samedge.errors import (
    ImageError,
    InferenceError,
    OptionError,
    PromptError,
    UnknownNameError,
)
from samedge.pixels.metrics import mask_iou
from samedge.tracking import _propagation
from samedge.tracking import tracker as trackers
from samedge.tracking.base import Status
from samedge.tracking.settings import TrackerSettings
from samedge.tracking.tracker import Tracker
from samedge.types import Prompt
from tests.tracking.toys import BLUE, RED, ColourSegmenter, box_of, scene, truth


@pytest.fixture
def model() -> ColourSegmenter:
    return ColourSegmenter()


def moving(count: int, *, step: float = 3.0) -> list[np.ndarray]:
    return [scene((40 + step * t, 60, RED), seed=t) for t in range(count)]


@pytest.mark.parametrize("kind", ["box", "click", "mask"])
def test_an_object_is_followed(model: ColourSegmenter, kind: str) -> None:
    images = moving(20)
    prompt = {
        "box": Prompt(box=box_of(images[0], RED)),
        "click": Prompt(points=[[40, 60]]),
        "mask": Prompt(mask=truth(images[0], RED)),
    }[kind]
    scores = [
        mask_iou(found.mask, truth(image, RED))
        for image, (found,) in zip(images, Tracker(model).follow(images, [prompt]), strict=True)
    ]
    print(f"{kind}: least IoU {min(scores):.3f}")
    assert min(scores) > 0.8


def test_objects_keep_their_ids(model: ColourSegmenter) -> None:
    images = [scene((40 + 2 * t, 40, RED), (120 - 2 * t, 90, BLUE), seed=t) for t in range(15)]
    prompts = [Prompt(box=box_of(images[0], colour)) for colour in (BLUE, RED)]
    for image, objects in zip(images, Tracker(model).follow(images, prompts), strict=True):
        assert [found.id for found in objects] == [0, 1]
        assert mask_iou(objects[0].mask, truth(image, BLUE)) > 0.8
        assert mask_iou(objects[1].mask, truth(image, RED)) > 0.8


def test_one_look_at_the_image_serves_all_objects(model: ColourSegmenter) -> None:
    images = [scene((40, 40, RED), (120, 90, BLUE), seed=t) for t in range(3)]
    prompts = [Prompt(box=box_of(images[0], colour)) for colour in (RED, BLUE)]
    list(Tracker(model).follow(images, prompts))
    assert len(model.regions) == 3


def test_the_part_around_a_small_object_is_encoded(model: ColourSegmenter) -> None:
    images = [scene((300, 200, RED), size=(480, 640), seed=t) for t in range(3)]
    list(Tracker(model).follow(images, [Prompt(box=box_of(images[0], RED))]))
    for region in model.regions:
        x0, y0, x1, y1 = region
        assert x0 < 285
        assert y0 < 185
        assert x1 > 315
        assert y1 > 215
        assert (x1 - x0) * (y1 - y0) < 0.1 * 480 * 640
    whole = Tracker(model, settings=TrackerSettings(focus_most=0.0))
    list(whole.follow(images, [Prompt(box=box_of(images[0], RED))]))
    assert model.regions[3:] == [None] * 3


def test_the_model_can_be_asked_in_every_second_frame(model: ColourSegmenter) -> None:
    images = moving(7)
    tracker = Tracker(model, settings=TrackerSettings(ask_every=2))
    followed = list(tracker.follow(images, [Prompt(box=box_of(images[0], RED))]))
    assert len(model.regions) == 4  # the first frame, and three of six
    asked = [found.predicted_iou is not None for (found,) in followed]
    assert asked == [False, False, True, False, True, False, True]
    for image, (found,) in zip(images, followed, strict=True):
        assert mask_iou(found.mask, truth(image, RED)) > 0.7


def test_an_object_in_doubt_is_asked_about_in_every_frame(model: ColourSegmenter) -> None:
    tracker = Tracker(model, settings=TrackerSettings(ask_every=5, lost_frames=9))
    images = [scene((40, 40, RED)), *[scene((40, 40, BLUE), seed=t) for t in range(4)]]
    followed = list(tracker.follow(images, [Prompt(box=box_of(images[0], RED))]))
    asked = [found.predicted_iou is not None for (found,) in followed]
    assert asked == [False, False, True, True, True]  # in the second frame nothing was wrong yet


def test_an_object_elsewhere_than_expected_is_looked_for_there(model: ColourSegmenter) -> None:
    images = [scene((60, 100, RED), size=(240, 320), seed=t) for t in range(2)]
    images.append(scene((85, 100, RED), size=(240, 320), seed=2))
    followed = list(Tracker(model).follow(images, [Prompt(box=box_of(images[0], RED))]))
    assert len(model.regions) == 4  # the last frame's once more
    assert mask_iou(followed[-1][0].mask, truth(images[-1], RED)) > 0.7


def test_an_object_that_goes_is_lost_and_found_again(model: ColourSegmenter) -> None:
    here, away = scene((60, 60, RED)), scene()
    back = scene((110, 50, RED), seed=3)
    images = [here] * 3 + [away] * 8 + [back] * 6
    found = [
        objects[0] for objects in Tracker(model).follow(images, [Prompt(box=box_of(here, RED))])
    ]
    statuses = [one.status for one in found]
    lost = TrackerSettings().lost_frames
    assert statuses[3 + lost : 11] == [Status.LOST] * (8 - lost)  # hysteresis, then lost
    assert statuses[3] is Status.FOLLOWED
    assert not found[8].mask.any()
    assert statuses[-1] is Status.FOLLOWED
    assert found[-1].id == 0
    assert mask_iou(found[-1].mask, truth(back, RED)) > 0.8


def test_another_colour_is_not_the_lost_object(model: ColourSegmenter) -> None:
    here, other = scene((60, 60, RED)), scene((110, 50, BLUE))
    images = [here] * 3 + [other] * 12
    prompt = Prompt(box=box_of(here, RED))
    *_, last = (objects[0] for objects in Tracker(model).follow(images, [prompt]))
    assert last.status is Status.LOST
    assert not last.mask.any()


def test_a_model_that_finds_something_else_is_not_believed() -> None:
    class Wrong(ColourSegmenter):
        def _masks(self, image: np.ndarray, prompt: Prompt):  # type: ignore[no-untyped-def]
            masks = super()._masks(image, prompt)
            return dataclasses.replace(masks, masks=~masks.masks)

    images = moving(10)
    prompt = Prompt(mask=truth(images[0], RED))
    for image, (found,) in zip(images, Tracker(Wrong()).follow(images, [prompt]), strict=True):
        assert mask_iou(found.mask, truth(image, RED)) > 0.7


def test_the_state_is_a_value(model: ColourSegmenter) -> None:
    images = moving(6)
    tracker = Tracker(model)
    first = tracker.begin(images[0], [Prompt(box=box_of(images[0], RED))])
    once, again = (tracker.step(first.state, images[1]) for _ in range(2))
    np.testing.assert_array_equal(once.objects[0].mask, again.objects[0].mask)
    straight = tracker.step(tracker.step(once.state, images[2]).state, images[3])
    detour = tracker.step(first.state, images[5])
    assert detour.objects[0].id == 0
    replayed = tracker.step(tracker.step(again.state, images[2]).state, images[3])
    np.testing.assert_array_equal(straight.objects[0].mask, replayed.objects[0].mask)


def test_objects_come_and_go(model: ColourSegmenter) -> None:
    image = scene((40, 40, RED), (120, 90, BLUE))
    tracker = Tracker(model)
    one = tracker.begin(image, [Prompt(box=box_of(image, RED))])
    both = tracker.begin(image, [Prompt(box=box_of(image, BLUE))], state=one.state)
    assert [found.id for found in both.objects] == [0, 1]
    left = tracker.step(tracker.without(both.state, 0), image)
    assert [found.id for found in left.objects] == [1]
    with pytest.raises(UnknownNameError, match="Unknown object '0'"):
        tracker.without(left.state, 0)
    third = tracker.begin(image, [Prompt(box=box_of(image, RED))], state=left.state)
    assert [found.id for found in third.objects] == [1, 2]  # an id never comes again


def test_what_cannot_be_followed_is_said(model: ColourSegmenter) -> None:
    image = scene((40, 40, RED))
    tracker = Tracker(model)
    with pytest.raises(PromptError, match="nothing to follow"):
        tracker.begin(image, [])
    with pytest.raises(PromptError, match="object 0 shows nothing"):
        tracker.begin(image, [Prompt(box=[100, 80, 120, 100])])
    with pytest.raises(PromptError, match="give a mask of the frame's size"):
        tracker.begin(image, [Prompt(mask=np.ones((5, 5), bool))])
    with pytest.raises(ImageError, match="uint8"):
        tracker.begin(image.astype(np.float32), [Prompt(points=[[40, 40]])])
    begun = tracker.begin(image, [Prompt(points=[[40, 40]])])
    with pytest.raises(ImageError, match="begin again"):
        tracker.step(begun.state, image[:60])
    for no_state in (begun, None):
        with pytest.raises(OptionError, match=r"expected result\.state"):
            tracker.step(no_state, image)
    no_settings: Any = {"ask_every": 2}
    with pytest.raises(OptionError, match="settings is a dict"):
        Tracker(model, settings=no_settings)


def test_strategies_are_found_by_their_files(model: ColourSegmenter) -> None:
    assert trackers.names() == ("propagation",)
    with pytest.raises(UnknownNameError, match="Did you mean 'propagation'"):
        Tracker(model, strategy="propagatoin")


@pytest.mark.parametrize("change", [{"ask_every": 0}, {"box_margin": -0.1}, {"grid_side": 0}])
def test_silly_thresholds_are_refused(change: dict) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(change))} is .*expected a number"):
        TrackerSettings(**change)


class AtOnce:
    """Stands in for a pool: runs what it is given before anything else."""

    def __init__(self, max_workers: int) -> None:
        del max_workers

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def submit(self, call: Any, *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(call(*arguments))
        return done


def test_the_thread_beside_the_encoder_changes_nothing(
    model: ColourSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [scene((40 + 3 * t, 40, RED), (120 - 2 * t, 90, BLUE), seed=t) for t in range(6)]
    prompts = [Prompt(box=box_of(images[0], colour)) for colour in (RED, BLUE)]
    beside = list(Tracker(model).follow(images, prompts))
    monkeypatch.setattr(_propagation, "ThreadPoolExecutor", AtOnce)
    alone = list(Tracker(model).follow(images, prompts))
    for one, other in zip(beside, alone, strict=True):
        for found, same in zip(one, other, strict=True):
            assert np.array_equal(found.mask, same.mask)
            assert found.similarity == same.similarity


@pytest.mark.parametrize("where", ["_prepared", "look"])
def test_an_error_on_either_side_of_the_thread_reaches_the_caller(
    model: ColourSegmenter, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    images = moving(3)
    tracker = Tracker(model)
    state = tracker.begin(images[0], [Prompt(box=box_of(images[0], RED))]).state

    def broken(*_: object, **__: object) -> None:
        raise InferenceError("it broke")

    with monkeypatch.context() as patch:
        patch.setattr(_propagation, where, broken)
        with pytest.raises(InferenceError, match="it broke"):
            tracker.step(state, images[1])
    (found,) = tracker.step(state, images[1]).objects  # the state is as it was
    assert mask_iou(found.mask, truth(images[1], RED)) > 0.8


def test_an_object_joins_those_that_are_asked_about_in_every_second_frame(
    model: ColourSegmenter,
) -> None:
    images = [scene((40, 40, RED), (120, 90, BLUE), seed=t) for t in range(5)]
    tracker = Tracker(model, settings=TrackerSettings(ask_every=2))
    state = tracker.begin(images[0], [Prompt(box=box_of(images[0], RED))]).state
    state = tracker.step(state, images[1]).state
    joined = tracker.begin(images[1], [Prompt(box=box_of(images[1], BLUE))], state=state)
    assert [found.id for found in joined.objects] == [0, 1]
    state, asked = joined.state, []
    for image in images[2:]:
        stepped = tracker.step(state, image)
        state = stepped.state
        asked.append([found.predicted_iou is not None for found in stepped.objects])
        for found, colour in zip(stepped.objects, (RED, BLUE), strict=True):
            assert mask_iou(found.mask, truth(image, colour)) > 0.8
    assert asked == [[True, True], [False, False], [True, True]]
    with pytest.raises(ImageError, match="the ones before had"):
        tracker.begin(images[0][:100], [Prompt(points=[[40, 40]])], state=state)


def test_every_threshold_is_documented() -> None:
    text = TrackerSettings.__doc__ or ""
    for field in dataclasses.fields(TrackerSettings):
        assert f"        {field.name}: " in text, field.name
