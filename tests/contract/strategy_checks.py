"""What every way of following promises; each check fails for one that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from samedge.errors import ImageError, PromptError, UnknownNameError
from samedge.tracking.base import Status, Stepped, Strategy
from samedge.tracking.settings import TrackerSettings
from samedge.types import Prompt
from tests.tracking.toys import BLUE, RED, ColourSegmenter, box_of, scene, truth

Check = Callable[[Strategy[Any]], None]


def images() -> list[np.ndarray]:
    return [scene((40 + 3 * t, 50, RED), (120, 90, BLUE), seed=t) for t in range(4)]


def begun(
    strategy: Strategy[Any], *colours: tuple[int, int, int], state: Any = None, at: int = 0
) -> Stepped[Any]:
    image = images()[at]
    return strategy.begin(
        ColourSegmenter(),
        image,
        prompts=[Prompt(box=box_of(image, colour)) for colour in colours],
        state=state,
        settings=TrackerSettings(),
    )


def stepped(strategy: Strategy[Any], state: Any, image: np.ndarray) -> Stepped[Any]:
    return strategy.step(ColourSegmenter(), image, state=state, settings=TrackerSettings())


def follows_every_object(strategy: Strategy[Any]) -> None:
    now = begun(strategy, RED, BLUE)
    for image in images()[1:]:
        now = stepped(strategy, now.state, image)
        for found, colour in zip(now.objects, (RED, BLUE), strict=True):
            wanted = truth(image, colour)
            assert found.status is Status.FOLLOWED
            assert found.mask.dtype == np.bool_
            assert (found.mask & wanted).sum() / (found.mask | wanted).sum() > 0.7


def keeps_ids(strategy: Strategy[Any]) -> None:
    now = begun(strategy, RED)
    ids = [now.objects[0].id]
    both = begun(strategy, BLUE, state=now.state)
    assert [found.id for found in both.objects][:1] == ids
    assert len({found.id for found in both.objects}) == 2
    later = stepped(strategy, both.state, images()[1])
    assert [found.id for found in later.objects] == [found.id for found in both.objects]


def its_state_is_a_value(strategy: Strategy[Any]) -> None:
    first = begun(strategy, RED)
    once = stepped(strategy, first.state, images()[1])
    stepped(strategy, first.state, images()[3])
    again = stepped(strategy, first.state, images()[1])
    assert np.array_equal(once.objects[0].mask, again.objects[0].mask)


def forgets_one_object(strategy: Strategy[Any]) -> None:
    both = begun(strategy, RED, BLUE)
    first, second = (found.id for found in both.objects)
    left = stepped(strategy, strategy.without(both.state, first), images()[1])
    assert [found.id for found in left.objects] == [second]
    with pytest.raises(UnknownNameError):
        strategy.without(left.state, first)


def says_that_an_object_is_lost(strategy: Strategy[Any]) -> None:
    now = begun(strategy, RED)
    for seed in range(3):
        now = stepped(strategy, now.state, scene(seed=seed))
    (found,) = now.objects
    assert found.status is Status.LOST
    assert found.mask.shape == (120, 160)
    assert not found.mask.any()


def refuses_what_cannot_be_followed(strategy: Strategy[Any]) -> None:
    with pytest.raises(PromptError):
        strategy.begin(
            ColourSegmenter(),
            images()[0],
            prompts=[Prompt(box=[100, 5, 120, 20])],
            state=None,
            settings=TrackerSettings(),
        )
    with pytest.raises(ImageError):
        stepped(strategy, begun(strategy, RED).state, images()[1][:60])


CHECKS: tuple[Check, ...] = (
    follows_every_object,
    keeps_ids,
    its_state_is_a_value,
    forgets_one_object,
    says_that_an_object_is_lost,
    refuses_what_cannot_be_followed,
)
