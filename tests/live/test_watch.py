"""What the watch sees, sighting by sighting."""

from __future__ import annotations

import numpy as np
import pytest

from samedge.live.watch import BackOff, Fault, Seen, Sighting, WatchSettings, look, observe

SETTINGS = WatchSettings()
SIZE = (480, 640)


def watch(
    sightings: list[Sighting], settings: WatchSettings = SETTINGS
) -> list[tuple[int, set[Fault]]]:
    """Index and faults of each sighting at which a fault began."""
    seen = Seen()
    told: list[tuple[int, set[Fault]]] = []
    for index, sighting in enumerate(sightings):
        seen, begun = observe(seen, sighting, settings=settings)
        if begun:
            told.append((index, set(begun)))
    return told


def stream(
    count: int, *, fingerprint: int | None = None, brightness: float = 100.0
) -> list[Sighting]:
    """A healthy source at ten frames a second, with some fields fixed."""
    return [
        Sighting(t / 10, t / 10, SIZE, t if fingerprint is None else fingerprint, brightness)
        for t in range(count)
    ]


def test_a_healthy_source_has_no_fault() -> None:
    assert watch(stream(200)) == []


def test_frozen_is_told_once_and_again_after_it_moved() -> None:
    told = watch(
        [
            *stream(50, fingerprint=7),
            *[Sighting(5 + t / 10, 5 + t / 10, SIZE, t) for t in range(10)],
            *[Sighting(6 + t / 10, 6 + t / 10, SIZE, 3) for t in range(50)],
        ]
    )
    assert told == [(30, {Fault.FROZEN}), (90, {Fault.FROZEN})]


def test_two_equal_frames_far_apart_are_not_frozen() -> None:
    assert watch([Sighting(0.0, 0.0, SIZE, 1), Sighting(4.0, 4.0, SIZE, 1)]) == []


def test_black() -> None:
    assert watch(stream(80, brightness=2.0)) == [(50, {Fault.BLACK})]
    assert watch(stream(80, brightness=20.0)) == []


def test_damaged_in_a_row() -> None:
    damaged = Sighting(0.0, None, None)
    assert watch([damaged] * 4 + stream(1) + [damaged] * 4) == []
    assert watch([damaged] * 12) == [(4, {Fault.DAMAGED})]


def test_another_size() -> None:
    other = [Sighting(2 + t / 10, 2 + t / 10, (240, 320), 100 + t) for t in range(5)]
    assert watch(stream(20) + other) == [(20, {Fault.WRONG_SIZE})]
    assert watch(stream(5), WatchSettings(size=(240, 320))) == [(0, {Fault.WRONG_SIZE})]


@pytest.mark.parametrize("jump_s", [-0.01, -60.0, 6.0, 1e6])
def test_a_jump_in_time(jump_s: float) -> None:
    late = [Sighting(2 + t / 10, 1.9 + jump_s + t / 10, SIZE, 100 + t) for t in range(5)]
    assert watch(stream(20) + late) == [(20, {Fault.CLOCK_JUMP})]


def test_a_slow_source_does_not_jump() -> None:
    assert watch([Sighting(t * 4.0, t * 4.0, SIZE, t) for t in range(9)]) == []
    assert watch([Sighting(t / 10, None, SIZE, t) for t in range(9)]) == []


def test_fingerprints_tell_pictures_apart(rng: np.random.Generator) -> None:
    image = rng.integers(0, 255, (480, 640, 3), np.uint8)
    other = image.copy()
    other[0, 0] += 1
    assert look(image) == look(image.copy())
    assert look(image)[0] != look(other)[0]
    assert look(np.zeros((3, 5, 3), np.uint8))[1] == 0.0


def test_pauses_grow_to_their_limit() -> None:
    back_off = BackOff(first_s=0.5, factor=2.0, most_s=5.0)
    assert [back_off.pause_s(n) for n in (1, 2, 3, 4, 5, 1000)] == [0.5, 1, 2, 4, 5, 5]
