"""What every backend promises, as functions that raise where one does not keep it.

``test_backends.py`` runs them over every backend that discovery finds, and over a broken one each.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import _discovery, runtimes
from samedge.errors import (
    BackendUnavailableError,
    InferenceError,
    OptionError,
    TensorMismatchError,
    UnknownNameError,
)
from samedge.inspection.doctor import SELFTEST
from samedge.runtimes.base import Array, Backend, FoundDevice, Probe, TensorSpec
from samedge.runtimes.options import found_device

Feeds = dict[str, Array]

WRONG_FEEDS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"points": None}, "missing input 'points'"),
    ({"extra": np.zeros(1)}, "unknown input 'extra'"),
    ({"points": np.zeros((2, 3))}, "'points' has dtype float64, expected float32"),
    ({"points": [[0.0, 1.0, 2.0]]}, "'points' has type list, expected a NumPy array"),
    ({"points": np.zeros((2, 4), np.float32)}, r"'points' has shape \(2, 4\)"),
    ({"points": np.zeros(3, np.float32)}, r"'points' has shape \(3,\)"),
    ({"image": np.zeros((1, 2, 2, 3), np.float32)}, "'image' has dtype float32"),
)


def feeds(batch: int = 2) -> Feeds:
    points = np.arange(batch * 3, dtype=np.float32).reshape(batch, 3)
    return {"points": points, "image": np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)}


def expected(given: Feeds) -> Feeds:
    return {"doubled": 2 * given["points"] + 1, "halved": given["image"] / np.float32(2)}


def assert_computed(backend: Backend, given: Feeds, results: Feeds) -> None:
    """Right names, dtypes and shapes, and right values where the backend computes."""
    wanted = expected(given)
    assert results.keys() == wanted.keys()
    for name, value in wanted.items():
        assert results[name].dtype == np.float32
        assert results[name].shape == value.shape
        if backend.computes:
            np.testing.assert_allclose(results[name], value)


# ---- whether its library is here or not


def declares_itself(backend: Backend) -> None:
    assert backend.name.isidentifier()
    assert isinstance(backend.formats, tuple)
    assert backend.formats
    extras = importlib.metadata.metadata("samedge").get_all("Provides-Extra") or []
    assert set(backend.extras) <= set(extras)
    assert set(backend.packages) <= set(_discovery.declared("packages")), "write a literal tuple"
    assert bool(backend.extras) == bool(backend.packages)


def names_files_and_stand_ins_that_exist(backend: Backend) -> None:
    assert not backend.selftest or (SELFTEST / backend.selftest).exists()
    if backend.stand_in:
        assert backend.stand_in != backend.name
        assert set(runtimes.get(backend.stand_in).formats) & set(backend.formats)


def probe_says_what_is_here(backend: Backend) -> None:
    probe = backend.probe()
    assert isinstance(probe, Probe)
    assert type(probe.detail) is str
    assert probe.detail
    if probe.available:
        assert type(probe.version) is str  # a subclass, as torch's, cannot be written as JSON
        assert probe.version
        assert probe.devices
        assert all(type(device) is str for device in probe.devices)
    else:
        assert probe.fix


def absence_ends_in_the_command_that_installs(backend: Backend) -> None:
    probe = backend.probe()
    if probe.available:
        pytest.skip(f"{backend.name} is here")
    with pytest.raises(BackendUnavailableError) as caught:
        backend.open(Path("absent"))
    assert str(caught.value).rstrip(".").endswith(probe.fix.rstrip("."))


# ---- with its library


def specs_are_the_graphs(backend: Backend, path: Path) -> None:
    with backend.open(path) as session:
        inputs = {spec.name: spec for spec in session.inputs}
        outputs = {spec.name: spec for spec in session.outputs}
    assert inputs.keys() == {"points", "image"}
    assert inputs["image"] == TensorSpec("image", "uint8", (1, 2, 2, 3))
    assert inputs["points"].dtype == "float32"
    assert isinstance(inputs["points"].shape[0], str)
    assert inputs["points"].shape[1] == 3
    assert outputs.keys() == {"doubled", "halved"}
    assert {spec.dtype for spec in outputs.values()} == {"float32"}


def run_computes_the_graph(backend: Backend, path: Path) -> None:
    for batch in (1, 2, 5):
        given = feeds(batch)
        with backend.open(path) as session:
            assert_computed(backend, given, session.run(given))


def results_outlive_the_next_run_and_the_session(backend: Backend, path: Path) -> None:
    with backend.open(path) as session:
        first = session.run(feeds())["doubled"]
        kept = first.copy()
        session.run({**feeds(), "points": feeds()["points"] + 100})
        assert np.array_equal(first, kept)
    gc.collect()
    assert np.array_equal(first, kept)


def feeds_are_left_alone_and_may_be_views(backend: Backend, path: Path) -> None:
    wide = np.arange(12, dtype=np.float32).reshape(2, 6)
    before = wide.copy()
    given = {"points": wide[:, ::2], "image": feeds()["image"][:, ::-1]}
    with backend.open(path) as session:
        assert_computed(backend, {k: v.copy() for k, v in given.items()}, session.run(given))
        assert np.array_equal(wide, before)
        given["points"].setflags(write=False)
        assert_computed(backend, given, session.run(given))
    assert np.array_equal(wide, before)


def wrong_feeds_are_named(backend: Backend, path: Path) -> None:
    with backend.open(path) as session:
        for change, reason in WRONG_FEEDS:
            given = {name: a for name, a in {**feeds(), **change}.items() if a is not None}
            with pytest.raises(TensorMismatchError, match=reason):
                session.run(given)


def device_is_one_of_the_probed(backend: Backend, path: Path) -> None:
    devices = backend.probe().devices
    for wish in (None, devices[-1], FoundDevice(devices[0])):
        with backend.open(path, device=wish) as session:
            assert session.device in devices
            assert session.device == (wish or session.device)
            assert type(session.device) is str  # it goes into JSON documents


def no_other_device_steps_in(backend: Backend, path: Path) -> None:
    with pytest.raises(BackendUnavailableError, match="abacus"):
        backend.open(path, device="abacus:7")


def threads_are_understood(backend: Backend, path: Path) -> None:
    with backend.open(path, options={"threads": 1}) as session:
        assert session.run(feeds())["doubled"].shape == (2, 3)


def shapes_and_kept_tensors_change_no_result(backend: Backend, path: Path) -> None:
    """What is prepared for comes first; other shapes run too, unless the backend says otherwise."""
    shapes = [{"points": (2, 3), "image": (1, 2, 2, 3)}, {"points": (4, 3), "image": (1, 2, 2, 3)}]
    backend.prepare(path, shapes=shapes)
    with backend.open(path, shapes=shapes, keep=["doubled"]) as session:
        for batch in (2, 4, 3) if backend.takes_other_shapes else (2, 4):
            given = feeds(batch)
            found = session.run(given)
            assert found["doubled"].shape == (batch, 3)
            assert_computed(backend, given, found)


def a_device_that_was_found_is_not_looked_for_again(backend: Backend, path: Path) -> None:
    probe = backend.probe()
    device = found_device(backend, probe, device=None)
    kind = type(backend)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "probe", lambda self: pytest.fail("probed again"))
        with backend.open(path, device=device) as session:
            assert type(session.device) is str
            assert session.device == probe.devices[0]


def its_own_options_are_understood(backend: Backend, path: Path) -> None:
    for options in (backend.scratch_options, backend.exact_options):
        with backend.open(path, options=options) as session:
            assert_computed(backend, feeds(), session.run(feeds()))


def options_of_its_arithmetic_are_its_own(backend: Backend, path: Path) -> None:
    for name in backend.arithmetic:
        with pytest.raises(OptionError, match=name):  # and no UnknownNameError
            backend.open(path, options={name: object()})


def wrong_options_are_errors(backend: Backend, path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'thread'.*'threads'"):
        backend.open(path, options={"thread": 1})
    with pytest.raises(OptionError, match=r"'threads'.*'many', expected int"):
        backend.open(path, options={"threads": "many"})


def missing_file_is_an_error(backend: Backend, path: Path) -> None:
    with pytest.raises(InferenceError, match="absent"):
        backend.open(path.with_stem("absent"))


def file_that_is_no_graph_is_an_error(backend: Backend, path: Path) -> None:
    broken = path.with_stem("broken")
    broken.write_bytes(b"this is no graph")
    with pytest.raises(InferenceError, match="broken") as caught:
        backend.open(broken)
    assert caught.value.__cause__ is not None


def closing_twice_is_harmless_and_running_afterwards_is_not(backend: Backend, path: Path) -> None:
    session = backend.open(path)
    session.close()
    session.close()
    if backend.computes:
        with pytest.raises(InferenceError, match="closed"):
            session.run(feeds())


def stdout_stays_clean(backend: Backend, path: Path) -> None:
    broken = path.with_stem("broken")
    broken.write_bytes(b"this is no graph")
    with standard_output() as written:
        with backend.open(path) as session:
            session.run(feeds())
        with contextlib.suppress(InferenceError):
            backend.open(broken)
        sys.stdout.flush()
        assert written.read_bytes() == b""


def two_sessions_do_not_disturb_each_other(backend: Backend, path: Path) -> None:
    with backend.open(path) as one, backend.open(path) as two:
        given, other = feeds(1), feeds(3)
        first = one.run(given)
        assert_computed(backend, other, two.run(other))
        assert_computed(backend, given, first)


def callers_at_a_time_get_their_own(backend: Backend, path: Path) -> None:
    device = str(found_device(backend, backend.probe(), device=None))
    options = backend.shared_options(3, device=device, options={})
    threads_given = backend.shared_options(3, device=device, options={"threads": 2})
    with backend.open(path, options={"threads": 2, **threads_given}) as session:
        assert_computed(backend, feeds(1), session.run(feeds(1)))

    def one(caller: int) -> None:
        for turn in range(20):
            given = {**feeds(), "points": feeds()["points"] + 100 * caller + turn}
            assert_computed(backend, given, session.run(given))

    with backend.open(path, options=options) as session, ThreadPoolExecutor(4) as threads:
        list(threads.map(one, range(4)))


@contextlib.contextmanager
def standard_output() -> Iterator[Path]:
    """Everything that is written to file descriptor 1, by Python or a native library, as a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stdout")
        sys.stdout.flush()
        kept = os.dup(1)
        try:
            with path.open("wb") as stream:
                os.dup2(stream.fileno(), 1)
            yield path
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)


ALWAYS: tuple[Callable[[Backend], None], ...] = (
    declares_itself,
    names_files_and_stand_ins_that_exist,
    probe_says_what_is_here,
    absence_ends_in_the_command_that_installs,
)
OPENED: tuple[Callable[[Backend, Path], None], ...] = (
    specs_are_the_graphs,
    run_computes_the_graph,
    results_outlive_the_next_run_and_the_session,
    feeds_are_left_alone_and_may_be_views,
    wrong_feeds_are_named,
    device_is_one_of_the_probed,
    no_other_device_steps_in,
    threads_are_understood,
    shapes_and_kept_tensors_change_no_result,
    a_device_that_was_found_is_not_looked_for_again,
    its_own_options_are_understood,
    options_of_its_arithmetic_are_its_own,
    wrong_options_are_errors,
    missing_file_is_an_error,
    file_that_is_no_graph_is_an_error,
    closing_twice_is_harmless_and_running_afterwards_is_not,
    stdout_stays_clean,
    two_sessions_do_not_disturb_each_other,
    callers_at_a_time_get_their_own,
)
