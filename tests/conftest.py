"""Fixtures that many tests share. Real photographs are optional; everything else is made here."""

from __future__ import annotations

import functools
import gc
import importlib.util
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.toys.remembered import Remembered, identity

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """Have Ctrl-C end processes that tests start, also where a shell's ``&`` had it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()  # until all is collected


def pytest_collection_finish() -> None:
    """Leave alone what the tests' modules and libraries are made of.

    It stays to the end, and whoever looks for garbage would go through all of it again and again.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real photographs and annotations; skips where there is none."""
    folder = Path(os.environ.get("SAMEDGE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set SAMEDGE_DATA")
    return folder


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the user's cache, and the user's cache out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMEDGE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(autouse=True, scope="session")
def _private_temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What libraries and killed children leave among temporary files goes at the end.

    coremltools removes its packages when Python ends, which pytest's workers do without asking.
    """
    folder = tmp_path_factory.getbasetemp() / "tmp"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield
    shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _own_loggers(count: int) -> tuple[str, ...]:
    """Names that begin with ours, of so many that there are: libraries have thousands."""
    del count
    return tuple(name for name in logging.root.manager.loggerDict if name.startswith("samedge"))


@pytest.fixture(autouse=True)
def _audible_loggers(caplog: pytest.LogCaptureFixture) -> None:
    """Undo what a library or an earlier test did to logging, so that tests can read our records.

    Setting a level goes through all loggers there are, and so is done where it is another one.
    """
    caplog.handler.setLevel(logging.WARNING)
    manager = logging.root.manager
    if logging.root.level != logging.WARNING or manager.disable > logging.NOTSET:
        caplog.set_level(logging.WARNING)  # of the root; libraries silence it, or all logging
    for name in _own_loggers(len(manager.loggerDict)):
        logger = manager.loggerDict[name]
        if isinstance(logger, logging.Logger):
            logger.disabled, logger.propagate = False, True
            if logger.level != logging.NOTSET:
                logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def remembered(tmp_path_factory: pytest.TempPathFactory) -> Remembered:
    """What this run has made already, in whichever of its processes."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # a worker's own lies in that of the run
    return Remembered(folder / "remembered")


@pytest.fixture(autouse=True, scope="session")
def _simplified_once(remembered: Remembered) -> Iterator[None]:
    """Let onnxslim answer once for the same graph: it takes half of an export, and dozens of tests
    export the same tiny model."""
    if importlib.util.find_spec("onnxslim") is None:
        yield
        return
    import onnx

    from samedge.machine.libraries import library

    onnxslim = library("onnxslim")
    slim = onnxslim.slim

    def simplified(model: Any, **options: Any) -> Any:
        key = model.SerializeToString() + repr(sorted(options.items())).encode()
        made = remembered(key, lambda: slim(model, **options).SerializeToString())
        return onnx.load_from_string(made)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxslim, "slim", simplified)
        yield


@pytest.fixture(autouse=True)
def _traced_once(remembered: Remembered) -> None:
    """Let torch trace the same graph once: same weights, same attributes, same opset.

    From the first test on that finds the exporter loaded: nothing here loads torch for tests that
    need none. Graphs of classes that a test makes for itself are traced each time.
    """
    onnx_graph: Any = sys.modules.get("samedge.export.onnx_graph")
    if onnx_graph is None or hasattr(onnx_graph._traced, "is_remembered"):
        return
    import onnx

    traced = onnx_graph._traced

    def once(graph: Any, opset: int) -> Any:
        key = identity((graph, opset))
        if key is None:
            return traced(graph, opset)
        made = remembered(key, lambda: traced(graph, opset).SerializeToString())
        return onnx.load_from_string(made)

    once.is_remembered = True  # type: ignore[attr-defined]
    onnx_graph._traced = once


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a bundle whose masks tests can predict; see ``tests/toys/bundle.py``. Read only."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from samedge import runtimes
    from tests.toys.bundle import write_bundle

    folder = tmp_path_factory.mktemp("bundles") / "toy"
    write_bundle(folder, reference=runtimes.get("onnxruntime"))
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)
