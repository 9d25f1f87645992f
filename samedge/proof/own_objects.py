"""Objects of a photo as a model itself draws them: prompts that lie on things and not on nothing.

No truth: held against its own masks a model is right by construction. They say where to ask.
"""

from __future__ import annotations

from samedge.evaluation.ground_truth import Instance
from samedge.pixels import metrics
from samedge.predict.predictor import Predictor
from samedge.types import Array, Prompt

_AT_MOST = 8  # of one image
_GRID = (0.2, 0.4, 0.6, 0.8)
_AREAS = (0.002, 0.6)  # of the image; masks outside are no objects
_SAME_OBJECT = 0.7
_STABLE = 0.7


def own_instances(reference: Predictor, picture: Array) -> list[Instance]:
    """Objects of an image as a model itself draws them, from a grid of clicks.

    Args:
        reference: the model.
        picture: (H, W, 3) uint8 RGB.

    Returns:
        Stable masks of sensible size that differ from one another.
    """
    height, width = picture.shape[:2]
    embedding = reference.encode(picture)
    clicks = [Prompt(points=[[x * width, y * height]]) for y in _GRID for x in _GRID]
    found: list[Instance] = []
    for answer in reference.decode_batch(embedding, clicks):
        mask = answer.masks[0]
        share = float(mask.mean())
        if not _AREAS[0] <= share <= _AREAS[1] or float(answer.stability_scores[0]) < _STABLE:
            continue
        if any(metrics.mask_iou(mask, other.mask) > _SAME_OBJECT for other in found):
            continue
        box = metrics.bounding_box(mask)
        assert box is not None
        x0, y0, x1, y1 = map(float, box)
        found.append(Instance(len(found), float(mask.sum()), (x0, y0, x1, y1), mask))
    return found[:_AT_MOST]
