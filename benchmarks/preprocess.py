"""What the fast preprocessing costs and saves: time, memory, agreement with exact, accuracy.

    python benchmarks/preprocess.py time -o benchmarks/results/preprocess_time.json
    python benchmarks/preprocess.py agree --dataset eval/coco/instances.json \\
        --images eval/coco/images --enlarge 1 3 6 -o benchmarks/results/preprocess_agreement.json

`time`: the encoder's input of pictures of three sizes by both rules in turn, one process a rule and
size for the memory: its peak above what it held with the picture in it, when the input is made.

`agree`: every annotated object with its box and with one click, in photos enlarged so many times
(bicubic, then a sensor's noise, which enlarged photos lack and a fast rule could mistake), by both
rules: the IoU of the two masks, and the IoU of each with the ground truth, the difference with a
bootstrap interval over photos. Beside it stands what the model does when each level of the exact
input is one off at random, as two decoders of JPEG are: no rule can agree better than that.

`process`: the peak memory of a process that segments 48 megapixels with one click, beside them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

import msgspec
import numpy as np
from PIL import Image

import samedge
from samedge.bundle.bundle import embedded_path
from samedge.evaluation.ground_truth import GroundTruth, TruthImage, load_ground_truth
from samedge.machine.environment import environment
from samedge.pixels.frames import Frame
from samedge.pixels.metrics import bootstrap_mean, mask_iou
from samedge.pixels.resizing import EXACT, FAST
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.predictor import Predictor
from samedge.types import IMAGE, Array, Prompt, Role, Size

SIZES: dict[str, Size] = {
    "1080p": (1080, 1920),
    "12 megapixels": (3000, 4000),
    "48 megapixels": (6000, 8000),
}
NOISE = 2.0
"""Standard deviation of the noise, of 255."""

ONE_OFF = "one off"
WAYS = (FAST, ONE_OFF)


class TimeRow(TypedDict):
    """One size of picture by both rules."""

    size: str
    rule: str
    median_ms: float
    min_ms: float
    memory_mb: float


class AgreementRow(TypedDict):
    """One enlargement, way and kind of prompt."""

    enlarged: int
    way: str
    prompt: str
    objects: int
    mask_iou_mean: float
    mask_iou_p05: float
    miou_exact: float
    miou: float
    difference: float
    ci95: tuple[float, float] | None


def main() -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("time", "agree", "process", "memory"))
    parser.add_argument("--model", default="samedge-nano")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--enlarge", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--limit", type=int, help="only the first so many photos")
    parser.add_argument("--side", type=int, default=512, help="of the encoder's input")
    parser.add_argument("--size", choices=SIZES, default="1080p")
    parser.add_argument("--rule", choices=(EXACT, FAST), default=FAST)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.step == "memory":
        print(peak_mb(args.size, Frame(target_length=args.side).with_rule(args.rule)))
        return
    if args.step == "process":
        print(process_mb(args.model))
        return
    rows = times(args.side, args.repeats) if args.step == "time" else agreement(args)
    record = {
        "command": " ".join(word for word in sys.argv if not Path(word).is_absolute()),
        "environment": msgspec.to_builtins(environment()),
        "results": rows,
    }
    text = json.dumps(record, indent=1)
    if args.output:
        args.output.write_text(text + "\n")
    for row in rows:
        print(row)


def picture(size: Size, seed: int = 0) -> Array:
    """Something smooth with noise on it, (H, W, 3) uint8."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (size[0] // 40, size[1] // 40, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def times(side: int, repeats: int) -> list[TimeRow]:
    """Milliseconds to the encoder's input, both rules in turn, and the memory of each."""
    rows: list[TimeRow] = []
    for name, size in SIZES.items():
        image = picture(size)
        views = {r: Frame(target_length=side).with_rule(r).view(size) for r in (EXACT, FAST)}
        found: dict[str, list[float]] = {rule: [] for rule in views}
        for _ in range(repeats):
            for rule, view in views.items():
                start = time.perf_counter()
                view.encoder_input(image)
                found[rule].append((time.perf_counter() - start) * 1e3)
        for rule, values in found.items():
            rows.append(
                TimeRow(
                    size=name,
                    rule=rule,
                    median_ms=round(statistics.median(values[1:]), 2),
                    min_ms=round(min(values), 2),
                    memory_mb=_memory_in_a_process(name, rule, side),
                )
            )
    return rows


def _memory_in_a_process(size: str, rule: str, side: int) -> float:
    words = ["memory", "--size", size, "--rule", rule, "--side", str(side)]
    done = subprocess.run(
        [sys.executable, __file__, *words], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def peak_mb(size: str, frame: Frame) -> float:
    """Peak of this process's resident memory while the input is made, above that before it."""
    view, image = frame.view(SIZES[size]), picture(SIZES[size])
    small = np.zeros((600, 800, 3), np.uint8)
    frame.view_of(small).encoder_input(small)  # what is loaded at first use
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _status_kb("VmRSS")
    view.encoder_input(image)
    return round((_status_kb("VmHWM") - before) / 1024, 1)


def _status_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name + ":")).split()[1])


def agreement(args: argparse.Namespace) -> list[AgreementRow]:
    """The fast rule, and levels that are one off, against the exact rule on every object."""
    truth = load_ground_truth(args.dataset, args.images)
    path, rows = embedded_path(args.model), []
    with Predictor.from_bundle(path, preprocess=EXACT, threads=1) as predictor:
        for times_larger in args.enlarge:
            scores = list(_scores(truth, times_larger, predictor, args.limit))
            cases = itertools.product(WAYS, ("box", "center"))
            rows += [_row(times_larger, way, kind, scores) for way, kind in cases]
    return rows


class Score(NamedTuple):
    """One object, one prompt, one way to make the encoder's input."""

    photo: int
    way: str
    prompt: str
    mask_iou: float
    exact: float
    other: float


def _scores(
    truth: GroundTruth, times_larger: int, predictor: Predictor, limit: int | None
) -> Iterator[Score]:
    for number, photo in enumerate(truth.images[:limit]):
        image = enlarged(photo.pixels(), times_larger, seed=number)
        asked = list(_asked(photo, times_larger))
        prompts = [prompt for _, prompt, _ in asked]
        answers = {
            way: predictor.decode_batch(_embedding(predictor, image, way), prompts)
            for way in (EXACT, *WAYS)
        }
        for index, (kind, _, mask) in enumerate(asked):
            wanted = mask.repeat(times_larger, axis=0).repeat(times_larger, axis=1)
            first = answers[EXACT][index].masks[0]
            exact = mask_iou(first, wanted)
            for way in WAYS:
                other = answers[way][index].masks[0]
                pair = mask_iou(first, other), exact, mask_iou(other, wanted)
                yield Score(number, way, kind, *pair)


def _embedding(predictor: Predictor, image: Array, way: str) -> ImageEmbedding:
    """Of an image by one of the rules, or by the exact one with levels that are one off."""
    frame = predictor.frame.with_rule(FAST if way == FAST else EXACT)
    view = frame.view_of(image)
    pixels = view.encoder_input(image)
    if way == ONE_OFF:
        off = np.random.default_rng(0).integers(-1, 2, pixels.shape)
        pixels = np.clip(pixels + off, 0, 255).astype(np.uint8)
    return ImageEmbedding(
        predictor.graphs.run(Role.ENCODER, {IMAGE: pixels}), view, predictor.bundle.id
    )


def _asked(photo: TruthImage, times_larger: int) -> Iterator[tuple[str, Prompt, Array]]:
    for found in photo.instances():
        if found.mask.any():
            box = np.asarray(found.box, np.float32) * times_larger
            yield "box", Prompt(box=box), found.mask
            center = (np.asarray(found.center, np.float32) + 0.5) * times_larger - 0.5
            yield "center", Prompt(points=[center]), found.mask


def enlarged(image: Array, times_larger: int, *, seed: int) -> Array:
    """A photo with more pixels, and a sensor's noise on them; as it is where it stays as large."""
    if times_larger == 1:
        return image
    size = image.shape[1] * times_larger, image.shape[0] * times_larger
    larger = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    random = np.random.default_rng(seed)
    noise = random.standard_normal(larger.shape, np.float32) * np.float32(NOISE)
    noisy: Array = np.clip(larger + noise, 0, 255).astype(np.uint8)
    return noisy


def _row(times_larger: int, way: str, kind: str, scores: Sequence[Score]) -> AgreementRow:
    found = [score for score in scores if (score.way, score.prompt) == (way, kind)]
    both, exact, other = (
        np.array([getattr(score, name) for score in found])
        for name in ("mask_iou", "exact", "other")
    )
    return AgreementRow(
        enlarged=times_larger,
        way=way,
        prompt=kind,
        objects=len(found),
        mask_iou_mean=round(float(both.mean()), 5),
        mask_iou_p05=round(float(np.quantile(both, 0.05)), 5),
        miou_exact=round(float(exact.mean()), 5),
        miou=round(float(other.mean()), 5),
        difference=round(float((other - exact).mean()), 5),
        ci95=bootstrap_mean(list(other - exact), [score.photo for score in found]),
    )


def process_mb(model: str) -> float:
    """Peak of a process that segments 48 megapixels with one click, beside the array of them."""
    image = picture(SIZES["48 megapixels"])
    Path("/proc/self/clear_refs").write_text("5")  # making the picture took more
    with samedge.load_default(model=model) as predictor:
        point = [[image.shape[1] / 2, image.shape[0] / 2]]
        predictor.predict(image, Prompt(points=point)).records()
    return round((_status_kb("VmHWM") - image.nbytes / 1024) / 1024, 1)


if __name__ == "__main__":
    main()
