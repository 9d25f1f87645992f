"""Which prompts get a second look, and what comes back for them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.errors import OptionError, PromptError, UnknownNameError
from samedge.predict.focus import FocusSettings
from samedge.predict.predictor import Predictor
from samedge.types import Prompt
from tests.predict.focus.scene import SIZE, SMALL, filled

pytest.importorskip("onnx")


def test_background_clicks_elsewhere_do_not_matter(auto: Predictor, image: np.ndarray) -> None:
    prompt = Prompt(points=[[115, 92], [310, 230]], labels=[1, 0], box=SMALL)
    result = auto.predict(image, prompt)
    assert result.focus is not None
    assert result.masks[0][92, 115]


def test_background_clicks_alone_get_no_second_look(auto: Predictor, image: np.ndarray) -> None:
    prompt = Prompt(points=[[300, 200], [10, 10]], labels=[0, 0])
    assert auto.predict(image, prompt).focus is None


def test_a_click_on_the_thing_beside_its_box_is_shown(auto: Predictor, image: np.ndarray) -> None:
    result = auto.predict(image, Prompt(points=[[160, 92]], box=SMALL))
    assert result.focus is not None
    assert result.focus.region[2] > 160


def test_an_earlier_mask_is_enough(auto: Predictor, image: np.ndarray) -> None:
    result = auto.predict(image, Prompt(mask=filled(SMALL)))
    assert result.focus is not None
    assert result.focus.region == auto.predict(image, Prompt(box=SMALL)).focus.region  # type: ignore[union-attr]


def test_bad_prompts_are_told_by_their_index_or_skipped(auto: Predictor, image: np.ndarray) -> None:
    embedding = auto.encode(image)
    prompts = [Prompt(box=SMALL), Prompt(box=[900, 900, 910, 910]), Prompt(points=[[5, 5]])]
    with pytest.raises(PromptError, match="Prompt 1 of 3"):
        auto.decode_batch(embedding, prompts)
    found = auto.decode_batch(embedding, prompts, on_invalid="skip")
    assert [result is None for result in found] == [False, True, False]


def test_the_caller_may_reuse_its_buffer(auto: Predictor, image: np.ndarray) -> None:
    embedding = auto.encode(image)
    expected = auto.decode(embedding, Prompt(box=SMALL))
    embedding = auto.encode(image)
    image[:] = 0
    assert np.array_equal(
        auto.decode(embedding, Prompt(box=SMALL)).low_res_logits, expected.low_res_logits
    )


def test_an_embedding_can_be_sent(auto: Predictor, image: np.ndarray) -> None:
    embedding = auto.encode(image)
    here = auto.decode(embedding, Prompt(box=SMALL))
    sent = pickle.loads(pickle.dumps(embedding))
    there = auto.decode(sent, Prompt(box=SMALL))
    assert np.array_equal(here.masks, there.masks)


def test_a_part_given_by_the_caller_is_the_look(auto: Predictor, image: np.ndarray) -> None:
    embedding = auto.encode(image, region=(90, 70, 150, 130))
    assert embedding.looks is None
    assert auto.decode(embedding, Prompt(box=SMALL)).focus is None


def test_multimask_gives_three_of_one_look(auto: Predictor, image: np.ndarray) -> None:
    result = auto.decode(auto.encode(image), Prompt(box=SMALL), multimask=True)
    assert result.masks.shape == (3, *SIZE)
    assert result.focus is not None
    assert result.focus.low_res_logits.shape == result.low_res_logits.shape


def test_unknown_words_and_silly_settings_are_refused(toy_bundle: Path, backend: str) -> None:
    mode: Any = "sometimes"
    with pytest.raises(UnknownNameError, match="auto"):
        Predictor.from_bundle(toy_bundle, backend=backend, focus=mode)
    with pytest.raises(OptionError, match="most_looks"):
        FocusSettings(most_looks=0)
    with pytest.raises(OptionError, match="most_unasked"):
        FocusSettings(most_unasked=0)
    with pytest.raises(OptionError, match="wider"):
        FocusSettings(wider=0.5)
