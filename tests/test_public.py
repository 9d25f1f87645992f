"""The public functions: typed, documented, and the very ones that the commands call."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import samedge
from samedge.cli import cli
from samedge.errors import (
    BundleError,
    ImageError,
    OptionError,
    PromptError,
    SourceError,
    UnknownNameError,
)
from samedge.pixels.rle import rle_from_mask
from samedge.web.client import Client

FUNCTIONS = sorted(name for name in samedge.__all__ if inspect.isfunction(getattr(samedge, name)))
LISTENERS = {"progress", "stage", "command"}


class _StoppedError(Exception):
    """Ends a command once it has called what it should."""


def given_by(monkeypatch: pytest.MonkeyPatch, where: str, *arguments: str) -> dict[str, Any]:
    """What a command hands to the function at ``where``, by parameter."""
    module, name = where.rsplit(".", 1)
    signature = inspect.signature(getattr(samedge, name))
    seen: dict[str, Any] = {}

    def stand_in(*args: Any, **kwargs: Any) -> None:
        seen.update(signature.bind(*args, **kwargs).arguments)
        raise _StoppedError

    monkeypatch.setattr(f"{module}.{name}", stand_in)
    result = CliRunner().invoke(cli, arguments)
    assert isinstance(result.exception, _StoppedError), result.output
    return seen


@pytest.mark.parametrize(
    ("where", "arguments", "asked"),
    [
        ("samedge.benchmark.named.bench", ["bench"], set()),
        ("samedge.comparison.named.compare", ["compare"], set()),
        ("samedge.export.named.export_bundle", ["export", "--target", "pi"], {"target"}),
    ],
)
def test_commands_have_the_functions_defaults(
    monkeypatch: pytest.MonkeyPatch, where: str, arguments: list[str], asked: set[str]
) -> None:
    given = given_by(monkeypatch, where, *arguments)
    parameters = inspect.signature(getattr(samedge, where.rpartition(".")[2])).parameters
    left = {name: value for name, value in given.items() if name not in LISTENERS | asked}
    assert left, "the command passes nothing on"
    for name, value in left.items():
        assert (value or None) == (parameters[name].default or None), name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_are_documented_and_typed(name: str) -> None:
    function = getattr(samedge, name)
    text = inspect.getdoc(function) or ""
    assert "Args:" in text
    for parameter in inspect.signature(function).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter
        assert f"{parameter.name}:" in text, f"{name} does not say what {parameter.name} is"


@pytest.fixture
def dataset(tmp_path: Path) -> tuple[Path, Path]:
    mask = np.zeros((64, 64), np.bool_)
    mask[16:48, 8:56] = True
    Image.fromarray(np.where(mask, 200, 30).astype(np.uint8)).convert("RGB").save(
        tmp_path / "a.png"
    )
    annotation: dict[str, object] = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0}
    annotation |= {"area": int(mask.sum()), "bbox": [8, 16, 48, 32]}
    annotation["segmentation"] = rle_from_mask(mask)
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 64, "width": 64}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [annotation],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    return path, tmp_path


def test_evaluate_takes_names_and_paths(dataset: tuple[Path, Path], toy_bundle: Path) -> None:
    record = samedge.evaluate(*dataset, bundles=[toy_bundle, "baseline:box"], prompts="box")
    assert [row.bundle for row in record.results] == [str(toy_bundle), "baseline:box"]
    assert record.results[1].miou == pytest.approx(1.0)
    alone = samedge.evaluate(*dataset, bundles="baseline:box", instances=True, limit=1)
    assert alone.instances is not None
    with pytest.raises(UnknownNameError):
        samedge.evaluate(*dataset, bundles=toy_bundle, prompts="boxx")


def test_bench_takes_a_path(dataset: tuple[Path, Path], toy_bundle: Path) -> None:
    steps: list[int] = []
    record = samedge.bench(
        toy_bundle,
        images=dataset[1],
        effort="quick",
        min_time_s=0.01,
        min_count=2,
        progress=lambda done, total: steps.append(done),
    )
    assert {row.bundle for row in record.results} == {str(toy_bundle)}
    assert "end_to_end" in {row.stage for row in record.results}
    assert steps


def test_compare_wants_a_dataset_whole(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="belong together"):
        samedge.compare(dataset="x.json", output=tmp_path / "out")


def test_a_comparison_says_its_sentence() -> None:
    from samedge.comparison.named import Comparison

    record = SimpleNamespace(rows=[1, 2], recommendation=SimpleNamespace(sentence="Ship it."))
    found = Comparison(record, SimpleNamespace())  # type: ignore[arg-type]
    assert found.sentence == "Ship it."
    assert repr(found) == "Comparison(2 subjects, 'Ship it.')"


def test_what_is_no_bundle_and_no_source_is_named() -> None:
    wrongs: tuple[Any, ...] = (None, 5)
    for wrong in wrongs:
        with pytest.raises(BundleError, match=rf"is a {type(wrong).__name__}, expected its path"):
            samedge.Predictor.from_bundle(wrong)
    with pytest.raises(BundleError, match=r"load_default\(model='samedge-pico'\)"):
        samedge.Predictor.from_bundle("samedge-pico")
    nothing: Any = None
    with pytest.raises(SourceError, match="is a NoneType, expected a path"):
        samedge.Camera(nothing)


def _limited(seconds: Any) -> None:
    with samedge.time_limit(seconds):
        pass


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda _, odd: samedge.PredictorPool(lambda: odd, size=odd), OptionError),
        (lambda _, odd: samedge.PredictorPool(lambda: odd, size=1, waiting=odd), OptionError),
        (lambda _, odd: _limited(odd), OptionError),
        (lambda _, odd: samedge.load_default(model=odd), BundleError),
        (lambda _, odd: samedge.load_default(device=odd), OptionError),
        (lambda opened, odd: samedge.segment_in_tiles(opened, odd), ImageError),
        (lambda opened, odd: opened.predict(np.zeros((8, 8, 3), np.uint8), odd), PromptError),
        (lambda _, odd: Client("http://127.0.0.1:1", timeout_s=odd), OptionError),
        (lambda _, odd: Client("http://127.0.0.1:1", retry_s=odd), OptionError),
    ],
    ids=[
        "size",
        "waiting",
        "time_limit",
        "model",
        "device",
        "tiles",
        "predict",
        "timeout_s",
        "retry_s",
    ],
)
def test_arguments_of_another_type_are_typed_errors(
    toy_bundle: Path, call: Callable[[Any, Any], object], error: type[Exception]
) -> None:
    with samedge.Predictor.from_bundle(toy_bundle) as opened, pytest.raises(error):
        call(opened, [3])
