"""benchmarks/training_experiments.py: every arm is a recipe, and no arm sees what is held out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from samedge.distill.recipe_file import parse_recipe
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.models.zoo import load_model
from samedge.pixels.rle import rle_from_mask

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import training_experiments as experiments

DOCUMENT: dict[str, Any] = msgspec.toml.decode(experiments.ARMS.read_bytes())


@pytest.mark.parametrize("arm", [n for n, a in DOCUMENT["arms"].items() if "weights" not in a])
def test_every_arm_is_a_recipe_and_starts_from_one(arm: str, tmp_path: Path) -> None:
    recipe = experiments.recipe_of(DOCUMENT, arm, tmp_path)
    text = "\n".join(f"{key} = {experiments.toml(value)}" for key, value in recipe.items())
    parsed = parse_recipe(text)
    assert parsed.data.validation == 0, "what is held out is left out of the folders already"
    after = DOCUMENT["arms"][arm].get("after")
    assert after is None or after in DOCUMENT["arms"]
    assert bool(after) == bool(parsed.model.init)


def test_tables_are_merged_and_lists_replaced() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}}
    assert experiments.merged(base, {"a": {"c": [3]}, "d": "none"}) == {
        "a": {"b": 1, "c": [3]},
        "d": "none",
    }
    assert base["a"] == {"b": 1, "c": [1, 2]}


@pytest.mark.parametrize("arm", ["wider-features", "wider"])
def test_an_arm_changes_single_options(arm: str, tmp_path: Path) -> None:
    own = experiments.recipe_of(DOCUMENT, arm, tmp_path)["model"]["encoder_options"]
    assert own == {**DOCUMENT["options"]["pyramid"], "width": 192}


def test_a_larger_input_costs_more_and_has_no_more_weights() -> None:
    small, large = (
        experiments.cost(load_model("samedge-pico", image_size=size)) for size in (128, 256)
    )
    assert large["parameters"] == small["parameters"] > 700_000
    assert (small["image_size"], large["image_size"]) == (128, 256)
    assert large["gflop_photo"] == pytest.approx(4 * small["gflop_photo"], rel=0.01)
    assert large["gflop_prompt"] == pytest.approx(4 * small["gflop_prompt"], rel=0.05)


def test_costs_are_those_of_the_arms_own_model() -> None:
    base, wider = experiments.costs("base"), experiments.costs("wider")
    assert base == experiments.cost(load_model("samedge-pico", image_size=256))
    assert wider["gflop_photo"] > 1.2 * base["gflop_photo"]
    assert wider["gflop_prompt"] == base["gflop_prompt"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sources with a few photos more than are held out, twelve masks each."""
    root = tmp_path / "data"
    for name, held in experiments.SOURCES.items():
        folder = root / "train" / name
        (folder / "images").mkdir(parents=True)
        document: dict[str, Any] = {"images": [], "annotations": []}
        for number in range(experiments.HELD_OUT * held + 3):
            file = f"{number:03}.png"
            Image.new("RGB", (24, 16)).save(folder / "images" / file)
            document["images"].append({"id": number, "file_name": file, "height": 16, "width": 24})
            for column in range(12):
                mask = np.zeros((16, 24), np.bool_)
                mask[:, column] = True
                entry = {"image_id": number, "segmentation": rle_from_mask(mask)}
                document["annotations"].append({"id": len(document["annotations"]) + 1, **entry})
        (folder / "instances.json").write_text(json.dumps(document))
    for folder in ("cutouts", "weights"):
        (root / folder).mkdir()
    return root


def test_held_out_photos_are_in_no_training_folder(data: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    experiments.prepare(data, work)
    truth = load_ground_truth(work / "held-out.json", data / "train")
    held = {image.name for image in truth.images}
    assert {len(list(image.instances())) for image in truth.images} == {experiments.MOST_MASKS}
    train = work / "data" / "train"
    for name, count in experiments.SOURCES.items():
        own = {path.name for path in (train / name / "images").iterdir()}
        listed = json.loads((train / name / "instances.json").read_text())
        assert {image["file_name"] for image in listed["images"]} == own
        assert len(own) == 3
        assert len([n for n in held if n.startswith(f"{name}/")]) == experiments.HELD_OUT * count
        assert not {f"{name}/images/{file}" for file in own} & held
    shipped = {
        photo.path.relative_to(data / "train").as_posix()
        for photo in experiments.photos(data)
        if photo.held_out
    }
    assert shipped <= held, "what the shipped weights hold out is held out here, too"


def _record(output: Path, arm: str, *, box: list[float], center: list[float]) -> None:
    scores = [
        experiments.Score(f"{n % 2}.png", box=b, center=c, filled=0.5)
        for n, (b, c) in enumerate(zip(box, center, strict=True))
    ]
    record = experiments.record_of(arm, scores, {"cpu_seconds": 5.0})
    (output / f"{arm}.json").write_text(json.dumps(record))


def test_arms_are_held_against_the_mean_of_the_seeds_object_by_object(tmp_path: Path) -> None:
    _record(tmp_path, "base", box=[0.4, 0.6, 0.8, 0.2], center=[0.1] * 4)
    _record(tmp_path, "base-seed-1", box=[0.6, 0.6, 0.8, 0.4], center=[0.3] * 4)
    _record(tmp_path, "other", box=[0.6, 0.7, 0.9, 0.4], center=[0.2] * 4)
    (tmp_path / "teachers.json").write_text('{"schema": "samedge.teacher-ceilings/1"}')
    lines = {
        line.split()[0]: line for line in experiments.compare(["base", "base-seed-1"], tmp_path)
    }
    assert set(lines) == {"base", "base-seed-1", "other"}
    assert "box 0.650 +0.100 (0.100 to 0.100)" in lines["other"]
    assert "center 0.200 +0.000" in lines["other"]
    assert "box 0.500 -0.100" in lines["base"], "a seed is held against the others"
    assert "center 0.300 +0.200" in lines["base-seed-1"]
    alone = {line.split()[0]: line for line in experiments.compare(["base"], tmp_path)}
    assert "box 0.500 +0.000" in alone["base"]
