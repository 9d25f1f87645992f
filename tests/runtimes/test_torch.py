"""What is particular to PyTorch: archives that could run foreign code are refused unopened."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import runtimes
from samedge.errors import IncompatibleArtifactError, InferenceError
from samedge.runtimes.pt2 import refuse_code

torch: Any = pytest.importorskip("torch")

BACKEND = runtimes.get("torch")


class Graph(torch.nn.Module):  # type: ignore[misc]
    """Dynamic shapes with arithmetic on them, so that the archive holds expressions."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(8.0))

    def forward(self, x: Any) -> dict[str, Any]:
        batch, length = x.shape
        doubled = torch.cat([x, x], dim=1).reshape(batch * 2, length)
        return {"doubled": doubled, "sum": doubled.sum() + self.table[:length].sum()}


def save(module: Any, path: Path) -> Path:
    dims = {0: torch.export.Dim("B", min=1, max=9), 1: torch.export.Dim("N", min=2, max=8)}
    program = torch.export.export(module, (torch.zeros(2, 3),), dynamic_shapes={"x": dims})
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(Graph(), tmp_path_factory.mktemp("pt2") / "graph.pt2")


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_sound_archive_runs(sound: Path) -> None:
    with BACKEND.open(sound, device="cpu") as session:
        assert [spec.name for spec in session.outputs] == ["doubled", "sum"]
        for shape in ((1, 2), (4, 5)):
            results = session.run({"x": np.ones(shape, np.float32)})
            assert results["doubled"].shape == (2 * shape[0], shape[1])
            assert results["sum"] == 2 * shape[0] * shape[1] + sum(range(shape[1]))


def test_thread_count_is_restored(sound: Path) -> None:
    before = torch.get_num_threads()
    with BACKEND.open(sound, device="cpu", options={"threads": before + 1}) as session:
        session.run({"x": np.ones((1, 2), np.float32)})
    assert torch.get_num_threads() == before


def test_program_without_names_is_refused(tmp_path: Path) -> None:
    class Nameless(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return (x * 2,)

    with pytest.raises(InferenceError, match="returns a tuple, expected a dict"):
        BACKEND.open(save(Nameless(), tmp_path / "nameless.pt2"), device="cpu")


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def refused(archive: Path, reason: str) -> None:
    with pytest.raises(IncompatibleArtifactError, match=reason):
        BACKEND.open(archive, device="cpu")


def test_pickled_example_inputs(sound: Path, tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("sample_inputs/model.pt"):
            return data
        stream = io.BytesIO()
        torch.save(Bomb(tmp_path / "exploded"), stream)
        return stream.getvalue()

    refused(rewritten(sound, tmp_path / "bad.pt2", change), "example inputs that are not plain")
    assert not (tmp_path / "exploded").exists()


def test_pickled_weights(sound: Path, tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        if name.endswith("model_weights_config.json"):
            document = json.loads(data)
            for entry in document["config"].values():
                entry["use_pickle"] = True
            return json.dumps(document).encode()
        if "/weights/weight_" in name:
            return pickle.dumps(Bomb(tmp_path / "exploded"))
        return data

    refused(rewritten(sound, tmp_path / "bad.pt2", change), "holds pickled tensors")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "target", ["torch.hub.load", "torch.load", "torch.ops.evil.run.default", "_operator.call"]
)
def test_foreign_operator(sound: Path, tmp_path: Path, target: str) -> None:
    def change(name: str, data: bytes) -> bytes:
        if name.endswith("models/model.json"):
            document = json.loads(data)
            document["graph_module"]["graph"]["nodes"][0]["target"] = target
            return json.dumps(document).encode()
        return data

    refused(rewritten(sound, tmp_path / "bad.pt2", change), "not an ATen operator")


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "Symbol('s0').__class__",
        "exec('1')",
        "s0.a",
        "[s0]",
        "'x'",
    ],
)
def test_expression_that_is_code(sound: Path, tmp_path: Path, expression: str) -> None:
    def change(name: str, data: bytes) -> bytes:
        if name.endswith("models/model.json"):
            text = json.dumps(json.loads(data))
            assert '"expr_str"' in text
            document = json.loads(text, object_hook=lambda node: _with(node, expression))
            return json.dumps(document).encode()
        return data

    refused(rewritten(sound, tmp_path / "bad.pt2", change), "more than arithmetic")


def _with(node: dict[str, Any], expression: str) -> dict[str, Any]:
    return {**node, "expr_str": expression} if "expr_str" in node else node


def test_compiled_code(sound: Path, tmp_path: Path) -> None:
    archive = rewritten(sound, tmp_path / "bad.pt2", lambda name, data: data)
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr("graph/data/aotinductor/model/model.so", b"\x7fELF")
    refused(archive, "which no exported graph needs")


def test_two_archives_in_one(sound: Path, tmp_path: Path) -> None:
    archive = rewritten(sound, tmp_path / "bad.pt2", lambda name, data: data)
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr("other/models/model.json", b"{}")
    refused(archive, "2 folders at its top")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_member_twice(sound: Path, tmp_path: Path) -> None:
    """Python reads the last of two members of one name, and torch the first."""
    archive = rewritten(sound, tmp_path / "bad.pt2", lambda name, data: data)
    with zipfile.ZipFile(archive, "a") as content:
        program = next(name for name in content.namelist() if name.endswith("models/model.json"))
        content.writestr(program, content.read(program))
    refused(archive, "holds a member twice")


def test_sound_archive_is_let_through(sound: Path) -> None:
    refuse_code(sound)
