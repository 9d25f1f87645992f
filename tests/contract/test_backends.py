"""What every backend promises, whoever wrote it."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import runtimes
from samedge.errors import (
    BackendUnavailableError,
    InferenceError,
    OptionError,
    TensorMismatchError,
    UnknownNameError,
)
from samedge.runtimes.base import Backend, Probe, TensorSpec

Opened = tuple[Backend, Path]


def feeds(batch: int = 2) -> dict[str, Any]:
    points = np.arange(batch * 3, dtype=np.float32).reshape(batch, 3)
    return {"points": points, "image": np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)}


def computes(backend: Backend) -> bool:
    """Whether a backend gives results, or only their shapes."""
    return backend.name != "null"


def test_name_is_the_files_name(any_backend: Backend) -> None:
    assert any_backend.name in runtimes.names()
    assert runtimes.get(any_backend.name) is any_backend
    assert type(any_backend).__module__ == f"samedge.runtimes._{any_backend.name}"
    assert any_backend.formats


def test_probe_never_raises_and_says_what_is_wrong(any_backend: Backend) -> None:
    probe = any_backend.probe()
    assert isinstance(probe, Probe)
    assert probe.detail
    if probe.available:
        assert probe.version
        assert probe.devices
    else:
        assert probe.fix


def test_absent_backend_ends_in_the_command_that_installs_it(any_backend: Backend) -> None:
    probe = any_backend.probe()
    if probe.available:
        pytest.skip(f"{any_backend.name} is here")
    with pytest.raises(BackendUnavailableError) as caught:
        any_backend.open(Path("absent"))
    assert str(caught.value).rstrip(".").endswith(probe.fix.rstrip("."))


def test_available_lists_what_probes_find() -> None:
    found = runtimes.available()
    assert found == tuple(n for n in runtimes.names() if runtimes.get(n).probe().available)
    assert "null" in runtimes.available("null")
    assert "null" not in runtimes.available("onnx")


def test_unknown_backend_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'onnxruntime'"):
        runtimes.get("onnxruntim")


def test_listing_imports_no_library() -> None:
    code = (
        "import sys, samedge.runtimes as r; r.names(); "
        "[r.get(n) for n in ('null', 'onnxruntime', 'openvino', 'torch')]; "
        "print(sorted({'torch', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"


def test_specs_are_the_graphs(opened: Opened) -> None:
    backend, path = opened
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


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_run_computes_the_graph(opened: Opened, batch: int) -> None:
    backend, path = opened
    given = feeds(batch)
    with backend.open(path) as session:
        results = session.run(given)
    assert {name: array.dtype for name, array in results.items()} == {
        "doubled": np.float32,
        "halved": np.float32,
    }
    assert results["doubled"].shape == (batch, 3)
    assert results["halved"].shape == (1, 2, 2, 3)
    if computes(backend):
        np.testing.assert_allclose(results["doubled"], 2 * given["points"] + 1)
        np.testing.assert_allclose(results["halved"], given["image"] / 2)


def test_results_outlive_the_next_run_and_the_session(opened: Opened) -> None:
    backend, path = opened
    with backend.open(path) as session:
        first = session.run(feeds())["doubled"]
        kept = first.copy()
        session.run({**feeds(), "points": feeds()["points"] + 100})
        assert np.array_equal(first, kept)
    gc.collect()
    assert np.array_equal(first, kept)


def test_feeds_are_left_alone_and_may_be_views(opened: Opened) -> None:
    backend, path = opened
    wide = np.arange(12, dtype=np.float32).reshape(2, 6)
    image = feeds()["image"][:, ::-1]
    view = wide[:, ::2]
    view.setflags(write=False)
    with backend.open(path) as session:
        results = session.run({"points": view, "image": image})
    assert np.array_equal(wide, np.arange(12, dtype=np.float32).reshape(2, 6))
    if computes(backend):
        np.testing.assert_allclose(results["doubled"], 2 * view + 1)
        np.testing.assert_allclose(results["halved"], image / 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"points": None}, "missing input 'points'"),
        ({"extra": np.zeros(1)}, "unknown input 'extra'"),
        ({"points": np.zeros((2, 3))}, "'points' has dtype float64, expected float32"),
        ({"points": np.zeros((2, 4), np.float32)}, r"'points' has shape \(2, 4\)"),
        ({"points": np.zeros(3, np.float32)}, r"'points' has shape \(3,\)"),
        ({"image": np.zeros((1, 2, 2, 3), np.float32)}, "'image' has dtype float32"),
    ],
)
def test_wrong_feeds_are_named(opened: Opened, change: dict[str, Any], reason: str) -> None:
    backend, path = opened
    given = {name: array for name, array in {**feeds(), **change}.items() if array is not None}
    with backend.open(path) as session, pytest.raises(TensorMismatchError, match=reason):
        session.run(given)


def test_device_is_one_of_the_probed_ones(opened: Opened) -> None:
    backend, path = opened
    with backend.open(path) as session:
        assert session.device in backend.probe().devices
    with backend.open(path, device=backend.probe().devices[-1]) as session:
        assert session.device == backend.probe().devices[-1]


def test_absent_device_is_an_error_and_no_other_device_steps_in(opened: Opened) -> None:
    backend, path = opened
    with pytest.raises(BackendUnavailableError, match="abacus"):
        backend.open(path, device="abacus:7")


def test_threads_are_understood(opened: Opened) -> None:
    backend, path = opened
    with backend.open(path, options={"threads": 1}) as session:
        assert session.run(feeds())["doubled"].shape == (2, 3)


def test_unknown_option_is_an_error(opened: Opened) -> None:
    backend, path = opened
    with pytest.raises(UnknownNameError, match=r"'thread'.*'threads'"):
        backend.open(path, options={"thread": 1})


def test_option_of_another_type_is_an_error(opened: Opened) -> None:
    backend, path = opened
    with pytest.raises(OptionError, match=r"'threads'.*'many', expected int"):
        backend.open(path, options={"threads": "many"})


def test_missing_file(opened: Opened) -> None:
    backend, path = opened
    with pytest.raises(InferenceError, match="absent"):
        backend.open(path.with_stem("absent"))


def test_file_that_is_no_graph(opened: Opened) -> None:
    backend, path = opened
    broken = path.with_stem("broken")
    broken.write_bytes(b"this is no graph")
    with pytest.raises(InferenceError, match="broken") as caught:
        backend.open(broken)
    assert caught.value.__cause__ is not None


def test_close_twice_is_harmless_and_running_afterwards_is_not(opened: Opened) -> None:
    backend, path = opened
    session = backend.open(path)
    session.close()
    session.close()
    if computes(backend):
        with pytest.raises(InferenceError, match="closed"):
            session.run(feeds())


def test_stdout_stays_clean(opened: Opened, capfd: pytest.CaptureFixture[str]) -> None:
    backend, path = opened
    with backend.open(path) as session:
        session.run(feeds())
    broken = path.with_stem("broken")
    broken.write_bytes(b"this is no graph")
    with pytest.raises(InferenceError):
        backend.open(broken)
    assert capfd.readouterr().out == ""


def test_two_sessions_do_not_disturb_each_other(opened: Opened) -> None:
    backend, path = opened
    with backend.open(path) as one, backend.open(path) as two:
        first, second = one.run(feeds(1)), two.run(feeds(3))
    assert first["doubled"].shape == (1, 3)
    assert second["doubled"].shape == (3, 3)
