"""Every way of following that discovery finds keeps its promises, and a broken one is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from samedge import _discovery, tracking
from samedge.errors import SamedgeError
from samedge.tracking.base import Segmenter, Status, Stepped, Strategy
from samedge.tracking.settings import TrackerSettings
from samedge.types import Prompt
from tests.contract import strategy_checks as checks


def strategy(name: str) -> Strategy[Any]:
    found: Strategy[Any] = _discovery.load(tracking.__name__, name, attribute="STRATEGY")
    return found


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", _discovery.names(tracking.__name__))
def test_strategy(name: str, check: checks.Check) -> None:
    check(strategy(name))


# ---- the checks must be able to fail


class Changed(Strategy[Any]):
    """The first strategy that there is, changed by a subclass."""

    def __init__(self) -> None:
        self.sound = strategy(_discovery.names(tracking.__name__)[0])

    def begin(
        self,
        segmenter: Segmenter,
        image: np.ndarray,
        *,
        prompts: Sequence[Prompt],
        state: Any,
        settings: TrackerSettings,
    ) -> Stepped[Any]:
        return self.sound.begin(segmenter, image, prompts=prompts, state=state, settings=settings)

    def step(
        self, segmenter: Segmenter, image: np.ndarray, *, state: Any, settings: TrackerSettings
    ) -> Stepped[Any]:
        return self.sound.step(segmenter, image, state=state, settings=settings)

    def without(self, state: Any, object_id: int) -> Any:
        return self.sound.without(state, object_id)


class Drifts(Changed):
    """Its masks lie beside their objects."""

    def step(
        self, segmenter: Segmenter, image: np.ndarray, *, state: Any, settings: TrackerSettings
    ) -> Stepped[Any]:
        done = super().step(segmenter, image, state=state, settings=settings)
        moved = [np.roll(found.mask, 40, axis=1) for found in done.objects]
        return Stepped(
            done.state,
            tuple(
                dataclasses.replace(found, mask=mask)
                for found, mask in zip(done.objects, moved, strict=True)
            ),
        )


class Renumbers(Changed):
    def step(
        self, segmenter: Segmenter, image: np.ndarray, *, state: Any, settings: TrackerSettings
    ) -> Stepped[Any]:
        done = super().step(segmenter, image, state=state, settings=settings)
        return Stepped(
            done.state, tuple(dataclasses.replace(found, id=found.id + 1) for found in done.objects)
        )


class Remembers(Changed):
    """Keeps in itself how far an object has gone."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def step(
        self, segmenter: Segmenter, image: np.ndarray, *, state: Any, settings: TrackerSettings
    ) -> Stepped[Any]:
        done = super().step(segmenter, image, state=state, settings=settings)
        self.steps += 1
        moved = [
            dataclasses.replace(found, mask=np.roll(found.mask, self.steps, axis=1))
            for found in done.objects
        ]
        return Stepped(done.state, tuple(moved))


class ForgetsNothing(Changed):
    def without(self, state: Any, object_id: int) -> Any:
        return state


class NeverLoses(Changed):
    def step(
        self, segmenter: Segmenter, image: np.ndarray, *, state: Any, settings: TrackerSettings
    ) -> Stepped[Any]:
        done = super().step(segmenter, image, state=state, settings=settings)
        return Stepped(
            done.state,
            tuple(dataclasses.replace(found, status=Status.FOLLOWED) for found in done.objects),
        )


class TakesEverything(Changed):
    def begin(
        self,
        segmenter: Segmenter,
        image: np.ndarray,
        *,
        prompts: Sequence[Prompt],
        state: Any,
        settings: TrackerSettings,
    ) -> Stepped[Any]:
        try:
            return super().begin(segmenter, image, prompts=prompts, state=state, settings=settings)
        except SamedgeError:
            return Stepped(state, ())


BREAKS: dict[str, type[Changed]] = {
    "follows_every_object": Drifts,
    "keeps_ids": Renumbers,
    "its_state_is_a_value": Remembers,
    "forgets_one_object": ForgetsNothing,
    "says_that_an_object_is_lost": NeverLoses,
    "refuses_what_cannot_be_followed": TakesEverything,
}


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_a_broken_strategy_is_found(check: checks.Check) -> None:
    check(Changed())
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(BREAKS[check.__name__]())
