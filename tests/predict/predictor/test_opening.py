"""Which backend and device a predictor opens on, when its graphs open, and what is closed."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import runtimes
from samedge.bundle.bundle import embedded_models, embedded_path, is_embedded
from samedge.errors import (
    BackendUnavailableError,
    BundleError,
    IncompatibleArtifactError,
    InferenceError,
    OptionError,
    UnknownNameError,
)
from samedge.predict.graph_opening import GraphOpening
from samedge.predict.graphs import Graphs
from samedge.predict.opening import best_backend
from samedge.predict.predictor import Predictor
from samedge.predict.words.predictor import load_default
from samedge.runtimes.base import Probe, Session
from samedge.types import Prompt

pytest.importorskip("onnx")


def test_closed_predictor_says_so(toy_bundle: Path, image: np.ndarray) -> None:
    with Predictor.from_bundle(toy_bundle) as predictor:
        embedding = predictor.encode(image)
    predictor.close()
    with pytest.raises(InferenceError, match="closed"):
        predictor.encode(image)
    with pytest.raises(InferenceError, match="closed"):
        predictor.decode(embedding, Prompt(points=[[1, 1]]))


def test_graphs_of_a_bundle_that_is_refused_are_closed(
    toy_bundle: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one device's predictor and on the one beside it alike."""
    checked: list[Graphs] = []

    def refused(graphs: Graphs) -> None:
        graphs.load()
        checked.append(graphs)
        raise BundleError("it computes something else")

    with Predictor.from_bundle(toy_bundle, backend=backend) as opened:
        monkeypatch.setattr("samedge.predict.trust.check_canary_once", refused)
        monkeypatch.setattr(Graphs, "options_for", lambda graphs, callers: {"threads": 1})
        with pytest.raises(BundleError, match="something else"):
            opened.beside(2)
    with pytest.raises(BundleError, match="something else"):
        Predictor.from_bundle(toy_bundle, backend=backend)
    with pytest.raises(BundleError, match="something else"):
        Predictor.isolated(toy_bundle, backend=backend)
    assert len(checked) == 3
    assert not any(graphs.opened for graphs in checked)


def test_graphs_are_opened_when_they_are_needed(toy_bundle: Path, image: np.ndarray) -> None:
    Predictor.from_bundle(toy_bundle).close()  # the canary has run
    with Predictor.from_bundle(toy_bundle) as predictor:
        assert not predictor.graphs.opened
        before = predictor.timing_ms["load"]
        embedding = predictor.encode(image)
        assert list(predictor.graphs.opened) == ["encoder"]
        assert predictor.timing_ms["load"] > before
    with Predictor.from_bundle(toy_bundle) as predictor:
        predictor.decode(embedding, Prompt(points=[[1, 1]]))
        assert list(predictor.graphs.opened) == ["decoder"]
        predictor.load()
        assert set(predictor.graphs.opened) == {"decoder", "encoder"}


def test_backend_that_cannot_open_the_format(toy_bundle: Path) -> None:
    with pytest.raises(IncompatibleArtifactError, match=r"'null' opens null.*is onnx"):
        Predictor.from_bundle(toy_bundle, backend="null")


def test_unknown_backend(toy_bundle: Path) -> None:
    with pytest.raises(UnknownNameError, match="'openvino'"):
        Predictor.from_bundle(toy_bundle, backend="openvio")


def test_absent_device(toy_bundle: Path, image: np.ndarray) -> None:
    with (
        Predictor.from_bundle(toy_bundle, device="cuda:7", verify=False) as predictor,
        pytest.raises(BackendUnavailableError, match="cuda:7"),
    ):
        predictor.encode(image)


def test_absent_backend_ends_in_the_install_command(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Probe(available=False, detail="It is not installed.", fix="pip install it")
    monkeypatch.setattr(type(runtimes.get("onnxruntime")), "probe", lambda self: absent)
    with pytest.raises(BackendUnavailableError, match=r"Fix: pip install it$"):
        Predictor.from_bundle(toy_bundle)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_threads_are_positive(toy_bundle: Path, threads: Any) -> None:
    with pytest.raises(OptionError, match="1 or more"):
        Predictor.from_bundle(toy_bundle, threads=threads)


def test_best_backend_is_the_bundles_own(toy_bundle: Path, predictor: Predictor) -> None:
    assert best_backend(predictor.bundle)[0].name == "onnxruntime"


def test_best_backend_is_one_that_is_here(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "openvino" not in runtimes.available("onnx"):
        pytest.skip("needs a second backend")
    absent = Probe(available=False, detail="It is not installed.", fix="pip install it")
    monkeypatch.setattr(type(runtimes.get("onnxruntime")), "probe", lambda self: absent)
    assert best_backend(predictor.bundle)[0].name == "openvino"
    monkeypatch.setattr(type(runtimes.get("openvino")), "probe", lambda self: absent)
    with pytest.raises(BackendUnavailableError, match=r"Fix: pip install it$"):
        best_backend(predictor.bundle)


def test_embedded_bundles_by_name(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: np.ndarray
) -> None:
    for size in ("nano", "pico"):
        shutil.copytree(toy_bundle, tmp_path / "data" / f"{size}-cpu")
    monkeypatch.setattr("samedge.bundle.bundle.__file__", str(tmp_path / "bundle" / "bundle.py"))
    assert embedded_models() == ("samedge-nano", "samedge-pico")
    with load_default(threads=1) as predictor:
        assert predictor.predict(image, Prompt(points=[[64, 48]])).masks.any()
        assert predictor.bundle.path.name == "nano-cpu"
    with load_default(model="samedge-pico", threads=1) as predictor:
        assert predictor.bundle.path.name == "pico-cpu"
    assert is_embedded(embedded_path("samedge-pico"))
    assert not is_embedded(toy_bundle)
    with pytest.raises(BundleError, match=r"'samedge-giga'\. It carries samedge-nano and s"):
        load_default(model="samedge-giga")


def test_the_embedded_model_is_opened_with_what_bundles_are_opened_with() -> None:
    def options(call: Any) -> set[str]:
        return set(inspect.signature(call).parameters)

    own = {"path", "verify", "any_backend"}  # a file of somebody's, checked as such
    assert options(load_default) - {"model"} == options(Predictor.from_bundle) - own
    with load_default(model="samedge-pico", focus="auto", preprocess="fast") as predictor:
        assert (predictor.focus, predictor.refine) == ("auto", 1)
        assert predictor.frame.rule == "fast"


def test_graphs_that_open_together_fail_together(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Predictor.from_bundle(toy_bundle, backend="onnxruntime", verify=False) as opened:
        closed: list[str] = []
        really = GraphOpening.opened

        def one_fails(opening: GraphOpening, role: str) -> Session:
            if role == "decoder":
                raise InferenceError("no decoder today")
            session = really(opening, role)
            monkeypatch.setattr(session, "close", lambda: closed.append(role))
            return session

        monkeypatch.setattr(GraphOpening, "opened", one_fails)
        with pytest.raises(InferenceError, match="no decoder today"):
            opened.load()
        assert closed == ["encoder"]
        assert opened.graphs.opened == ()
        monkeypatch.setattr(GraphOpening, "opened", really)
        opened.load()
        assert set(opened.graphs.opened) == {"encoder", "decoder"}
        assert opened.timing_ms["load"] > 0
