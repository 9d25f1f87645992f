"""What runs while a module computes, and what it becomes in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from samedge.bundle.manifest import ModelRecord
from samedge.export.base import ExportRequest
from samedge.export.graphs import Graph
from samedge.export.onnx_graph import onnx_model, save_onnx
from samedge.models.promptable import PromptableModel
from samedge.targets import target
from samedge.types import Array, Precision

DEPENDS_ON_DATA = frozenset(
    {"_local_scalar_dense", "is_nonzero", "masked_select", "nonzero", "unique_dim", "_unique2"}
)
"""Operations whose result has a shape or a value in Python that only the data tell."""


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the largest number of axes, and every operation in its order."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.axes = 0
        self.operations: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations.append(func.overloadpacket.__name__)
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, Tensor):
                self.axes = max(self.axes, value.ndim)
        return out


def assert_deployable(module: Any, *inputs: tuple[Tensor, ...], axes: int) -> None:
    """At most so many axes, and the same operations whatever the data are."""
    seen = []
    for given in inputs:
        with torch.no_grad(), Watch() as watch:
            module(*given)
        assert watch.axes <= axes, f"a tensor has {watch.axes} axes, at most {axes} are deployable"
        assert not DEPENDS_ON_DATA & set(watch.operations)
        seen.append(watch.operations)
    assert all(operations == seen[0] for operations in seen), "the data decide what is computed"


def in_onnx_runtime(
    graph: Graph, model: PromptableModel, folder: Path
) -> Callable[[Mapping[str, Tensor]], dict[str, Array]]:
    """A graph in ONNX Runtime: feeds to outputs."""
    onnxruntime = pytest.importorskip("onnxruntime")
    record = ModelRecord(name="tiny", licence="none", origin="random numbers", encoder="any")
    request = ExportRequest(
        model=model, source=record, target=target("cpu"), precision=Precision.FP32
    )
    path = folder / "graph.onnx"
    save_onnx(onnx_model(graph.eval(), request), path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(feeds: Mapping[str, Tensor]) -> dict[str, Array]:
        found = session.run(None, {name: np.asarray(tensor) for name, tensor in feeds.items()})
        return dict(zip(names, found, strict=True))

    return run


def assert_close(got: Any, wanted: Tensor, *, tolerance: float = 2e-4) -> None:
    """Equal up to rounding, of something that is not constant."""
    assert tuple(got.shape) == tuple(wanted.shape)
    assert float(wanted.std()) > 1e-4, "a constant proves nothing"
    difference = float((torch.as_tensor(got) - wanted).abs().max())
    assert difference <= tolerance * max(1.0, float(wanted.abs().max())), difference
