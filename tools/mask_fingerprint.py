"""Hashes of every mask that the embedded models draw here: equal before and after means unchanged.

    python tools/mask_fingerprint.py -o before.json
    python tools/mask_fingerprint.py -o after.json --compare before.json

Exports each model for each target that can be written and run here, asks every backend that opens
the files for the same prompts about the shipped photos, and hashes logits, IoU predictions and
masks. It uses only what every version of samedge has in public, so that it runs on an older
checkout too: `PYTHONPATH=OLDER python tools/mask_fingerprint.py`. With --compare it exits with 1
where a hash that both files have differs.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

import samedge
from samedge import runtimes
from samedge.export import export

MODELS = ("samedge-nano", "samedge-pico")
PHOTOS = Path(samedge.__file__).parent / "data" / "photos"

Case = tuple[str, str, str, dict[str, str]]
CASES: tuple[Case, ...] = (
    ("cpu", "fp32", "onnx", {}),
    ("intel", "fp32", "openvino", {}),
    ("torch", "fp32", "pt2", {}),
    ("apple", "fp32", "coreml", {}),
    ("apple", "fp16", "coreml", {"prompts": "apart"}),
    ("jetson", "fp32", "onnx", {}),
)
"""Target, precision, format of the files, and options of the export."""


def prompts(height: int, width: int) -> dict[str, list[samedge.Prompt]]:
    """Prompts of every kind that needs no earlier mask, by name."""

    def at(x: float, y: float) -> list[float]:
        return [x * width, y * height]

    box = [0.2 * width, 0.15 * height, 0.75 * width, 0.8 * height]
    picture = np.zeros((height, width), np.bool_)
    picture[height // 4 : height // 2, width // 4 : width // 2] = True
    click = samedge.Prompt(points=[at(0.5, 0.5)])
    clicks = samedge.Prompt(points=[at(0.4, 0.5), at(0.6, 0.4), at(0.1, 0.9)], labels=[1, 1, 0])
    return {
        "click": [click],
        "clicks": [clicks],
        "box": [samedge.Prompt(box=box)],
        "click in box": [samedge.Prompt(points=[at(0.45, 0.45)], box=box)],
        "mask picture": [samedge.Prompt(points=[at(0.35, 0.35)], mask=picture)],
        "lone mask": [samedge.Prompt(mask=picture)],
        "batch": [click, samedge.Prompt(box=box), clicks, samedge.Prompt(points=[at(0.2, 0.7)])],
    }


def digest(*arrays: Any) -> str:
    """Short SHA-256 over shapes, types and values."""
    found = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        found.update(f"{array.shape} {array.dtype}".encode())
        found.update(array.tobytes())
    return found.hexdigest()[:24]


def hashed(result: Any) -> dict[str, str]:
    """What one prompt's answer hashes to."""
    return {
        "logits": digest(result.low_res_logits),
        "iou_predictions": digest(result.iou_predictions),
        "masks": digest(result.masks),
        "stability": digest(result.stability_scores),
    }


def answers(predictor: Any, path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The hashes of one photo, by prompt."""
    image = samedge.load_image(path)
    embedding = predictor.encode(image)
    yield "embedding", {"data": digest(embedding.data)}
    asked = prompts(*image.shape[:2])
    for name, group in asked.items():
        for index, result in enumerate(predictor.decode_batch(embedding, group)):
            yield f"{name} {index}" if len(group) > 1 else name, hashed(result)
    several = predictor.decode(embedding, asked["click"][0], multimask=True)
    yield "multimask", hashed(several)
    again = samedge.Prompt(points=asked["click"][0].points, mask=several.low_res_logits[0])
    yield "mask prompt", hashed(predictor.decode(embedding, again))
    logits, quality = predictor.decode_logits(embedding, asked["batch"])
    yield "all tokens", {"logits": digest(logits), "iou_predictions": digest(quality)}


def fingerprints(bundle: Path, form: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The hashes of one bundle, by backend."""
    for backend in runtimes.available(form):
        device = "cpu" if "cpu" in runtimes.get(backend).probe().devices else None
        opened = samedge.Predictor.from_bundle(bundle, backend=backend, device=device, threads=1)
        with opened as predictor:
            photos = {p.name: dict(answers(predictor, p)) for p in sorted(PHOTOS.glob("*.jpg"))}
        yield backend, photos


def measured(models: tuple[str, ...], cases: tuple[Case, ...]) -> dict[str, Any]:
    """Hashes by bundle and backend, and those of the exported files."""
    found: dict[str, Any] = {"masks": {}, "files": {}}
    embedded = Path(samedge.__file__).parent / "data" / "nano-cpu"
    for backend, photos in fingerprints(embedded, "onnx"):
        found["masks"][f"embedded on {backend}"] = photos
    with tempfile.TemporaryDirectory() as scratch:
        for model in models:
            for number, (target, precision, form, options) in enumerate(cases):
                if not runtimes.available(form):
                    continue
                name = " ".join([model, target, precision, *options.values()])
                click.echo(name, err=True)
                folder = Path(scratch, f"{model}-{number}")
                export(
                    model, target, output=folder, precision=precision, options=options, gate=False
                )
                for path in sorted(folder.glob("*.onnx")):
                    content = hashlib.sha256(path.read_bytes()).hexdigest()
                    found["files"][f"{name} {path.name}"] = content
                for backend, photos in fingerprints(folder, form):
                    found["masks"][f"{name} on {backend}"] = photos
    return found


def differences(now: Any, before: Any, path: str = "") -> Iterator[str]:
    """Paths of leaves that both documents have and that differ."""
    if isinstance(now, dict) and isinstance(before, dict):
        for key in now.keys() & before.keys():
            yield from differences(now[key], before[key], f"{path}/{key}")
    elif now != before:
        yield path


def leaves(document: Any) -> int:
    """How many hashes a document holds."""
    if isinstance(document, dict):
        return sum(map(leaves, document.values()))
    return 1


@click.command()
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--compare", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", "models", multiple=True, default=MODELS, show_default=True)
@click.option("--target", "targets", multiple=True, help="[default: all that run here]")
def main(
    output: Path | None, compare: Path | None, models: tuple[str, ...], targets: tuple[str, ...]
) -> None:
    """Print the hashes of the embedded models' masks as one JSON document."""
    cases = tuple(case for case in CASES if not targets or case[0] in targets)
    found = {"machine": platform.machine(), **measured(models, cases)}
    text = json.dumps(found, indent=1, sort_keys=True)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
    else:
        click.echo(text)
    if compare is not None:
        before = json.loads(compare.read_text(encoding="utf-8"))
        changed = sorted(differences(found["masks"], before["masks"]))
        files = sorted(differences(found["files"], before["files"]))
        both = leaves(found["masks"]) - len(changed)
        click.echo(f"{both} hashes of masks equal, {len(changed)} differ", err=True)
        click.echo(f"files that differ: {files or 'none'}", err=True)
        for path in changed:
            click.echo(f"differs: {path}", err=True)
        raise SystemExit(1 if changed else 0)


if __name__ == "__main__":
    main()
