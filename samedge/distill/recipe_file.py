"""Recipes from TOML: found, decoded and checked before any work starts.

An unknown key is answered with the nearest known one, and keys that contradict each other are named
together.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from samedge.distill.recipe import AnyStage, MaeStage, PromptsStage, Recipe, Section, Stage
from samedge.errors import RecipeError, UnknownNameError
from samedge.files.reading import read_bytes


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the package, sorted."""
    folder = resources.files("samedge.distill") / "recipes"
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml")))


def recipe_text(recipe: str | Path) -> str:
    """The TOML text of a recipe file, or of a shipped recipe by its name.

    Raises:
        UnknownNameError: it is neither a file nor a shipped name.
        RecipeError: the file cannot be read.
    """
    path = Path(recipe)
    if path.suffix == ".toml" or path.exists():
        data = read_bytes(
            path, limit="document_bytes", expected="a recipe in TOML", error=RecipeError
        )
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError(f"The recipe {str(path)!r} cannot be read: {error}.") from error
    if str(recipe) not in shipped_recipes():
        raise UnknownNameError("recipe", str(recipe), shipped_recipes())
    file = resources.files("samedge.distill") / "recipes" / f"{recipe}.toml"
    return file.read_text(encoding="utf-8")


def load_recipe(recipe: str | Path) -> Recipe:
    """Read and check a recipe file, or a shipped recipe by its name.

    Raises:
        UnknownNameError: it is neither a file nor a shipped name.
        RecipeError: a key is unknown, missing, of the wrong type, or contradicts another.
    """
    return parse_recipe(recipe_text(recipe))


def parse_recipe(text: str) -> Recipe:
    """Decode and check a recipe's TOML text.

    Raises:
        RecipeError: as in ``load_recipe``.
    """
    try:
        raw = msgspec.toml.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RecipeError(f"The recipe is not valid TOML: {error}.") from error
    _check_keys(raw, Recipe, "")
    try:
        recipe = msgspec.convert(raw, Recipe)
    except msgspec.ValidationError as error:
        problem = str(error).replace(". - at", " - at").replace("$.", "")
        raise RecipeError(f"The recipe does not fit: {problem}.") from error
    problems = list(_contradictions(recipe))
    if problems:
        raise RecipeError("The recipe contradicts itself: " + " ".join(problems))
    return recipe


def _check_keys(raw: Any, expected: Any, where: str) -> None:
    """Raise for the first unknown key of ``raw``, seen as the struct type ``expected``."""
    struct = _struct_for(raw, expected, where)
    if struct is not None and isinstance(raw, dict):
        hints = typing.get_type_hints(struct)
        known = {name: hints[name] for name in _field_names(struct)}
        for key, value in raw.items():
            if key == "kind" and issubclass(struct, Stage):
                continue
            if key not in known:
                raise RecipeError(_unknown_key(key, known, where, struct))
            _check_keys(value, known[key], f"{where}.{key}" if where else key)
    elif isinstance(raw, list):
        arguments = [a for a in typing.get_args(expected) if a is not None]
        item = arguments[0] if typing.get_origin(expected) is list else None
        for index, value in enumerate(raw):
            _check_keys(value, item, f"{where}[{index}]")


def _field_names(struct: type[Any]) -> tuple[str, ...]:
    if dataclasses.is_dataclass(struct):
        return tuple(field.name for field in dataclasses.fields(struct))
    names: tuple[str, ...] = struct.__struct_fields__
    return names


def _struct_for(raw: Any, expected: Any, where: str) -> type[Any] | None:
    options = typing.get_args(expected) or (expected,)
    structs = [
        o
        for o in options
        if isinstance(o, type) and (issubclass(o, Section) or dataclasses.is_dataclass(o))
    ]
    tagged = [s for s in structs if issubclass(s, Stage)]
    if not tagged or not isinstance(raw, dict):
        return structs[0] if structs else None
    kinds = {str(s.__struct_config__.tag): s for s in tagged}
    if raw.get("kind") not in kinds:
        raise RecipeError(
            f"{where}.kind is {raw.get('kind')!r}, expected one of: {', '.join(sorted(kinds))}."
        )
    return kinds[raw["kind"]]


def _unknown_key(key: str, known: dict[str, object], where: str, struct: type[Any]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    place = f"[{where}]" if where else "the recipe"
    if issubclass(struct, Stage):
        place += f" (kind {struct.__struct_config__.tag!r})"
    return f"Unknown key {key!r} in {place}.{hint} Known: {', '.join(sorted(known))}."


def _contradictions(recipe: Recipe) -> Iterator[str]:
    """One sentence for each pair of keys that cannot both be meant."""
    if not recipe.data.sources and recipe.data.composites is None:
        yield "data.sources is empty and data.composites is absent: name something to learn from."
    if recipe.model.init and (recipe.model.init_encoder or recipe.model.init_decoder):
        yield "model.init gives all weights: leave init_encoder and init_decoder out, or init."
    if "weights" in recipe.model.encoder_options:
        yield "model.encoder_options has weights: use model.init_encoder, relative to the data."
    for index, stage in enumerate(recipe.stage):
        yield from (f"stage[{index}]: {text}" for text in _stage_contradictions(recipe, stage))
        if recipe.optim.warmup >= stage.steps:
            yield (
                f"stage[{index}].steps is {stage.steps} and optim.warmup {recipe.optim.warmup}: "
                "the warm-up must end before the stage does."
            )


def _stage_contradictions(recipe: Recipe, stage: AnyStage) -> Iterator[str]:
    if isinstance(stage, PromptsStage):
        if stage.encoder == "frozen" and stage.decoder == "frozen":
            yield "encoder and decoder are both 'frozen': nothing would be trained."
        if stage.masks == "teacher" and not stage.teacher:
            yield "masks is 'teacher' but teacher is empty: name a checkpoint."
        if stage.distill and not stage.teacher:
            yield "distill is above 0 but teacher is empty: name a checkpoint."
        if stage.teacher and stage.masks == "ground_truth" and not stage.distill:
            yield "teacher is set but unused: masks = 'teacher' or distill above 0 uses it."
        plain = [s.path for s in recipe.data.sources if s.format == "images"]
        if plain and stage.masks == "ground_truth":
            yield f"masks is 'ground_truth' but data.sources has images without: {plain[0]!r}."
    if recipe.model.encoder == "vit" and stage.image_size not in {0, recipe.model.image_size}:
        yield (
            f"image_size is {stage.image_size} and model.image_size {recipe.model.image_size}: a "
            "ViT has tables of positions for one size only."
        )
    if isinstance(stage, MaeStage) and recipe.model.encoder != "vit":
        yield f"kind 'mae' needs model.encoder 'vit', and it is {recipe.model.encoder!r}."
