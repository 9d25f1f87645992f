from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import samedge
from samedge.errors import PromptError
from samedge.predict import everything
from samedge.types import Array
from tests.predict.words.test_finding import COLOURS, PLACES, REGIONS, SIZE
from tests.toys.words import proposals_of, write_words_bundle

pytest.importorskip("onnxruntime")


@pytest.fixture
def predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[samedge.Predictor]:
    """A predictor whose everything mode finds the three places."""
    write_words_bundle(tmp_path / "toy")
    own = proposals_of(REGIONS)
    monkeypatch.setattr(everything, "proposals", lambda *args, **options: own)
    with samedge.Predictor.from_bundle(tmp_path / "toy") as opened:
        yield opened


@pytest.fixture
def image() -> Array:
    picture = np.full((*SIZE, 3), 128, np.uint8)
    x0, y0, x1, y1 = PLACES["red"]
    picture[y0:y1, x0:x1] = COLOURS["red"]
    return picture


def test_find_gives_word_score_and_region(predictor: samedge.Predictor, image: Array) -> None:
    found = predictor.find("red, green", image)
    (region,) = found.regions
    assert (region.word, region.region) == ("red", REGIONS[0])
    assert [answer.found for answer in found.words] == [1, 0]
    assert not predictor.find("red", image, threshold=1 - 1e-9).regions


def test_words_are_a_prompt(predictor: samedge.Predictor, image: Array) -> None:
    result = predictor.predict(image, samedge.Prompt(text="reds"))
    assert result.masks.shape == (1, *SIZE)
    np.testing.assert_array_equal(result.masks[0], REGIONS[0].mask)
    assert result.iou_predictions.tolist() == pytest.approx([0.9])
    again = predictor.predict(image, samedge.Prompt(mask=result.low_res_logits[0]))
    assert again.masks.shape == (1, *SIZE)


def test_nothing_found_is_an_empty_result(predictor: samedge.Predictor, image: Array) -> None:
    result = predictor.predict(image, samedge.Prompt(text="green"))
    assert result.masks.shape == (0, *SIZE)
    assert result.low_res_logits.shape[0] == 0


def test_words_go_alone(predictor: samedge.Predictor, image: Array) -> None:
    with pytest.raises(PromptError, match="give either alone"):
        samedge.Prompt(points=[[1, 1]], text="red")
    with pytest.raises(PromptError, match="no candidates"):
        predictor.predict(image, samedge.Prompt(text="red"), multimask=True)
    assert samedge.Prompt(text="red").kinds == ("text",)
    assert not samedge.Prompt(text="red").is_ambiguous
