"""Every quantizer that discovery finds keeps its promises, and a broken one is found."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from samedge.calibration import base
from samedge.calibration.base import Converted, FeedSource, Quantizer
from samedge.calibration.plan import PrecisionPlan
from samedge.types import Precision
from tests.calibration import graphs
from tests.contract import quantizer_checks as checks


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return graphs.residual(tmp_path_factory.mktemp("graphs") / "residual.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", base.names())
def test_quantizer(name: str, check: Any, residual: Path, folder: Path) -> None:
    quantizer = base.get(name)
    for package in quantizer.packages:
        pytest.importorskip(package)
    check(quantizer, residual, folder)


@pytest.mark.parametrize("name", base.names())
def test_its_name_is_the_files(name: str) -> None:
    quantizer = base.get(name)
    assert quantizer.name == name
    assert type(quantizer).__module__ == f"samedge.calibration._{name}"


def test_the_one_that_suits() -> None:
    def name(form: str, backend: str, precision: Precision = Precision.INT8) -> str | None:
        found = base.suited(form, backend=backend, precision=precision)
        return None if found is None else found.name

    assert name("onnx", "onnxruntime") == "qdq_unsigned"
    assert name("onnx", "tensorrt") == "qdq"
    assert name("openvino", "openvino") == "nncf"
    assert name("onnx", "onnxruntime", Precision.FP16) == "cast"
    assert name("pt2", "torch") is None


# ---- the checks must be able to fail


class Sound(Quantizer):
    """Rounds the weights to half precision and keeps them as they are otherwise."""

    name, formats, precisions = "sound", ("onnx",), (Precision.FP16,)
    packages: tuple[str, ...] = ("onnx",)

    def modules(self, source: Path) -> tuple[str, ...]:
        return base.get("cast").modules(source)

    def _quantize(
        self, source: Path, destination: Path, *, plan: PrecisionPlan, feeds: FeedSource
    ) -> Converted:
        import onnx

        model = onnx.load(source)
        for tensor in model.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        onnx.save(model, destination)
        return Converted(destination, self.modules(source))


class WithoutPackages(Sound):
    packages = ()


class Nameless(Sound):
    def modules(self, source: Path) -> tuple[str, ...]:
        super().modules(source)
        return ()


class Copies(Sound):
    def _quantize(
        self, source: Path, destination: Path, *, plan: PrecisionPlan, feeds: FeedSource
    ) -> Converted:
        return base.unchanged(source, destination)


class Overwrites(Sound):
    def _quantize(
        self, source: Path, destination: Path, *, plan: PrecisionPlan, feeds: FeedSource
    ) -> Converted:
        done = super()._quantize(source, destination, plan=plan, feeds=feeds)
        shutil.copyfile(destination, source)
        return done


class LeavesScratch(Sound):
    def _quantize(
        self, source: Path, destination: Path, *, plan: PrecisionPlan, feeds: FeedSource
    ) -> Converted:
        shutil.copyfile(source, destination.with_name("augmented.onnx"))
        return super()._quantize(source, destination, plan=plan, feeds=feeds)


class Raw(Sound):
    """Lets the library's own exception through."""

    def quantize(
        self, source: Path, destination: Path, *, plan: PrecisionPlan, feeds: FeedSource
    ) -> Converted:
        return self._quantize(source, destination, plan=plan, feeds=feeds)


BREAKS = {
    "declares_itself": WithoutPackages,
    "names_the_modules_of_a_graph": Nameless,
    "computes_nearly_the_same": Copies,
    "leaves_the_source_alone": Overwrites,
    "writes_nothing_beside": LeavesScratch,
    "says_what_fails": Raw,
}


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_a_broken_quantizer_is_found(
    check: Any, residual: Path, tmp_path: Path, folder: Path
) -> None:
    source = Path(shutil.copy(residual, tmp_path))
    check(Sound(), source, folder)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(Exception) as caught:
        check(BREAKS[check.__name__](), source, folder)
    assert check is checks.says_what_fails or isinstance(caught.value, AssertionError)
