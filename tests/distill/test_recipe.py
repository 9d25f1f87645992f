"""Recipes: what is wrong is named, with the nearest right thing, before any work starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch

from samedge.distill.recipe import FeaturesStage, PromptsStage
from samedge.distill.recipe_file import (
    load_recipe,
    parse_recipe,
    recipe_text,
    shipped_recipes,
)
from samedge.distill.student import build_student, initialise
from samedge.errors import RecipeError, UnknownNameError
from samedge.models.zoo import load_model
from tests.distill.training import recipe_text as tiny_text

if TYPE_CHECKING:
    from samedge.distill.data import Mixture

PROMPTS: dict[str, Any] = {"kind": "prompts", "steps": 9}
FEATURES: dict[str, Any] = {"kind": "features", "steps": 9, "teacher": "t.safetensors"}


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_sound_and_their_models_can_be_built(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.summary
    assert recipe.licence
    student = build_student(recipe, image_size=64)
    assert student.image_size == 64


def test_defaults_and_sections_arrive() -> None:
    recipe = parse_recipe(tiny_text(stage=[FEATURES, {**PROMPTS, "prompts": {"box_share": 0.25}}]))
    first, second = recipe.stage
    assert isinstance(first, FeaturesStage)
    assert isinstance(second, PromptsStage)
    assert first.loss == "mse"
    assert second.prompts.box_share == 0.25
    assert second.losses.dice_weight == 1.0
    assert recipe.stage_size(0) == 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modle": {}}, r"Unknown key 'modle' in the recipe\. Did you mean 'model'\?"),
        ({"optim": {"wramup": 1}}, r"'wramup' in \[optim\]\. Did you mean 'warmup'\?"),
        ({"data": {"augment": {"flipp": 1}}}, r"'flipp' in \[data\.augment\].*'flip'\?"),
        ({"data": {"sources": [{"path": "a", "wieght": 1}]}}, r"\[data\.sources\[0\]\].*'weight'"),
        ({"stage": [{**PROMPTS, "hidden": 0.5}]}, r"'hidden' in \[stage\[0\]\] \(kind 'prompts'\)"),
        (
            {"stage": [{**PROMPTS, "losses": {"focal": 1}}]},
            r"\[stage\[0\]\.losses\]\. Did you mean 'focal_",
        ),
        ({"stage": [{**PROMPTS, "kind": "prompt"}]}, r"stage\[0\]\.kind is 'prompt', expected one"),
        ({"stage": [{"steps": 3}]}, r"stage\[0\]\.kind is None, expected one of: features, mae"),
        ({"stage": [{**PROMPTS, "steps": 0}]}, r"Expected `int` >= 1 - at `stage\[0\]\.steps`"),
        ({"stage": []}, r"length >= 1 - at `stage`"),
        ({"run": {"precision": "fp8"}}, r"Invalid enum value 'fp8' - at `run\.precision`"),
        ({"model": {"image_size": 100}}, r"multiple of 32 - at `model\.image_size`"),
        ({"optim": {"lr": "fast"}}, r"Expected `float`, got `str` - at `optim\.lr`"),
        ({"name": "../x"}, r"matching regex .* - at `name`"),
    ],
)
def test_a_wrong_key_or_value_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(tiny_text(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"sources": []}}, r"data\.sources is empty and data\.composites is absent"),
        (
            {"data": {"augment": {"scale": [2.0, 1.0]}}},
            r"scale is \(2\.0, 1\.0\)",
        ),
        (
            {"data": {"composites": {"cutouts": "c", "options": {"objects": [5, 2]}}}},
            r"objects is \(5, 2\)",
        ),
        ({"data": {"augment": {"flip": 7.0}}}, r"flip is 7\.0.* at `data\.augment`"),
        (
            {"stage": [{**PROMPTS, "prompts": {"box_share": 1.5}}]},
            r"box_share is 1\.5.* at `stage\[0\]\.prompts`",
        ),
        ({"model": {"init": "a", "init_decoder": "b"}}, "model.init gives all weights"),
        ({"optim": {"warmup": 6}}, r"steps is 6 and optim\.warmup 6"),
        (
            {"stage": [{**PROMPTS, "encoder": "frozen", "decoder": "frozen"}]},
            "nothing would be trained",
        ),
        ({"stage": [{**PROMPTS, "masks": "teacher"}]}, "masks is 'teacher' but teacher is empty"),
        ({"stage": [{**PROMPTS, "distill": 1.0}]}, "distill is above 0 but teacher is empty"),
        ({"stage": [{**PROMPTS, "teacher": "t"}]}, "teacher is set but unused"),
        (
            {"data": {"sources": [{"path": "a", "format": "images"}]}},
            "masks is 'ground_truth' but data.sources has images without: 'a'",
        ),
        (
            {"stage": [{**PROMPTS, "image_size": 32}, PROMPTS]},
            "a ViT has tables of positions for one size only",
        ),
        (
            {
                "model": {"encoder": "timm", "encoder_options": {"backbone": "test_resnet"}},
                "stage": [{"kind": "mae", "steps": 9}, PROMPTS],
            },
            "kind 'mae' needs model.encoder 'vit', and it is 'timm'",
        ),
        (
            {
                "model": {
                    "encoder": "timm",
                    "encoder_options": {"backbone": "test_resnet", "weights": "w.safetensors"},
                }
            },
            "use model.init_encoder",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(tiny_text(**changes))


def test_what_is_not_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not valid TOML"):
        parse_recipe("name = ")
    with pytest.raises(RecipeError, match="cannot be read"):
        recipe_text(tmp_path / "absent.toml")


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'nano'"):
        recipe_text("nanno")


@pytest.mark.parametrize("name", ["own", "mine"])
def test_the_recipe_for_own_photos_goes_on_from_the_embedded_model(
    name: str, tmp_path: Path
) -> None:
    recipe = load_recipe(name)
    student = build_student(recipe, image_size=512)
    embedded = load_model(recipe.model.init)
    initialise(student, recipe.model, root=tmp_path, samples=cast("Mixture", None))
    mine, theirs = student.state_dict(), embedded.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
