"""Imports go down only: the layers of ARCHITECTURE as a table, held with ``ast``.

Every import counts, also those inside functions and under ``TYPE_CHECKING``: what a module names,
it depends on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "samedge"

# From the bottom up. A unit may import every unit of a lower layer.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "types", "_version"}),
    frozenset(
        {
            "_archive",
            "_cache",
            "_commit",
            "_discovery",
            "_system",
            "bundle",
            "bundle_writer",
            "canary",
            "crops",
            "feeds",
            "disturbance",
            "environment",
            "ground_truth",
            "hardware",
            "images",
            "jetson",
            "known_problems",
            "latency",
            "manifest",
            "mask_files",
            "metrics",
            "overlay",
            "power",
            "records",
            "report",
            "rle",
            "targets",
            "transforms",
        }
    ),
    frozenset({"runtimes"}),
    frozenset(
        {
            "ane",
            "baselines",
            "bench",
            "bench_plan",
            "bench_process",
            "bench_worker",
            "doctor",
            "evaluate",
            "everything",
            "opening",
            "predictor",
            "protocols",
            "roofline",
            "segmentation",
            "subjects",
        }
    ),
    # ---- the device line: below it NumPy, Pillow and one backend
    frozenset({"calibration", "models"}),
    frozenset({"distill", "export"}),
    frozenset(
        {"verification"}
    ),  # compares with the model where torch is, and does without on devices
    frozenset({"cli"}),
)
DEVICE_LAYERS = 4

# Edges inside one layer, each a decision.
SIDEWAYS: frozenset[tuple[str, str]] = frozenset(
    {
        ("types", "errors"),
        ("transforms", "images"),  # one place for geometry, one for files
        ("feeds", "transforms"),  # prompts move with the image
        ("canary", "_cache"),  # a passed canary is remembered
        ("canary", "feeds"),
        ("canary", "transforms"),
        ("manifest", "_archive"),  # one rule for safe paths
        ("bundle", "_archive"),
        ("bundle", "_cache"),
        ("bundle", "_commit"),
        ("bundle", "canary"),
        ("bundle", "manifest"),
        ("bundle_writer", "_archive"),
        ("bundle_writer", "_commit"),
        ("bundle_writer", "bundle"),
        ("bundle_writer", "canary"),
        ("bundle_writer", "manifest"),
        ("disturbance", "_system"),
        ("disturbance", "power"),
        ("environment", "_system"),
        ("environment", "power"),
        ("environment", "records"),
        ("power", "_system"),
        ("latency", "metrics"),
        ("latency", "records"),
        ("mask_files", "overlay"),
        ("mask_files", "rle"),
        ("report", "images"),
        ("report", "metrics"),
        ("report", "overlay"),
        ("report", "records"),
        ("report", "rle"),
        ("targets", "hardware"),  # a row that is one module knows it
        ("ground_truth", "images"),
        ("ground_truth", "metrics"),  # areas and boxes
        ("ground_truth", "rle"),
        ("bench", "bench_plan"),
        ("bench", "bench_process"),
        ("bench", "predictor"),
        ("bench_process", "bench_worker"),
        ("bench_worker", "predictor"),
        ("evaluate", "predictor"),
        ("evaluate", "protocols"),
        ("everything", "predictor"),
        ("predictor", "opening"),  # how a graph of a bundle is opened
        ("subjects", "opening"),  # the same, for what is measured
        ("segmentation", "predictor"),
        ("subjects", "baselines"),
        ("subjects", "evaluate"),
        ("subjects", "predictor"),
        ("subjects", "baselines"),
        ("subjects", "evaluate"),
        ("subjects", "predictor"),
    }
)

# Libraries that a device install does not have, or has one of. Below the device line they are
# imported inside functions, by the backends alone.
HEAVY = frozenset(
    {
        "accelerate",
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


def modules(package: Path) -> Iterator[tuple[str, ast.Module]]:
    """Dotted name and syntax tree of every module of a package."""
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        yield ".".join(parts), ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the edge: write the full name"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def unit(module: str) -> str:
    """``samedge.runtimes._torch`` belongs to ``runtimes``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def layer(name: str) -> int:
    for index, names in enumerate(LAYERS):
        if name in names:
            return index
    raise AssertionError(
        f"samedge.{name} is in no layer: add it to LAYERS in {Path(__file__).name}"
    )


def allowed(source: str, target: str) -> bool:
    if source == target or (source, target) in SIDEWAYS:
        return True
    return layer(target) < layer(source)


def upward_edges(package: Path) -> list[str]:
    """Imports that go up, or sideways without being in the table."""
    units = {unit(name) for name, _ in modules(package)} - {""}
    found = set()
    for name, tree in modules(package):
        source = unit(name)
        if source in ("", "__main__"):  # the lazy public names; the entry point
            continue
        for imported in imports(tree):
            target = unit(imported)
            ours = imported.startswith(f"{package.name}.") and target in units
            if ours and not allowed(source, target):
                found.add(f"{name} imports {package.name}.{target}")
    return sorted(found)


def plug_in_edges(package: Path) -> list[str]:
    """Plug-ins (``_name.py``) of one package that import one another."""
    plug_ins = {name for name, _ in modules(package) if name.rpartition(".")[2].startswith("_")}
    found = set()
    for name, tree in modules(package):
        folder = name.rpartition(".")[0]
        if name not in plug_ins or folder == package.name:
            continue
        siblings = {other for other in plug_ins if other.rpartition(".")[0] == folder} - {name}
        found |= {f"{name} imports {other}" for other in siblings & set(imports(tree))}
    return sorted(found)


def heavy_edges(package: Path) -> list[str]:
    """Heavy libraries below the device line: at import time, or outside of the backends."""
    found = set()
    for name, tree in modules(package):
        source = unit(name)
        if source in ("", "__main__") or layer(source) >= DEVICE_LAYERS:
            continue
        if name.startswith(COMPUTES_IN_TORCH):
            continue
        inside = {library.split(".")[0] for library in imports(tree)} & HEAVY
        outside = set()
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                outside |= {library.split(".")[0] for library in imports(node)} & HEAVY
        outside -= EXTRA_OF.get(source, frozenset())
        found |= {f"{name} imports {library} when it is imported" for library in outside}
        if "torch" in inside and source != "runtimes":
            found.add(f"{name} needs torch on the device")
    return sorted(found)


def test_imports_go_down_only() -> None:
    assert upward_edges(PACKAGE) == []


def test_plug_ins_never_import_one_another() -> None:
    assert plug_in_edges(PACKAGE) == []


def test_the_device_side_stays_light() -> None:
    assert heavy_edges(PACKAGE) == []


def test_every_unit_is_in_one_layer() -> None:
    units = {unit(name) for name, _ in modules(PACKAGE)} - {"", "__main__"}
    for name in units:
        assert sum(name in names for names in LAYERS) == 1, f"samedge.{name} is in no layer"


# ---- the checker itself must be able to fail


def fake_package(folder: Path, **files: str) -> Path:
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
    ],
)
def test_an_upward_import_is_found(tmp_path: Path, source: str) -> None:
    package = fake_package(tmp_path, _torch__of__runtimes=source, base__of__export="x = 1")
    assert upward_edges(package) == ["samedge.runtimes._torch imports samedge.export"]


def test_a_downward_import_is_not_a_finding(tmp_path: Path) -> None:
    source = "from samedge.runtimes import base\nimport samedge.errors\nimport numpy"
    package = fake_package(
        tmp_path, predictor=source, base__of__runtimes="from samedge.types import Size", errors=""
    )
    assert upward_edges(package) == []


def test_an_unlisted_sideways_import_is_found(tmp_path: Path) -> None:
    package = fake_package(tmp_path, metrics="from samedge.bundle import Bundle", bundle="")
    assert upward_edges(package) == ["samedge.metrics imports samedge.bundle"]


def test_backends_that_import_one_another_are_found(tmp_path: Path) -> None:
    package = fake_package(
        tmp_path, _a__of__runtimes="from samedge.runtimes import _b", _b__of__runtimes=""
    )
    assert plug_in_edges(package) == ["samedge.runtimes._a imports samedge.runtimes._b"]


def test_a_heavy_import_is_found(tmp_path: Path) -> None:
    package = fake_package(
        tmp_path,
        _x__of__runtimes="import openvino as ov",
        predictor="def f():\n    import torch.nn as nn",
        doctor="def f():\n    import onnxruntime",
    )
    assert heavy_edges(package) == [
        "samedge.predictor needs torch on the device",
        "samedge.runtimes._x imports openvino when it is imported",
    ]


def test_a_module_in_no_layer_is_named(tmp_path: Path) -> None:
    package = fake_package(tmp_path, helpers="from samedge import errors", errors="")
    with pytest.raises(AssertionError, match=r"samedge\.helpers is in no layer"):
        upward_edges(package)
