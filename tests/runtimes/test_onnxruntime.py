"""What is particular to ONNX Runtime: no silent fallback, and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import runtimes
from samedge.errors import BackendUnavailableError, InferenceError, UnknownNameError
from samedge.runtimes._onnxruntime import OnnxRuntimeSession

onnxruntime: Any = pytest.importorskip("onnxruntime")
onnx: Any = pytest.importorskip("onnx")

BACKEND = runtimes.get("onnxruntime")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, kind, [2]) for name in "xy")
    model = helper.make_model(
        helper.make_graph(nodes, "relu", [x], [y]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / "relu.onnx")
    return tmp_path / "relu.onnx"


@pytest.mark.parametrize(
    "options",
    [
        {"graph_optimization": "disabled"},
        {"graph_optimization": "basic"},
        {"graph_optimization": "extended"},
        {"spinning": False},
        {"memory_arena": False},
        {"threads": 2},
    ],
    ids=str,
)
def test_options_leave_the_result(graph: Path, options: dict[str, Any]) -> None:
    with BACKEND.open(graph, options=options) as session:
        result = session.run({"x": np.array([-1, 2], np.float32)})["y"]
    assert result.tolist() == [0, 2]


def test_threads_rest_between_runs(graph: Path) -> None:
    """Two sessions on the same cores: the encoder's threads must not spin while the decoder runs.

    With the library's default a predict of the embedded model took 1.7 times as long on two cores.
    """
    with BACKEND.open(graph) as session:
        assert isinstance(session, OnnxRuntimeSession)
        options = session._native.get_session_options()
        assert options.get_session_config_entry("session.force_spinning_stop") == "1"
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"


def test_unknown_optimization_level(graph: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"graph_optimization.*'extended'"):
        BACKEND.open(graph, options={"graph_optimization": "extnded"})


def test_provider_that_did_not_open_is_an_error(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that lists CUDA and then runs on the processor is not believed."""
    real = onnxruntime.InferenceSession
    present = onnxruntime.get_available_providers()

    def pretend(path: str, *, providers: Any, **options: Any) -> Any:
        return real(path, providers=["CPUExecutionProvider"], **options)

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", *present]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", pretend)
    assert BACKEND.probe().devices[0] == "cuda:0"
    for device in ("cuda:0", "cuda:1", None):
        with pytest.raises(BackendUnavailableError, match=r"opened relu\.onnx with CPUExecution"):
            BACKEND.open(graph, device=device)
    with BACKEND.open(graph, device="cpu") as session:
        assert session.device == "cpu"


def test_provider_that_fails_is_not_replaced(
    graph: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The wrapper's own answer would be a message on stdout and the processor."""
    present = onnxruntime.get_available_providers()
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", *present]
    )
    if "CUDAExecutionProvider" in present:
        pytest.skip("CUDA is here")
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(BackendUnavailableError, match="with CPUExecutionProvider instead of CUDA"),
    ):
        BACKEND.open(graph, device="cuda:0")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("operator", "strays"), [("MatMul", True), ("Add", False)])
def test_products_that_a_gpu_leaves_to_the_processor_are_an_error(
    graph: Path, monkeypatch: pytest.MonkeyPatch, operator: str, strays: bool
) -> None:
    """CUDA opens, and single nodes still go to the processor: here all of them do."""
    if not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"):
        pytest.skip("onnxruntime tells where nodes run from 1.24 on")
    model = onnx.load(graph)
    model.graph.node[0].CopyFrom(onnx.helper.make_node(operator, ["x", "x"], ["y"], name="/qk"))
    if strays:
        del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, graph)
    present = onnxruntime.get_available_providers()

    class Pretending(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, path: str, *, providers: Any, **options: Any) -> None:
            super().__init__(path, providers=["CPUExecutionProvider"], **options)

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", *present]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", Pretending)
    if not strays:
        BACKEND.open(graph, device="cuda:0").close()
        return
    with pytest.raises(BackendUnavailableError, match=r"leaves 1 products .* MatMul '/qk'.*Fix"):
        BACKEND.open(graph, device="cuda:0")


def test_broken_installation_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("libonnxruntime.so: cannot open shared object file")

    monkeypatch.setattr(onnxruntime, "get_available_providers", fail)
    probe = BACKEND.probe()
    assert not probe.available
    assert "libonnxruntime.so" in probe.detail
    assert probe.fix == "pip install 'samedge[onnxruntime]'"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("a kernel failed", "failed on device 'cpu': a kernel failed"),
        ("out of memory", "There is not enough memory to run the graph on device 'cpu'"),
    ],
)
def test_native_failure_is_wrapped(
    graph: Path, monkeypatch: pytest.MonkeyPatch, *, said: str, told: str
) -> None:
    with BACKEND.open(graph) as session:

        class Broken:
            def run(self, *arguments: Any) -> None:
                raise RuntimeError(said)

        monkeypatch.setattr(session, "_native", Broken())
        with pytest.raises(InferenceError, match=told) as caught:
            session.run({"x": np.zeros(2, np.float32)})
    assert isinstance(caught.value.__cause__, RuntimeError)
