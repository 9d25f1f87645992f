"""Fit the strength of a painted decoder's prior to the photos that a recipe holds out.

    python tools/fit_prior.py runs/nano/last.safetensors --data DATA --output fit.safetensors

Training draws photos, an evaluation counts instances, and a loss that is calibrated for pixels
leaves doubtful ones out although IoU wants them in. Three numbers make up for it: what is added to
the box prior's edge term, to the same for small boxes, and to the click prior's bias. They are
swept on photos that were neither trained on nor belong to the evaluation, and the best mean IoU is
kept. (Photos that were trained on many times would say that no prior is needed.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import click
import msgspec
import torch

from samedge.distill.data import Sample
from samedge.distill.losses import mask_coverage, thresholded_iou, valid_coverage
from samedge.distill.prompts import PromptConfig, first_prompts
from samedge.distill.recipe import Recipe
from samedge.distill.recipe_file import parse_recipe, recipe_text
from samedge.distill.sources import validation_mixture
from samedge.distill.stages import decode_rows, rows_of
from samedge.models.checkpoints import load_checkpoint, save_checkpoint
from samedge.models.painted import PaintedSam
from samedge.models.promptable import PromptableModel

SHIFTS = {
    "edge_weight": (-0.5, 0.0, 0.5, 1.0),
    "small_weight": (0.0, 1.0, 2.0, 3.0),
    "click_bias": (-1.0, -0.5, 0.0, 0.5),
}
"""What is tried for each weight of the prior, in this order."""

BOX = PromptConfig(box_share=1.0, box_noise=0.0)
POINT = PromptConfig(box_share=0.0, central_share=1.0)
GRID = 256
"""Side of the grid that masks are compared on."""

Kept = Sequence[tuple[Sample, Mapping[str, torch.Tensor]]]


def samples(recipe: Recipe, root: Path) -> Iterator[Sample]:
    """The recipe's held-out photos as in deployment, with up to 16 of their masks."""
    data = msgspec.structs.replace(recipe.data, masks=16)
    mixture = validation_mixture(data, root, image_size=recipe.model.image_size)
    if mixture is None:
        raise click.UsageError("The recipe holds no photos out: set data.validation.")
    for index in range(len(mixture)):
        sample = mixture[index]
        yield Sample(**{key: value[None] for key, value in sample.items()})  # type: ignore[index, typeddict-item]


@torch.no_grad()
def score(model: PromptableModel, kept: Kept, prompts: PromptConfig) -> float:
    """Mean IoU over instances, of the token that the runtime takes."""
    scores = []
    for batch, embedding in kept:
        rows = rows_of(batch)
        drawn = first_prompts(rows.masks, torch.Generator().manual_seed(0), config=prompts)
        logits, quality = decode_rows(model, embedding, prompts=drawn, per_image=rows.per_image)
        fine = torch.nn.functional.interpolate(logits, size=(GRID, GRID), mode="bilinear")
        target = (mask_coverage(rows.masks, GRID) > 0.5).float()
        weight = valid_coverage(rows.valid_size, GRID, image_size=model.image_size)
        iou = thresholded_iou(fine, target, weight=weight)
        token = torch.where(drawn.ambiguous, 1 + quality[:, 1:].argmax(1), 0)
        scores.append(iou.gather(1, token[:, None])[:, 0][rows.valid])
    return float(torch.cat(scores).mean())


def sweep(weight: torch.nn.Parameter, measure: Callable[[], float], *, name: str) -> None:
    """Leave ``weight`` at the shift with the best score."""
    start = weight.data.clone()
    found = {}
    for shift in SHIFTS[name]:
        weight.data = start + shift
        found[shift] = measure()
        click.echo(f"{name} {shift:+.1f}: mIoU {found[shift]:.4f}", err=True)
    weight.data = start + max(found, key=lambda shift: found[shift])


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--recipe", default="nano", show_default=True, help="Whose held-out photos.")
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(weights: Path, data: Path, *, recipe: str, output: Path) -> None:
    """Fit the prior of WEIGHTS and write OUTPUT."""
    model = load_checkpoint(weights)
    if not isinstance(model, PaintedSam) or model.spec is None:
        raise click.UsageError(f"{weights} has no painted decoder.")
    with torch.no_grad():
        photos = samples(parse_recipe(recipe_text(recipe)), data)
        kept = [(batch, model.embed(batch["image"])) for batch in photos]
    for name, prompts in (("edge_weight", BOX), ("small_weight", BOX), ("click_bias", POINT)):
        measure = functools.partial(score, model, kept, prompts)
        sweep(getattr(model.decoder, name), measure, name=name)
    save_checkpoint(model, output, spec=model.spec)


if __name__ == "__main__":
    main()
