"""Graphs in a process of their own: the same answers; crashes and hangs end nothing else."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import samedge
from samedge.errors import BundleError, InferenceError, OptionError, TensorMismatchError
from samedge.predict.predictor import Predictor
from samedge.runtimes.isolated.backend import IsolatedBackend
from samedge.types import Prompt

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CLICK = Prompt(points=[[64, 48]])


@pytest.fixture
def isolated(toy_bundle: Path) -> Iterator[Predictor]:
    with Predictor.isolated(toy_bundle, threads=1, timeout_s=20.0) as predictor:
        yield predictor


def room(predictor: Predictor) -> IsolatedBackend:
    backend = predictor.graphs.backend
    assert isinstance(backend, IsolatedBackend)
    return backend


def stop(predictor: Predictor, how: int) -> None:
    pid = room(predictor).pid
    assert pid is not None
    os.kill(pid, how)


def test_the_same_answers_to_the_bit(
    isolated: Predictor, toy_bundle: Path, image: np.ndarray
) -> None:
    with Predictor.from_bundle(toy_bundle, threads=1) as plain:
        expected, found = plain.predict(image, CLICK), isolated.predict(image, CLICK)
    assert np.array_equal(found.low_res_logits, expected.low_res_logits)
    assert np.array_equal(found.masks, expected.masks)
    assert np.array_equal(found.iou_predictions, expected.iou_predictions)
    assert found.backend == expected.backend


def test_images_are_made_smaller_as_the_caller_says(toy_bundle: Path, image: np.ndarray) -> None:
    large = np.tile(image, (4, 4, 1))
    with (
        Predictor.isolated(toy_bundle, threads=1, preprocess="fast") as isolated,
        Predictor.from_bundle(toy_bundle, threads=1, preprocess="fast") as plain,
    ):
        assert np.array_equal(isolated.encode(large).data, plain.encode(large).data)
        assert isolated.frame.rule == "fast"


def test_this_process_never_asks_for_the_library(
    toy_bundle: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that crashes when it is loaded would take the caller along."""

    def loaded(name: str) -> None:
        pytest.fail(f"{name} was asked for outside of its process")

    for module in ("_onnxruntime", "onnxruntime.optimised"):
        monkeypatch.setattr(f"samedge.runtimes.{module}.library", loaded)
    with Predictor.isolated(toy_bundle, threads=1) as predictor:
        predictor.predict(image, CLICK)


def test_a_process_that_crashed_is_started_again_and_the_call_answered(
    isolated: Predictor, image: np.ndarray
) -> None:
    expected = isolated.predict(image, CLICK)
    first = room(isolated).pid
    stop(isolated, signal.SIGSEGV)
    found = isolated.predict(image, CLICK)
    assert np.array_equal(found.low_res_logits, expected.low_res_logits)
    assert room(isolated).pid != first
    assert room(isolated).restarts == 1


def test_what_crashes_every_time_is_an_error(
    isolated: Predictor, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = isolated.encode(image)
    monkeypatch.setattr("samedge.runtimes.isolated.process.python_command", crashing)
    isolated.load()
    stop(isolated, signal.SIGABRT)
    with pytest.raises(InferenceError, match=r"'opening' with exit code 3.*last words"):
        isolated.decode(embedding, CLICK)
    monkeypatch.undo()
    isolated.decode(embedding, CLICK)  # and the next call is answered


def crashing(module: str, arguments: list[str]) -> list[str]:
    code = "import sys; print('these are my last words', file=sys.stderr); sys.exit(3)"
    return [sys.executable, "-c", code]


def test_a_process_that_hangs_is_ended_at_the_limit(toy_bundle: Path, image: np.ndarray) -> None:
    with Predictor.isolated(toy_bundle, threads=1, timeout_s=0.5) as predictor:
        embedding = predictor.encode(image)
        predictor.load()
        stop(predictor, signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(InferenceError, match=r"within 0\.5 s and was ended.*timeout_s"):
            predictor.decode(embedding, CLICK)
        assert time.monotonic() - start < 10
        assert predictor.decode(embedding, CLICK).masks.any()


def test_a_call_can_be_given_less_time(isolated: Predictor, image: np.ndarray) -> None:
    embedding = isolated.encode(image)
    isolated.load()
    stop(isolated, signal.SIGSTOP)
    with pytest.raises(InferenceError, match=r"within 0\.\d+ s"), samedge.time_limit(0.3):
        isolated.decode(embedding, CLICK)


class Alarm(KeyboardInterrupt):
    """What a signal handler raises, as a service's own time limit does."""


def test_an_interrupted_call_leaves_its_answer_to_nobody(
    isolated: Predictor, rng: np.random.Generator
) -> None:
    images = [rng.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(2)]
    expected = isolated.encode(images[1]).tensors
    stop(isolated, signal.SIGSTOP)

    def ring(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Alarm):
            isolated.encode(images[0])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    found = isolated.encode(images[1]).tensors
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert room(isolated).restarts == 1


def test_opening_again_counts_in_the_time_limit(
    isolated: Predictor, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = isolated.encode(image)
    isolated.load()
    stop(isolated, signal.SIGKILL)
    with monkeypatch.context() as patch:
        patch.setattr("samedge.runtimes.isolated.process.python_command", hanging)
        with pytest.raises(InferenceError, match=r"within 0\.\d+ s"), samedge.time_limit(0.5):
            isolated.decode(embedding, CLICK)
    assert isolated.decode(embedding, CLICK).masks.any()


def hanging(module: str, arguments: list[str]) -> list[str]:
    return [sys.executable, "-c", "import time; time.sleep(3600)"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_living_fork_does_not_keep_the_process(isolated: Predictor, image: np.ndarray) -> None:
    isolated.encode(image)
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    try:
        ended = room(isolated)._process
        assert ended is not None
        time.sleep(0.2)  # the fork lets go in its own time
        isolated.close()
        assert ended._child.returncode == 0  # it ended by itself, and was not killed
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_without_a_process_of_its_own_nothing_begins_after_the_limit(
    toy_bundle: Path, image: np.ndarray
) -> None:
    with Predictor.from_bundle(toy_bundle, threads=1) as predictor:
        embedding = predictor.encode(image)
        with samedge.time_limit(60):
            predictor.decode(embedding, CLICK)
        with (
            samedge.time_limit(1e-9),
            samedge.time_limit(60),  # the shorter counts
            pytest.raises(InferenceError, match="time limit of the call is up before the decoder"),
        ):
            predictor.decode(embedding, CLICK)
        predictor.decode(embedding, CLICK)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_limit_is_positive(seconds: float) -> None:
    with pytest.raises(OptionError, match="above 0"), samedge.time_limit(seconds):
        pass


def test_its_errors_are_of_the_same_class(isolated: Predictor, image: np.ndarray) -> None:
    session = isolated.graphs.session("encoder")
    with pytest.raises(TensorMismatchError):
        session.run({})
    isolated.close()
    with pytest.raises(InferenceError, match="closed"):
        isolated.encode(image)


def test_closing_ends_the_process(toy_bundle: Path, image: np.ndarray) -> None:
    with Predictor.isolated(toy_bundle, threads=1) as predictor:
        predictor.encode(image)
        pid = room(predictor).pid
        assert pid is not None
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_bundle_that_cannot_be_opened_leaves_no_process(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        Predictor.isolated(tmp_path)
