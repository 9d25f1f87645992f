"""What each subject's masks lose: against ground truth where there is any, else against fp32's own.

Both are paired: every subject answers the same prompts as the baseline, the differences are taken
prompt by prompt, and the interval is a bootstrap over images, as everywhere in samedge.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from samedge.evaluation.ground_truth import Instance
from samedge.formats.results import Masks
from samedge.pixels import metrics
from samedge.pixels.images import load_image
from samedge.predict.predictor import Predictor
from samedge.proof.own_objects import own_instances
from samedge.records import ScoredInstance
from samedge.report.decision import Loss
from samedge.types import Array, Prompt

MOST_PHOTOS = 24
"""Photos that are compared, evenly spread over those that are given."""

_PLURALS = {"box": "boxes", "click": "clicks"}


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What one mask scored.

    Attributes:
        image: its name or path, no other's.
        prompt: the protocol, such as ``box``.
        key: tells the prompts of an image and protocol apart.
        iou: with the ground truth, or with the baseline's mask.
    """

    image: str
    prompt: str
    key: int
    iou: float


def loss_against(own: Sequence[Score], baseline: Sequence[Score]) -> list[Loss]:
    """Mean loss in IoU against the baseline's scores, one a prompt protocol.

    Args:
        own: scores of the subject.
        baseline: of the baseline, on the same prompts.
    """
    expected = {(s.image, s.prompt, s.key): s.iou for s in baseline}
    return [
        _loss(
            f"{prompt} mIoU",
            [
                (s.image, expected[s.image, prompt, s.key] - s.iou)
                for s in own
                if s.prompt == prompt
            ],
            agreement=False,
        )
        for prompt in dict.fromkeys(score.prompt for score in own)
    ]


def agreement_losses(own: Sequence[Score]) -> list[Loss]:
    """What masks differ by from the baseline's own, one a kind of prompt.

    Args:
        own: IoU of each mask with the baseline's for the same prompt.
    """
    return [
        _loss(
            f"IoU with {_PLURALS[prompt]}",
            [(score.image, 1 - score.iou) for score in own if score.prompt == prompt],
            agreement=True,
        )
        for prompt in dict.fromkeys(score.prompt for score in own)
    ]


def _loss(measure: str, drops: Sequence[tuple[str, float]], *, agreement: bool) -> Loss:
    values = [drop for _, drop in drops]
    interval = metrics.bootstrap_mean(values, [image for image, _ in drops])
    low, high = interval or (None, None)
    return Loss(
        measure=measure,
        value=float(np.mean(values)),
        low=low,
        high=high,
        n=len(values),
        agreement=agreement,
    )


def compared_photos(photos: Sequence[Path]) -> tuple[Path, ...]:
    """Those of some photos that masks are compared on: at most ``MOST_PHOTOS``, evenly spread."""
    return tuple(photos[:: max(1, -(-len(photos) // MOST_PHOTOS))])


class Agreement:
    """A baseline's masks on photos, for others to be compared with.

    The prompts are boxes and middles of the objects that the baseline itself finds by a grid of
    clicks, so that they lie on things and not on nothing.

    Args:
        baseline: the fp32 subject, opened.
        photos: files, of which :func:`compared_photos` are used.
    """

    def __init__(self, baseline: Predictor, photos: Sequence[Path]) -> None:
        self.photos = compared_photos(photos)
        self._prompts: dict[Path, list[tuple[str, Prompt]]] = {}
        self._expected: dict[Path, list[Array]] = {}
        for photo in self.photos:
            picture = load_image(photo)
            asked = list(_prompts(own_instances(baseline, picture)))
            if asked:
                self._prompts[photo] = asked
                self._expected[photo] = [_chosen(m) for m in _answers(baseline, picture, asked)]

    @property
    def prompts(self) -> int:
        """How many there are on all photos."""
        return sum(map(len, self._prompts.values()))

    def scores(self, subject: Predictor) -> list[Score]:
        """IoU of a subject's masks with the baseline's."""
        found = []
        for photo, asked in self._prompts.items():
            results = _answers(subject, load_image(photo), asked)
            rows = zip(asked, results, self._expected[photo], strict=True)
            found += [
                Score(
                    image=str(photo),  # two folders may have photos of one name
                    prompt=kind,
                    key=index,
                    iou=metrics.mask_iou(_chosen(result), wanted),
                )
                for index, ((kind, _), result, wanted) in enumerate(rows)
            ]
        return found


def _prompts(instances: Iterable[Instance]) -> Iterable[tuple[str, Prompt]]:
    for instance in instances:
        yield "box", Prompt(box=instance.box)
        yield "click", Prompt(points=[instance.center])


def _answers(
    predictor: Predictor, picture: Array, asked: Sequence[tuple[str, Prompt]]
) -> list[Masks]:
    return predictor.decode_batch(predictor.encode(picture), [prompt for _, prompt in asked])


def _chosen(masks: Masks) -> Array:
    best: Array = masks.masks[int(np.argmax(masks.iou_predictions))]
    return best


def scores_from_instances(rows: Iterable[ScoredInstance]) -> list[Score]:
    """Scores from the per-instance rows of an evaluation's record."""
    return [
        Score(image=row.image, prompt=row.prompt, key=row.annotation_id, iou=row.iou)
        for row in rows
    ]
