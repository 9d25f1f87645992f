"""Frame, padding and thresholds are the manifest's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from samedge.bundle.bundle import Bundle
from samedge.errors import (
    PromptError,
)
from samedge.pixels.frames import SQUARE, Frame
from samedge.predict.predictor import Predictor
from samedge.types import Prompt

pytest.importorskip("onnx")

from tests.predict.copies import CLICK, rewritten
from tests.toys.bundle import (
    SIDE,
)


def test_the_frame_of_the_manifest_is_the_runtimes(copied: Path, image: np.ndarray) -> None:
    square = rewritten(copied, frame=Frame(target_length=SIDE, resize=SQUARE), canary_sha256=None)
    with Predictor.from_bundle(square) as predictor:
        embedding = predictor.encode(image)
        assert embedding.input_size == (SIDE, SIDE)
        masks = predictor.decode(embedding, Prompt(box=[24, 16, 104, 72])).masks
    expected = np.zeros((96, 128), np.bool_)
    expected[16:72, 24:104] = True
    assert (masks[0] & expected).sum() / (masks[0] | expected).sum() > 0.85


def test_padding_of_the_manifest_is_the_canarys(copied: Path) -> None:
    """An altered padding is what the canary sees too."""
    frame = Frame(target_length=SIDE, pad_value=(255, 0, 0))
    bundle = rewritten(copied, frame=frame)
    with pytest.raises(Exception, match=r"canary picture|nearly the same"):
        Predictor.from_bundle(bundle)


def test_thresholds_of_the_manifest_cut_the_masks(copied: Path, image: np.ndarray) -> None:
    with Predictor.from_bundle(copied) as predictor:
        usual = predictor.predict(image, CLICK)
    cuts = Bundle.open(copied).manifest.thresholds
    high = msgspec.structs.replace(cuts, mask=1.0, stability_offset=0.25)
    with Predictor.from_bundle(rewritten(copied, thresholds=high)) as predictor:
        other = predictor.predict(image, CLICK)
    assert 0 < other.masks.sum() < usual.masks.sum()
    assert other.stability_scores[0] > usual.stability_scores[0]


# ---- regions and invalid prompts


def test_region_is_decoded_in_the_images_own_pixels(toy_bundle: Path, image: np.ndarray) -> None:
    with Predictor.from_bundle(toy_bundle) as predictor:
        embedding = predictor.encode(image, region=(32, 24, 96, 88))
        assert embedding.input_size == (SIDE, SIDE)
        result = predictor.decode(embedding, CLICK)
        assert result.masks.shape == (1, 96, 128)
        rows, columns = np.nonzero(result.masks[0])
        assert np.allclose((columns.mean(), rows.mean()), (64.5, 48.5), atol=1)
        whole = predictor.predict(image, CLICK)
        assert result.masks.sum() == pytest.approx(whole.masks.sum() / 4, rel=0.1)
        assert not result.masks[0, :24].any()
        assert not result.masks[0, :, 96:].any()
        with pytest.raises(PromptError, match="outside the region"):
            predictor.decode(embedding, Prompt(points=[[5, 5]]))
