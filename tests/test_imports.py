"""``import samedge`` is quick and loads no backend; a device needs no torch to run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Third-party packages that ``import samedge`` may load: none. Each import is a decision.
ALLOWED_BY_IMPORT: frozenset[str] = frozenset()

# What the command line may load to show its help or a table that needs no model.
ALLOWED_BY_HELP = frozenset({"click", "colorama", "msgspec", "typing_extensions"})

# What describing prompts, bundles and predictors may load, before a backend is opened.
ALLOWED_BY_PREDICTOR = frozenset(
    {"numpy", "PIL", "msgspec", "platformdirs", "filelock", "typing_extensions"}
)

BUDGET_MS = 100.0
RUNS = 5

_REPORT = """
import json, sys
before = set(sys.modules)
{code}
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
names = loaded - set(sys.stdlib_module_names) - {{"samedge", "__mp_main__"}}
print(json.dumps(sorted(name for name in names if not name.startswith("_"))))
"""


def third_party_after(code: str) -> set[str]:
    """Top-level third-party modules that a fresh interpreter has loaded after ``code``."""
    output = subprocess.run(
        [sys.executable, "-c", _REPORT.format(code=code)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return set(json.loads(output.splitlines()[-1]))


def import_time_ms(statement: str) -> float:
    """Processor time that ``statement`` takes in a fresh interpreter: the quickest of a few runs.

    Processor time, because a busy machine stretches the wall clock and says nothing about us.
    """
    code = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(RUNS)
    ]
    return min(times) * 1000


def test_import_loads_nothing_else() -> None:
    assert third_party_after("import samedge") <= ALLOWED_BY_IMPORT


def test_import_takes_less_than_its_budget() -> None:
    measured = import_time_ms("import samedge")
    print(f"import samedge: {measured:.1f} ms, budget {BUDGET_MS:.0f} ms")
    assert measured < BUDGET_MS


@pytest.mark.parametrize("arguments", [["--help"], ["segment", "--help"], ["--version"]])
def test_help_loads_no_library(arguments: list[str]) -> None:
    code = (
        "import contextlib, io, samedge.cli\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    samedge.cli.cli.main({arguments!r}, standalone_mode=False)"
    )
    assert third_party_after(code) <= ALLOWED_BY_HELP


def test_the_predictor_loads_no_backend() -> None:
    loaded = third_party_after("import samedge; samedge.Predictor; samedge.Bundle; samedge.Prompt")
    assert loaded <= ALLOWED_BY_PREDICTOR


def test_listing_backends_and_models_loads_no_backend() -> None:
    code = "import samedge.runtimes, samedge.models.zoo, samedge.targets; samedge.runtimes.names()"
    assert third_party_after(code) <= ALLOWED_BY_PREDICTOR


def test_importing_every_backend_loads_no_library() -> None:
    code = "import samedge.runtimes as r; [r.get(name) for name in r.names()]"
    assert third_party_after(code) <= ALLOWED_BY_PREDICTOR


def test_the_embedded_model_loads_no_other_backend() -> None:
    pytest.importorskip("onnxruntime")
    loaded = third_party_after(
        "import samedge.predict.words.predictor as p; p.load_default().load()"
    )
    assert "onnxruntime" in loaded
    assert not loaded & {"openvino", "cuda", "torch"}


def test_public_names_resolve() -> None:
    import samedge

    for name in samedge.__all__:
        assert getattr(samedge, name) is not None
        assert name in dir(samedge)
    with pytest.raises(AttributeError, match="no attribute 'Predicter'"):
        getattr(samedge, "Pre" + "dicter")


# ---- the checkers themselves must be able to fail


def test_a_loaded_library_is_seen() -> None:
    assert "numpy" in third_party_after("import numpy")
    assert "click" in third_party_after("import samedge.cli")


def test_a_slow_import_is_seen() -> None:
    assert import_time_ms("sum(range(20_000_000))") > BUDGET_MS


@pytest.mark.parametrize("slip", ["'inetl'", "'cpu', 'mobilesam'", "'cpu', precision='fp23'"])
def test_a_slip_in_a_name_is_told_before_torch_is_loaded(slip: str) -> None:
    """PyTorch takes seconds to come, on a busy machine a minute."""
    code = (
        "import contextlib, samedge\nwith contextlib.suppress(samedge.SamedgeError):\n"
        f"    samedge.export_bundle({slip})\n    raise SystemExit('it was taken')"
    )
    assert "torch" not in third_party_after(code)
