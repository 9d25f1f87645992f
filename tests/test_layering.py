"""Imports go down only: the layers of `tools/house.py`, held against every import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools import house

PACKAGE = house.PACKAGE

# Libraries that a device install does not have, or has one of. Below the device line they are
# imported inside functions, by the backends alone.
HEAVY = frozenset(
    {
        "accelerate",
        "av",
        "coremltools",
        "cuda",
        "cv2",
        "jinja2",
        "matplotlib",
        "nncf",
        "onnx",
        "onnxruntime",
        "onnxscript",
        "openvino",
        "pycocotools",
        "safetensors",
        "scipy",
        "tensorrt",
        "tensorrt_rtx",
        "timm",
        "torch",
        "torchvision",
        "transformers",
    }
)

# A package of its own extra may import that extra's libraries when it is imported itself.
EXTRA_OF = {"report": frozenset({"jinja2", "matplotlib"})}

# The interpreter of Core ML packages computes in torch; `_mil` imports it inside functions, and
# test_imports holds that importing a backend loads no library.
COMPUTES_IN_TORCH = "samedge.runtimes.mil."


def plug_in_edges(package: Path) -> list[str]:
    """Plug-ins (``_name.py``) of one package that import one another."""
    found = house.modules(package)
    plug_ins = {m.name for m in found if m.name.rpartition(".")[2].startswith("_")}
    edges = set()
    for module in found:
        folder = module.name.rpartition(".")[0]
        if module.name not in plug_ins or folder == package.name:
            continue
        siblings = {p for p in plug_ins if p.rpartition(".")[0] == folder} - {module.name}
        edges |= {f"{module.name} imports {p}" for p in siblings & set(house.imports(module.tree))}
    return sorted(edges)


def heavy_edges(package: Path) -> list[str]:
    """Heavy libraries below the device line: at import time, or outside of the backends."""
    edges = set()
    for module in house.modules(package):
        source = module.unit
        if source in ("", "__main__") or house.layer(source) >= house.DEVICE_LAYERS:
            continue
        if module.name.startswith(COMPUTES_IN_TORCH):
            continue
        inside = {library.split(".")[0] for library in house.imports(module.tree)} & HEAVY
        outside = set()
        for node in module.tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                outside |= {library.split(".")[0] for library in house.imports(node)} & HEAVY
        outside -= EXTRA_OF.get(source, frozenset())
        edges |= {f"{module.name} imports {library} when it is imported" for library in outside}
        if "torch" in inside and source != "runtimes":
            edges.add(f"{module.name} needs torch on the device")
    return sorted(edges)


def upward(package: Path) -> list[str]:
    edges = house.upward_edges(house.modules(package))
    return [text for edge, texts in edges.items() if edge not in house.EXCEPTIONS for text in texts]


def test_imports_go_down_only() -> None:
    assert upward(PACKAGE) == []


def test_no_exception_is_stale() -> None:
    used = house.upward_edges(house.modules(PACKAGE))
    assert [edge for edge in house.EXCEPTIONS if edge not in used] == []
    assert len(house.EXCEPTIONS) <= house.LAYER_EXCEPTIONS
    assert all(house.EXCEPTIONS.values()), "every exception has its reason"


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert house.circles(house.modules(PACKAGE)) == []


def test_plug_ins_never_import_one_another() -> None:
    assert plug_in_edges(PACKAGE) == []


def test_the_device_side_stays_light() -> None:
    assert heavy_edges(PACKAGE) == []


def test_every_unit_is_in_one_layer() -> None:
    units = {module.unit for module in house.modules(PACKAGE)} - {"", "__main__"}
    for name in units:
        assert sum(name in names for names in house.LAYERS) == 1, f"samedge.{name} is in no layer"


# ---- the checker itself must be able to fail


def fake_package(folder: Path, **files: str) -> Path:
    """A package of files; ``a__of__b`` is ``b/a.py``."""
    package = folder / "samedge"
    for name, source in {"__init__": "", **files}.items():
        path = package.joinpath(*name.split("__of__")[::-1]).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return package


@pytest.mark.parametrize(
    "source",
    [
        "from samedge.export import base",
        "from samedge import export",
        "import samedge.export.base",
        "def f():\n    from samedge.export.base import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from samedge.export import base",
        "FACTORY = 'samedge.export.base:make'",
    ],
)
def test_an_upward_import_is_found(tmp_path: Path, source: str) -> None:
    package = fake_package(tmp_path, _torch__of__runtimes=source, base__of__export="x = 1")
    assert upward(package) == ["samedge.runtimes._torch imports samedge.export"]


def test_a_downward_import_is_not_a_finding(tmp_path: Path) -> None:
    source = "from samedge.runtimes import base\nimport samedge.errors\nimport numpy"
    package = fake_package(
        tmp_path,
        predictor__of__predict=source,
        base__of__runtimes="from samedge.types import Size",
        errors="",
    )
    assert upward(package) == []


def test_a_sideways_import_is_found(tmp_path: Path) -> None:
    package = fake_package(
        tmp_path, page__of__report="from samedge.bundle import x", x__of__bundle=""
    )
    assert upward(package) == ["samedge.report.page imports samedge.bundle"]


@pytest.mark.parametrize(
    "source",
    [
        "from samedge.models import b",
        "from samedge.models.b import thing",
        "def f():\n    import samedge.models.b",
        "from typing import TYPE_CHECKING as T\nif T:\n    from samedge.models.b import thing",
    ],
)
def test_a_circle_inside_a_package_is_found(tmp_path: Path, source: str) -> None:
    package = fake_package(
        tmp_path, a__of__models=source, b__of__models="from samedge.models.a import other"
    )
    assert house.circles(house.modules(package)) == [["samedge.models.a", "samedge.models.b"]]


def test_a_room_that_lists_its_plug_ins_is_no_circle(tmp_path: Path) -> None:
    package = fake_package(
        tmp_path,
        __init____of__runtimes="from samedge.runtimes import base",
        base__of__runtimes="load('samedge.runtimes', 'x')",
    )
    assert house.circles(house.modules(package)) == []


def test_backends_that_import_one_another_are_found(tmp_path: Path) -> None:
    package = fake_package(
        tmp_path, _a__of__runtimes="from samedge.runtimes import _b", _b__of__runtimes=""
    )
    assert plug_in_edges(package) == ["samedge.runtimes._a imports samedge.runtimes._b"]


def test_a_heavy_import_is_found(tmp_path: Path) -> None:
    package = fake_package(
        tmp_path,
        _x__of__runtimes="import openvino as ov",
        predictor__of__predict="def f():\n    import torch.nn as nn",
        doctor__of__inspection="def f():\n    import onnxruntime",
    )
    assert heavy_edges(package) == [
        "samedge.predict.predictor needs torch on the device",
        "samedge.runtimes._x imports openvino when it is imported",
    ]


def test_a_module_in_no_layer_is_named(tmp_path: Path) -> None:
    package = fake_package(tmp_path, helpers="from samedge import errors", errors="")
    with pytest.raises(AssertionError, match=r"samedge\.helpers is in no layer"):
        upward(package)


def test_figures_outside_of_their_bars_are_found(tmp_path: Path) -> None:
    long_function = "def f() -> None:\n" + "    x = 1\n" * 61
    package = fake_package(
        tmp_path,
        a__of__predict=long_function,
        b__of__predict="x = 1\n" * 401,
        c__of__predict="def g(a: int, b: int, c: int) -> dict[str, Any]:\n    return {}\n",
        **{f"root{index}": "" for index in range(9)},
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_d.py").write_text(long_function + "x = 1\n" * 400)
    figures = house.figures(package)
    places = " ".join(place for figure in figures for place in figure.where)
    assert "tests/test_d.py (462)" in places
    assert "tests/test_d.py.f (62)" in places
    bad = {figure.name for figure in figures if not figure.held}
    assert {
        "modules at the root",
        "files over 400 lines",
        "functions over 60 lines",
        "more than two by position",
        "public without types or words",
    } <= bad


def test_what_only_tests_call_is_found(tmp_path: Path) -> None:
    package = fake_package(
        tmp_path,
        a="def used() -> None: ...\ndef unused() -> None: ...\ndef documented() -> None: ...\n",
        b="from samedge.a import used, unused\nused()\n",
    )
    found = house.uncalled(house.modules(package), [], words="Call `documented`.")
    assert found == ["samedge.a.unused"]
