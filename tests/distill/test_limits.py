from __future__ import annotations

from typing import Any

import pytest

from samedge.distill.augment import AugmentConfig
from samedge.distill.composites import CompositeConfig
from samedge.distill.losses import LossConfig
from samedge.distill.prompts import PromptConfig
from samedge.errors import RecipeError


@pytest.mark.parametrize(
    ("kind", "setting", "message"),
    [
        (AugmentConfig, {"flip": 1.5}, "flip is 1.5, expected 0 to 1"),
        (AugmentConfig, {"scale": (0.0, 2.0)}, r"scale is \(0.0, 2.0\), expected"),
        (AugmentConfig, {"scale": (2.0, 0.5)}, "the smaller one first"),
        (AugmentConfig, {"hue": 0.6}, "hue is 0.6"),
        (CompositeConfig, {"objects": (0, 3)}, "objects is"),
        (CompositeConfig, {"extent": (0.0, 0.5)}, "extent is"),
        (PromptConfig, {"box_share": -0.1}, "box_share is -0.1"),
        (PromptConfig, {"click_stride": 0}, "click_stride is 0, expected 1 to 16"),
        (LossConfig, {"focal_alpha": 2.0}, "focal_alpha is 2.0"),
        (LossConfig, {"dice_weight": -1.0}, "dice_weight is -1.0"),
    ],
)
def test_a_setting_out_of_range_is_named(
    kind: type[Any], setting: dict[str, Any], message: str
) -> None:
    kind()
    with pytest.raises(RecipeError, match=message):
        kind(**setting)
