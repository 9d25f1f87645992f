"""Train the embedded model of words: `samedge/models/weights/samedge-words.safetensors`.

    python tools/train_words.py ../shared/data --bundle out/nano --cache runs/words

The trunk is MobileNetV2 with its ImageNet weights, unchanged. The last convolution is that of
ImageNet, thinned out to the channels that tell COCO's things apart. What is trained is one linear
layer from there to COCO's 80 things and one row for everything else: on the named objects of
`train/coco` and `train/coco_other`, and on regions of everything mode that cover none
of them. It is held to where ImageNet's own classifier puts the same things, because most of them
have but a handful of objects here. The threshold is set on photos that a second fit has not seen.
Nothing of `eval` is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import msgspec
import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from words_samples import (
    ELSE,
    FOLDS,
    IMAGENET,
    NAMES,
    Photo,
    Samples,
    features,
    imagenet_rows,
    proposals,
    read_photos,
    say,
)

from samedge.bundle.bundle import Bundle
from samedge.bundle.words import Word
from samedge.models.words.head import HeadSpec, WordHead, off_grid, on_grid, save_head
from samedge.models.words.trunk import Convolution
from samedge.models.words.vocabulary import coco_words
from samedge.models.zoo import WEIGHTS
from samedge.pixels import metrics
from samedge.pixels.rle import mask_from_rle
from samedge.predict.words.choosing import kept_rows
from samedge.predict.words.regions import log_sum_exp
from samedge.types import Array, Rle

WIDE = 1280  # channels of ImageNet's own last convolution
PERSONS = 0.3  # share of COCO's instances; of those at hand it is 0.58
ELSES = 0.5  # of the loss
THRESHOLDS = np.linspace(-3.0, 3.0, 25)
MOST_ALARMS = 0.12  # of absent words; the bar is 0.20
WORST_TOP1, FEWEST = 0.15, 10
"""A word with so many objects that is named rightly less often is off."""
LICENCE = "Apache-2.0"
ORIGIN = "trained by samedge from MobileNetV2's ImageNet weights; data and recipe in docs/words.md"


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--bundle", required=True, help="What proposes regions: a bundle of the embedded model."
)
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/words"))
@click.option("--proposed", default=120, show_default=True, help="Photos to propose regions on.")
@click.option("--points", default=20, show_default=True, help="Clicks a side of everything mode.")
@click.option("--side", default=128, show_default=True)
@click.option("--channels", default=256, show_default=True)
@click.option("--enlarge", default=1.2, show_default=True)
@click.option("--outside", default=0.2, show_default=True)
@click.option("--hold", default=3e-3, show_default=True, help="How tightly to ImageNet's rows.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=WEIGHTS / "samedge-words.safetensors"
)
def main(
    data: Path,
    *,
    bundle: str,
    cache: Path,
    proposed: int,
    points: int,
    side: int,
    channels: int,
    enlarge: float,
    outside: float,
    hold: float,
    output: Path,
) -> None:
    """Train on the folder DATA and write the weights."""
    opened = Bundle.open(bundle)
    cache = cache / f"{opened.id}-{points}-{proposed}"  # other settings propose other regions
    cache.mkdir(parents=True, exist_ok=True)
    photos = sorted(read_photos(data / "train"), key=lambda photo: photo.order)
    whole = [photo for photo in photos if photo.is_complete][:proposed]
    regions = proposals(whole, bundle, points=points, path=cache / "proposals.json")
    wide = head_of(spec_of(side, WIDE, enlarge, outside), data / "weights")
    name = f"features-{side}-{enlarge}-{outside}-{len(regions)}.npz"
    found = features(wide, photos, regions, path=cache / name)
    rows = imagenet_rows(data / "weights")
    things = (found.labels >= 0) & (found.labels < ELSE)
    spread = found.where(things).features.std(0)
    order = np.argsort(-np.abs(rows[:ELSE]).mean(0) * spread)
    kept = np.sort(order[:channels])
    found = dataclasses.replace(found, features=found.features[:, kept])
    spec = spec_of(side, channels, enlarge, outside)
    spec, table = fitted(found, rows[:, kept], hold=hold, spec=spec, photos=photos, runs=regions)
    words = head_of(spec, data / "weights", kept=kept, table=table)
    save_head(words, output)
    say(f"{output}: {output.stat().st_size} bytes, threshold {spec.threshold:.3f}")


def spec_of(side: int, channels: int, enlarge: float, outside: float) -> HeadSpec:
    """What is trained, without a threshold yet."""
    words = (*coco_words(), Word(name="something else", is_askable=False))
    return HeadSpec(
        side=side,
        channels=channels,
        enlarge=enlarge,
        outside=outside,
        threshold=0.0,
        suppression=0.5,
        words=words,
        licence=LICENCE,
        origin=ORIGIN,
    )


def head_of(
    spec: HeadSpec, weights: Path, *, kept: Array | None = None, table: Array | None = None
) -> WordHead:
    """ImageNet's network up to its last convolution, or to some channels of it."""
    empty = np.zeros((len(spec.words), spec.channels + 1), np.float32)
    head = WordHead(spec, empty if table is None else table)
    file = safetensors.torch.load_file(weights / "mobilenet_v2_imagenet.safetensors")
    chosen = torch.arange(WIDE) if kept is None else torch.from_numpy(kept)
    for name, module in head.named_modules():
        if isinstance(module, Convolution):
            key = "features.18.0" if name == "last" else name.removeprefix("trunk.")
            weight, bias = (file[f"{key}.{part}"].float() for part in ("weight", "bias"))
            exact = off_grid(*on_grid(weight))
            module.weight.data.copy_(exact[chosen] if name == "last" else exact)
            assert module.bias is not None
            module.bias.data.copy_(bias[chosen] if name == "last" else bias)
    return head.eval()


def fitted(
    samples: Samples,
    rows: Array,
    *,
    hold: float,
    spec: HeadSpec,
    photos: Sequence[Photo],
    runs: Mapping[str, Sequence[Rle]],
) -> tuple[HeadSpec, Array]:
    """The table, trained on everything, with a threshold from what other fits have not seen."""
    logits = np.zeros((len(samples.labels), ELSE + 1), np.float32)
    for fold in range(FOLDS):
        held = samples.folds == fold
        table = fit(samples.where(~held), rows, hold=hold)
        logits[held] = samples.features[held] @ table[:, :-1].T + table[:, -1]
    off = report(samples, logits)
    words = (*coco_words(off=off), spec.words[-1])
    threshold = chosen_threshold(samples, logits, photos=photos, runs=runs)
    spec = msgspec.structs.replace(spec, threshold=threshold, words=words)
    return spec, fit(samples, rows, hold=hold)


def fit(samples: Samples, rows: Array, *, hold: float) -> Array:
    """(81, C + 1): rows near those of ImageNet, and biases, by their cross entropy on samples."""
    used = samples.where(samples.labels >= 0)
    features = torch.from_numpy(np.ascontiguousarray(used.features, np.float32))
    labels = torch.from_numpy(used.labels.astype(np.int64))
    weights = torch.from_numpy(sample_weights(used.labels))
    start = torch.from_numpy(np.ascontiguousarray(rows, np.float32))
    change = torch.zeros_like(start, requires_grad=True)
    biases = torch.zeros(len(rows), requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [change, biases], max_iter=60, history_size=8, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = features @ (start + change).T + biases
        errors = nn.functional.cross_entropy(logits, labels, reduction="none")
        total = (weights * errors).sum() + hold / 2 * change.square().sum()
        torch.autograd.backward(total)
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    found = torch.cat([start + change, biases[:, None]], dim=1).detach().numpy()
    return np.asarray(found, np.float32)


def sample_weights(labels: Array) -> Array:
    """(N,) float32, summing to one: persons have COCO's share of things, else its own share."""
    weights = np.ones(len(labels))
    person, other = labels == NAMES.index("person"), labels == ELSE
    things = ~person & ~other
    weights[person] *= PERSONS / (1 - PERSONS) * things.sum() / max(person.sum(), 1)
    if other.any():
        weights[other] *= ELSES / (1 - ELSES) * weights[~other].sum() / other.sum()
    return np.asarray(weights / weights.sum(), np.float32)


def report(samples: Samples, logits: Array) -> dict[str, str]:
    """Print how objects are named that were held out; words that are off, with the reason."""
    objects = samples.regions == -1
    labels, named = samples.labels[objects], logits[objects][:, :ELSE].argmax(1)
    right, person = labels == named, labels == NAMES.index("person")
    share = PERSONS * right[person].mean() + (1 - PERSONS) * right[~person].mean()
    say(
        f"held out: top 1 {right.mean():.3f}; persons {right[person].mean():.3f}, others "
        f"{right[~person].mean():.3f}; at COCO's share of persons {share:.3f}"
    )
    off = {}
    for index, name in enumerate(NAMES):
        own = labels == index
        count, rate = int(own.sum()), float(right[own].mean()) if own.any() else float("nan")
        say(f"  {name}: {count} objects, top 1 {rate:.2f}")
        if count >= FEWEST and rate < WORST_TOP1:
            off[name] = f"it named {round(rate * count)} of {count} held-out objects rightly"
        elif count < FEWEST and name not in IMAGENET:
            off[name] = f"only {count} objects to learn it from, and ImageNet has none"
    return off


def chosen_threshold(
    samples: Samples,
    logits: Array,
    *,
    photos: Sequence[Photo],
    runs: Mapping[str, Sequence[Rle]],
) -> float:
    """The margin with the best mean IoU of unions among those that keep false alarms down.

    On photos with regions of everything mode, as the words protocol of docs/accuracy-protocol.md.
    """
    margins = np.stack(
        [logits[:, i] - log_sum_exp(np.delete(logits, i, axis=1)) for i in range(ELSE)], axis=1
    )
    ious: list[list[float]] = [[] for _ in THRESHOLDS]
    alarms: list[list[bool]] = [[] for _ in THRESHOLDS]
    proposed = samples.regions >= 0
    for i in sorted(set(samples.photos[proposed].tolist())):  # one photo's masks at a time
        case = _Case(photos[i], runs[photos[i].key], margins[proposed & (samples.photos == i)])
        for place, threshold in enumerate(THRESHOLDS):
            ious[place] += case.ious(threshold)
            alarms[place] += case.alarms(threshold)
    best, chosen = -1.0, float(THRESHOLDS[-1])
    for threshold, own, false in zip(THRESHOLDS, ious, alarms, strict=True):
        say(f"  threshold {threshold:.2f}: mIoU {np.mean(own):.3f}, alarms {np.mean(false):.3f}")
        if np.mean(false) <= MOST_ALARMS and np.mean(own) > best:
            best, chosen = float(np.mean(own)), float(threshold)
    return chosen


class _Case:
    """One photo with its regions and their margins."""

    def __init__(self, photo: Photo, runs: Sequence[Rle], margins: Array) -> None:
        self.masks = [mask_from_rle(dict(run)) for run in runs]
        self.margins = margins
        boxes = [metrics.bounding_box(mask) or (0, 0, 0, 0) for mask in self.masks]
        self.boxes = np.array(boxes, np.float64).reshape(-1, 4)
        self.truth: dict[int, Array] = {}
        for name, run in photo.objects:
            if name:
                mask, index = mask_from_rle(dict(run)), NAMES.index(name)
                self.truth[index] = self.truth.get(index, np.zeros_like(mask)) | mask

    def ious(self, threshold: float) -> Iterator[float]:
        """Of the unions, for each thing that the photo shows."""
        for index, truth in self.truth.items():
            union = np.zeros_like(truth)
            column = self.margins[:, index]
            for row in kept_rows(column, self.boxes, cut=threshold, suppression=0.5):
                union |= self.masks[row]
            yield metrics.mask_iou(truth, union)

    def alarms(self, threshold: float) -> Iterator[bool]:
        """For each thing that the photo does not show, whether something is found."""
        for index in range(ELSE):
            if index not in self.truth:
                yield bool((self.margins[:, index] > threshold).any())


if __name__ == "__main__":
    main()
