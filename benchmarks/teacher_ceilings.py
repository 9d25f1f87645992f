"""How good would a teacher be? Nano's own masks, two models together, mirrored, larger, closer.

    python tools/held_out.py DATA -o held-out.json
    python benchmarks/teacher_ceilings.py held-out.json DATA/train --bundles runs/sizes \\
        -o benchmarks/results/training-experiments/teacher-ceilings.json

Nothing is trained. Every way of asking sees the same photos and prompts, photo by photo in turns,
on one thread; its processor time a photo is measured with it, each kind of prompt by itself.
Bundles of nano for other input sizes are exported where they are missing.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from samedge.evaluation.ground_truth import Instance, load_ground_truth
from samedge.export import export
from samedge.files.writing import write_bytes
from samedge.machine.environment import environment
from samedge.pixels import metrics
from samedge.pixels.frames import View
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import open_predictor
from samedge.types import Array, Prompt

SIZES = (768, 1024)
MOST_THINGS = 8
PROMPTS = ("box", "center")

Asking = Callable[[Array, Sequence[Instance], str], list[Array]]
"""Masks of a photo's things, by one kind of prompt."""


def prompts_of(things: Sequence[Instance], kind: str, *, mirrored: int = 0) -> list[Prompt]:
    """One prompt a thing; ``mirrored`` is the photo's width where left and right are exchanged."""
    found = []
    for thing in things:
        if kind == "box":
            x0, y0, x1, y1 = thing.box
            box = (mirrored - x1, y0, mirrored - x0, y1) if mirrored else thing.box
            found.append(Prompt(box=box))
        else:
            x, y = thing.center
            found.append(Prompt(points=[(mirrored - 1 - x if mirrored else x, y)], labels=[1]))
    return found


class Said(NamedTuple):
    """What one predictor said of a photo's things, by one kind of prompt.

    Attributes:
        low: (N, 4, S/4, S/4) logits.
        ious: (N, 4) predicted IoU.
        view: how the photo got in.
        mirrored: whether its left and right were exchanged.
    """

    low: Array
    ious: Array
    view: View
    mirrored: bool

    def logits(self, tokens: Array) -> Array:
        """(N, H, W): of each thing the mask of its token, at the photo's size, not mirrored."""
        fine = self.view.logits(self.low[np.arange(len(self.low)), tokens])
        return fine[..., ::-1] if self.mirrored else fine


def said(
    predictor: Predictor, pixels: Array, things: Sequence[Instance], kind: str, *, mirror: bool
) -> Said:
    """What a predictor says of a photo."""
    width = pixels.shape[1] if mirror else 0
    embedding = predictor.encode(np.ascontiguousarray(pixels[:, ::-1]) if mirror else pixels)
    low, ious = predictor.decode_logits(embedding, prompts_of(things, kind, mirrored=width))
    return Said(low, ious, embedding.view, mirror)


def together(asked: Sequence[tuple[Predictor, bool]]) -> Asking:
    """Mean logits of several predictors, each of the photo as it is or mirrored.

    For a click the candidate is chosen by the mean predicted IoU.
    """

    def ask(pixels: Array, things: Sequence[Instance], kind: str) -> list[Array]:
        each = [said(p, pixels, things, kind, mirror=mirror) for p, mirror in asked]
        tokens = np.zeros(len(things), int)
        if kind == "center":
            tokens = np.mean([one.ious for one in each], axis=0)[:, 1:].argmax(1) + 1
        return list(np.mean([one.logits(tokens) for one in each], axis=0) > 0)

    return ask


def decoded(predictor: Predictor) -> Asking:
    """A predictor with whatever it does by itself, such as a second look."""

    def ask(pixels: Array, things: Sequence[Instance], kind: str) -> list[Array]:
        prompts = prompts_of(things, kind)
        return [m.masks[0] for m in predictor.decode_batch(predictor.encode(pixels), prompts)]

    return ask


def subjects(bundles: Path, stack: contextlib.ExitStack) -> dict[str, Asking]:
    """Every way of asking by its name."""

    def opened(name: str, **options: Any) -> Predictor:
        predictor, _ = open_predictor(name, backend="onnxruntime", threads=1, **options)
        return stack.enter_context(predictor)

    nano, pico = opened("samedge-nano"), opened("samedge-pico")
    found = {
        "nano": together([(nano, False)]),
        "nano-flips": together([(nano, False), (nano, True)]),
        "nano-refined": decoded(opened("samedge-nano", refine=1)),
        "nano-focus": decoded(opened("samedge-nano", focus="auto")),
        "pico": together([(pico, False)]),
        "pico-focus": decoded(opened("samedge-pico", focus="auto")),
        "both": together([(nano, False), (pico, False)]),
        "both-flips": together(
            [(model, mirror) for model in (nano, pico) for mirror in (False, True)]
        ),
    }
    for size in SIZES:
        folder = bundles / f"nano-{size}"
        if not folder.exists():
            export("samedge-nano", "cpu", output=folder, input_size=size, gate=False)
        found[f"nano-{size}"] = together([(opened(str(folder)), False)])
    return found


def measured(asked: dict[str, Asking], images: Sequence[Any]) -> dict[str, Any]:
    """IoU of every thing and processor time of every photo, by subject."""
    rows: dict[str, Any] = {
        name: {kind: {"ious": [], "seconds": []} for kind in PROMPTS} for name in asked
    }
    owner: list[int] = []
    for number, image in enumerate(images):
        pixels, things = image.pixels(), list(itertools.islice(image.instances(), MOST_THINGS))
        owner += [number] * len(things)
        for (name, ask), kind in itertools.product(asked.items(), PROMPTS):
            started = time.process_time()
            masks = ask(pixels, things, kind)
            row = rows[name][kind]
            row["seconds"].append(time.process_time() - started)
            row["ious"] += [metrics.mask_iou(t.mask, m) for t, m in zip(things, masks, strict=True)]
    return {"owner": owner, "rows": rows}


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Means, differences from nano with their intervals, and time."""
    owner, rows = found["owner"], found["rows"]
    table: dict[str, Any] = {}
    for name, row in rows.items():
        table[name] = {}
        for kind, own in row.items():
            gain = np.array(own["ious"]) - np.array(rows["nano"][kind]["ious"])
            table[name][kind] = {
                "miou": float(np.mean(own["ious"])),
                "ci95": metrics.bootstrap_mean(own["ious"], owner),
                "gain": float(gain.mean()),
                "gain_ci95": metrics.bootstrap_mean(list(gain), owner),
                "cpu_seconds_a_photo": float(np.mean(own["seconds"])),
            }
    return table


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    truth = load_ground_truth(arguments.dataset, arguments.images)
    images = truth.images[: arguments.limit]
    with contextlib.ExitStack() as stack:
        found = measured(subjects(arguments.bundles, stack), images)
    table = summary(found)
    document = {
        "schema": "samedge.teacher-ceilings/1",
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "photos": len(images),
        "things": len(found["owner"]),
        "results": table,
        "instances": {
            "photo": found["owner"],
            "rows": {
                name: {kind: [round(v, 4) for v in own["ious"]] for kind, own in row.items()}
                for name, row in found["rows"].items()
            },
        },
        "environment": msgspec.to_builtins(environment()),
    }
    write_bytes(arguments.output, msgspec.json.format(msgspec.json.encode(document), indent=1))
    for name, entry in table.items():
        print(name, json.dumps(entry))


if __name__ == "__main__":
    main()
