"""How far masks of the page are Python's, by kind of prompt."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samedge import Predictor, Prompt, load_image
from samedge.pixels.rle import mask_from_rle
from samedge.types import Array

if TYPE_CHECKING:
    from tests.web.conftest import Tab

LEAST_IOU = 0.99
LARGEST_TIE = 0.01  # of two candidates' predicted IoUs that may change places
KINDS = ("point", "points", "box", "box and point", "mask and point")
DECODE = """async ([prompt, mask]) => {
  const from = (name) => import(new URL(`modules/${name}.js`, document.baseURI));
  const { View } = await from("frame");
  const { maskFromLogits, rleFromMask } = await from("masks");
  const { resultOf, chosenLogits } = await from("document");
  const { segmenter, engine, photo, manifest } = samedge;
  const bytes = mask && Uint8Array.from(atob(mask), (letter) => letter.charCodeAt(0));
  const logits = bytes && new Float32Array(bytes.buffer);
  const found = await engine.decode(segmenter.handle, { ...prompt, mask: logits });
  const isAmbiguous = prompt.points.length === 1 && !prompt.box && !mask;
  const result = resultOf(found, { isAmbiguous });
  const axes = new View(manifest.frame, photo.size).axes();
  const drawn = maskFromLogits(chosenLogits(result), axes, manifest.thresholds.mask);
  return { rle: rleFromMask(drawn), iou: [...found.iou], token: result.token };
}"""


def agreement(tab: Tab, predictor: Predictor, photos: Sequence[Path]) -> dict[str, list[float]]:
    """IoU of the page's masks with Python's, of each photo, by kind of prompt."""
    measured: dict[str, list[float]] = {kind: [] for kind in KINDS}
    near_ties = 0
    for path in photos:
        image = load_image(path)
        tab.open(path)
        embedding = predictor.encode(image)
        middle = [image.shape[1] / 2, image.shape[0] / 2]
        first = predictor.decode(embedding, Prompt(points=[middle]))
        for kind, prompt in prompts(image, first.low_res_logits[0]).items():
            found = tab.page.evaluate(DECODE, plain(prompt))
            expected = predictor.decode(embedding, prompt, multimask=kind == "point")
            chosen = found["token"] - 1 if kind == "point" else 0
            short = expected.iou_predictions.max() - expected.iou_predictions[chosen]
            assert short < LARGEST_TIE, f"{path.name}, {kind}: another candidate"
            near_ties += bool(short > 0)
            measured[kind].append(iou(mask_from_rle(found["rle"]), expected.masks[chosen]))
            print(f"{path.name}, {kind}: {measured[kind][-1]:.4f}")
    for kind, values in measured.items():
        print(f"{kind}: {len(values)} photos, lowest IoU {min(values):.4f}")
    print(f"near ties of candidates: {near_ties}")
    return measured


def prompts(image: Array, logits: Array) -> dict[str, Prompt]:
    height, width = image.shape[:2]
    middle, corner = [width * 0.45, height * 0.4], [width * 0.06, height * 0.08]
    box = [width * 0.2, height * 0.15, width * 0.75, height * 0.8]
    return {
        "point": Prompt(points=[middle]),
        "points": Prompt(points=[middle, corner, [width * 0.6, height * 0.6]], labels=[1, 0, 1]),
        "box": Prompt(box=box),
        "box and point": Prompt(points=[corner], labels=[0], box=box),
        "mask and point": Prompt(points=[middle, corner], labels=[1, 0], mask=logits),
    }


def plain(prompt: Prompt) -> list[Any]:
    mask = prompt.mask
    given = {
        "points": prompt.points.tolist(),
        "labels": prompt.labels.tolist(),
        "box": None if prompt.box is None else prompt.box.tolist(),
    }
    return [given, None if mask is None else base64.b64encode(mask.tobytes()).decode()]


def iou(a: Array, b: Array) -> float:
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0
