"""Recipes: a value or a SamedgeError, as in test_inputs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from samedge.distill.recipe_file import load_recipe, recipe_text
from tests.fuzz.cases import fuzz, only_typed_errors, written
from tests.fuzz.damage import damaged_bytes


@fuzz(600)
@given(st.data())
def test_recipes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(["nano", "pico", "vit"]).map(recipe_text))
    content = data.draw(damaged_bytes(text.encode()))
    with only_typed_errors():
        load_recipe(written(tmp_path_factory, "recipe.toml", content))
