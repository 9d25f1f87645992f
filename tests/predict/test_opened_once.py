"""A command opens its bundle once and asks its backend once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.cli import cli
from samedge.errors import InferenceError
from samedge.evaluation.subjects import open_subject
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import open_predictor
from samedge.predict.words.predictor import load_default

pytest.importorskip("onnx")

from tests.predict.copies import CLICK


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often a bundle is opened, and the backends are probed."""
    counts = {"open": 0, "probe": 0}
    real_open = Bundle.open.__func__  # type: ignore[attr-defined]

    def opening(cls: Any, *arguments: Any, **options: Any) -> Bundle:
        counts["open"] += 1
        bundle: Bundle = real_open(cls, *arguments, **options)
        return bundle

    def probing(real: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def probe(self: Any) -> Any:
            counts["probe"] += 1
            return real(self)

        return probe

    monkeypatch.setattr(Bundle, "open", classmethod(opening))
    for name in runtimes.names():
        kind = type(runtimes.get(name))
        monkeypatch.setattr(kind, "probe", probing(kind.probe))
    return counts


def photo(folder: Path) -> str:
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(folder / "photo.png")
    return str(folder / "photo.png")


@pytest.mark.parametrize(
    "command",
    [
        ["segment", "PHOTO", "--bundle", "BUNDLE", "--point", "20,20"],
        ["segment", "PHOTO", "--bundle", "BUNDLE", "--backend", "onnxruntime", "--point", "20,20"],
        ["everything", "PHOTO", "--bundle", "BUNDLE", "--points-per-side", "2"],
        ["verify", "BUNDLE"],
    ],
    ids=lambda command: " ".join(command[:1] + command[4:5]),
)
def test_a_command_opens_and_probes_once(
    command: list[str], counted: dict[str, int], toy_bundle: Path, tmp_path: Path
) -> None:
    names = {"PHOTO": photo(tmp_path), "BUNDLE": str(toy_bundle)}
    result = CliRunner().invoke(cli, [names.get(word, word) for word in command])
    assert result.exit_code == 0, result.output
    assert counted == {"open": 1, "probe": 1}


@pytest.mark.parametrize(
    "opening",
    [load_default, lambda: open_predictor(None)[0], lambda: open_subject(None).segmenter],
    ids=["load_default", "open_predictor", "open_subject"],
)
def test_the_embedded_model_is_opened_and_probed_once(
    opening: Callable[[], Any], counted: dict[str, int], image: np.ndarray
) -> None:
    with opening() as predictor:
        predictor.predict(image, CLICK)
    assert counted == {"open": 1, "probe": 1}


def test_what_cannot_be_loaded_is_closed(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Predictor] = []
    own = Predictor.close

    def refuse(self: Predictor) -> None:
        raise InferenceError("no memory")

    def close(self: Predictor) -> None:
        closed.append(self)
        own(self)

    monkeypatch.setattr(Predictor, "load", refuse)
    monkeypatch.setattr(Predictor, "close", close)
    with pytest.raises(InferenceError):
        open_predictor(str(toy_bundle))
    assert len(closed) == 1
