"""Small experiments on training: students that differ in one thing, on equal budgets.

    python benchmarks/training_experiments.py DATA runs/experiments base random
    python benchmarks/training_experiments.py --compare base base-seed-1 base-seed-2
    python benchmarks/training_experiments.py --costs base wider larger

The arms stand in ``training_experiments.toml``. Each is trained by ``samedge distill``, goes on
where it was stopped, and is asked about every held-out photo by box and by one central click, at
its own input size, masks at the photo's. ``shipped`` is pico as it ships, at that size. Held out
are four times as many photos of each source as the shipped weights hold out, those among them; from
each photo at most eight masks. A record has every IoU, so that arms are compared pair by pair.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from samedge.distill.recipe_file import parse_recipe
from samedge.distill.student import build_student
from samedge.distill.train import distill
from samedge.evaluation.ground_truth import Instance, TruthImage, load_ground_truth
from samedge.files.writing import write_bytes, write_text
from samedge.machine.environment import environment
from samedge.models.checkpoints import load_checkpoint
from samedge.models.promptable import PromptableModel
from samedge.models.zoo import load_model
from samedge.pixels import metrics
from samedge.pixels.prompts import feeds_of
from samedge.proof.reference import TorchReference
from samedge.types import IMAGE, IOU_PREDICTIONS, LOW_RES_MASKS, Array, Prompt, Role

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from pack_training import SOURCES, photos

ARMS = Path(__file__).with_suffix(".toml")
RECORDS = Path(__file__).parent / "results" / "training-experiments"
HELD_OUT = 4
"""Times as many photos are held out as for the shipped weights."""

MOST_MASKS = 8
PROMPTS = ("box", "center")


class Score(NamedTuple):
    """What one model said of one object.

    Attributes:
        photo: its name.
        box: IoU from the box.
        center: IoU from one central click.
        filled: IoU of the box itself.
    """

    photo: str
    box: float
    center: float
    filled: float


# --- data ---


def prepare(data: Path, work: Path) -> None:
    """Make ``work/data``: training photos by links, and ``work/held-out.json``; once."""
    if (work / "held-out.json").exists():
        return
    shutil.rmtree(work / "data", ignore_errors=True)
    ranks: dict[int, int] = dict.fromkeys(range(len(SOURCES)), 0)
    held: dict[str, list[Any]] = {"images": [], "annotations": []}
    kept: dict[str, set[str]] = {name: set() for name in SOURCES}
    rng = np.random.default_rng(0)
    for photo in photos(data):
        name = list(SOURCES)[photo.source]
        if ranks[photo.source] < HELD_OUT * SOURCES[name]:
            relative = photo.path.relative_to(data / "train").as_posix()
            chosen = sorted(rng.permutation(len(photo.masks))[:MOST_MASKS])
            _note(held, relative, [photo.masks[i] for i in chosen])
        else:
            kept[name].add(photo.path.name)
        ranks[photo.source] += 1
    for name, files in kept.items():
        _link(data / "train" / name, work / "data" / "train" / name, files)
    for folder in ("cutouts", "weights"):
        (work / "data" / folder).symlink_to((data / folder).resolve())
    held["categories"] = [{"id": 1, "name": "object"}]
    write_text(work / "held-out.json", json.dumps(held))


def _note(held: dict[str, list[Any]], name: str, masks: Sequence[Mapping[str, Any]]) -> None:
    height, width = masks[0]["size"]
    number = len(held["images"]) + 1
    held["images"].append({"id": number, "file_name": name, "height": height, "width": width})
    for mask in masks:
        held["annotations"].append(
            {
                "id": len(held["annotations"]) + 1,
                "image_id": number,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": dict(mask),
            }
        )


def _link(source: Path, target: Path, files: set[str]) -> None:
    (target / "images").mkdir(parents=True)
    document = json.loads((source / "instances.json").read_text())
    document["images"] = [i for i in document["images"] if i["file_name"] in files]
    numbers = {image["id"] for image in document["images"]}
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] in numbers]
    (target / "instances.json").write_text(json.dumps(document))
    for file in files:
        (target / "images" / file).symlink_to((source / "images" / file).resolve())


# --- recipes ---


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, table by table."""
    result = copy.deepcopy(dict(base))
    for key, value in changes.items():
        own = result.get(key)
        if isinstance(own, dict) and isinstance(value, dict):
            result[key] = merged(own, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def recipe_of(document: Mapping[str, Any], name: str, work: Path) -> dict[str, Any]:
    """The recipe of an arm, as plain values.

    Args:
        document: of the file of arms.
        name: of the arm.
        work: folder of the runs.
    """
    arm = dict(document["arms"][name])
    after = arm.pop("after", None)
    stages = arm.pop("stage", [{"kind": "prompts"}])
    recipe = merged(document["base"], arm)
    prompts = recipe.pop("prompts")
    recipe["stage"] = [merged(prompts, s) if s["kind"] == "prompts" else dict(s) for s in stages]
    model = recipe["model"]
    for kind in ("encoder", "decoder"):
        own = model.get(f"{kind}_options", {})
        model[f"{kind}_options"] = merged(document["options"][model[kind]], own)
    if after:
        model["init"] = str((work / after / "last.safetensors").resolve())
    if recipe["data"].get("composites") == "none":
        del recipe["data"]["composites"]
    return recipe


def toml(value: Any) -> str:
    """A value as TOML in one line; JSON and TOML agree on all but tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def train(name: str, recipe: Mapping[str, Any], work: Path) -> float:
    """Train an arm to its end, or on from where it was stopped; CPU seconds of this sitting."""
    folder = work / name
    text = "\n".join(f"{key} = {toml(value)}" for key, value in recipe.items())
    parse_recipe(text)
    write_text(work / f"{name}.toml", text + "\n")
    started = time.process_time()
    resume = (folder / "state.pt").exists()
    result = distill(
        work / f"{name}.toml",
        work / "data",
        output=folder,
        resume=resume,
        stage=lambda said: print(f"{name}: {said}", file=sys.stderr, flush=True),
    )
    spent = time.process_time() - started
    with (folder / "cpu-seconds.txt").open("a") as file:
        file.write(f"{spent:.1f}\n")
    if result.interrupted:
        raise SystemExit(130)
    return sum(float(line) for line in (folder / "cpu-seconds.txt").read_text().split())


# --- accuracy ---


def scores(model: PromptableModel, images: Sequence[TruthImage]) -> Iterator[Score]:
    """Ask a model about every object, by box and by one click."""
    graphs = TorchReference(model.eval())
    for image in images:
        pixels = image.pixels()
        view = model.frame.view_of(pixels)
        tensors = graphs.run(Role.ENCODER, {IMAGE: view.encoder_input(pixels)})
        things = list(image.instances())
        prompts = [_box(thing) for thing in things] + [_click(thing) for thing in things]
        answer = graphs.run(Role.DECODER, {**tensors, **feeds_of(prompts, view)})
        count = len(things)
        token = np.zeros(2 * count, int)
        token[count:] = answer[IOU_PREDICTIONS][count:, 1:].argmax(1) + 1
        masks = view.logits(answer[LOW_RES_MASKS][np.arange(2 * count), token]) > 0
        for thing, box, click in zip(things, masks[:count], masks[count:], strict=True):
            by_box, by_click, filled = (
                metrics.mask_iou(thing.mask, mask) for mask in (box, click, _filled(thing))
            )
            yield Score(image.name, box=by_box, center=by_click, filled=filled)


def _box(thing: Instance) -> Prompt:
    return Prompt(box=thing.box)


def _filled(thing: Instance) -> Array:
    """(H, W) bool, the box taken for the mask."""
    x0, y0, x1, y1 = (round(value) for value in thing.box)
    mask = np.zeros(thing.mask.shape, np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def _click(thing: Instance) -> Prompt:
    return Prompt(points=[thing.center], labels=[1])


def record_of(name: str, found: Sequence[Score], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The document of one arm."""
    names = sorted({score.photo for score in found})
    groups = [score.photo for score in found]
    results = {}
    for prompt in PROMPTS:
        values = [getattr(score, prompt) for score in found]
        ends = metrics.bootstrap_mean(values, groups)
        results[prompt] = {"miou": float(np.mean(values)), "ci95": ends, "n": len(values)}
    return {
        "schema": "samedge.training-experiment/1",
        "arm": name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **facts,
        "results": results,
        "filled_box": float(np.mean([score.filled for score in found])),
        "photos": names,
        "instances": {
            "photo": [names.index(score.photo) for score in found],
            **{p: [round(getattr(score, p), 4) for score in found] for p in PROMPTS},
        },
        "environment": msgspec.to_builtins(environment()),
    }


def cost(model: PromptableModel) -> dict[str, Any]:
    """Parameters, and GFLOP (two a multiplication with its addition) of a photo and of a prompt."""
    frame = model.frame
    pixels = np.zeros((model.image_size, model.image_size, 3), np.uint8)
    view = frame.view_of(pixels)
    graphs = TorchReference(model)
    with FlopCounterMode(display=False) as photo:
        tensors = graphs.run(Role.ENCODER, {IMAGE: view.encoder_input(pixels)})
    click = Prompt(points=[(1, 1)], labels=[1])
    with FlopCounterMode(display=False) as prompt:
        graphs.run(Role.DECODER, {**tensors, **feeds_of([click], view)})
    return {
        "image_size": model.image_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "gflop_photo": photo.get_total_flops() / 1e9,
        "gflop_prompt": prompt.get_total_flops() / 1e9,
    }


def costs(name: str) -> dict[str, Any]:
    """What the model of an arm costs, which is not trained for it."""
    document = msgspec.toml.decode(ARMS.read_bytes())
    recipe = recipe_of(document, name, Path())
    parsed = parse_recipe("\n".join(f"{key} = {toml(value)}" for key, value in recipe.items()))
    return cost(build_student(parsed, image_size=parsed.model.image_size).eval())


# --- one arm, and arms beside each other ---


def carry_out(name: str, data: Path, work: Path, output: Path) -> None:
    """Train and measure an arm, unless its record is there; the arm that it starts from first."""
    if (output / f"{name}.json").exists():
        return
    document = msgspec.toml.decode(ARMS.read_bytes())
    arm = document["arms"][name]
    after = arm.get("after")
    if after:
        carry_out(after, data, work, output)
    if "weights" in arm:
        size = merged(document["base"], arm)["model"]["image_size"]
        model = load_model(arm["weights"], image_size=size)
        facts = {"weights": arm["weights"], "cpu_seconds": 0.0}
    else:
        recipe = recipe_of(document, name, work)
        facts = {
            "after": after,
            "seed": recipe["run"].get("seed", 0),
            "stages": recipe["stage"],
            "pictures": sum(stage["steps"] * stage["batch_size"] for stage in recipe["stage"]),
            "cpu_seconds": train(name, recipe, work),
        }
        model = load_checkpoint(work / name / "last.safetensors")
    facts["cost"] = cost(model.eval())
    truth = load_ground_truth(work / "held-out.json", data / "train")
    written = record_of(name, list(scores(model, truth.images)), facts)
    write_bytes(output / f"{name}.json", msgspec.json.encode(written) + b"\n")
    print(name, written["results"], f"{facts['cpu_seconds']:.0f} s of CPU", flush=True)


def compare(bases: Sequence[str], output: Path) -> Iterator[str]:
    """A line an arm: its means, and what it gains, object by object, on the mean of some arms.

    One of those is held against the others: that is the noise of their seeds.

    Args:
        bases: names of arms alike but for their seeds.
        output: folder of the records.
    """
    records = {path.stem: json.loads(path.read_text()) for path in sorted(output.glob("*.json"))}
    records = {k: r for k, r in records.items() if r["schema"] == "samedge.training-experiment/1"}
    for name, record in records.items():
        others = [records[base]["instances"] for base in bases if base != name or len(bases) == 1]
        line = [f"{name:18}"]
        for prompt in PROMPTS:
            mean = record["results"][prompt]["miou"]
            gains = np.array(record["instances"][prompt]) - np.mean(
                [other[prompt] for other in others], axis=0
            )
            ends = metrics.bootstrap_mean(list(gains), record["instances"]["photo"])
            assert ends is not None
            line.append(f"{prompt} {mean:.3f} {gains.mean():+.3f} ({ends[0]:.3f} to {ends[1]:.3f})")
        own = record.get("cost")
        if own:
            line.append(f"{own['gflop_photo']:.2f} + {own['gflop_prompt']:.3f} GFLOP")
        yield "  ".join([*line, f"{record['cpu_seconds']:.0f} s"])


def main() -> None:
    """Parse, and carry out or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("work", type=Path, nargs="?")
    parser.add_argument("arms", nargs="*")
    parser.add_argument("--compare", metavar="ARM", nargs="+")
    parser.add_argument("--costs", metavar="ARM", nargs="+", help="Parameters and arithmetic.")
    parser.add_argument("-o", "--output", type=Path, default=RECORDS)
    arguments = parser.parse_args()
    if arguments.costs:
        for name in arguments.costs:
            print(name, json.dumps(costs(name)))
        return
    if arguments.compare:
        print(*compare(arguments.compare, arguments.output), sep="\n")
        return
    if not arguments.data or not arguments.work:
        parser.error("give DATA and WORK, or --compare ARM, or --costs ARM")
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    arguments.work.mkdir(parents=True, exist_ok=True)
    prepare(arguments.data, arguments.work)
    for name in arguments.arms:
        carry_out(name, arguments.data, arguments.work, arguments.output)


if __name__ == "__main__":
    main()
