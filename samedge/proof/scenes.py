"""Pictures with objects whose masks are known, and what a model answers about them.

Annotated pictures of a calibration set come first, then composites made of its photos
(:mod:`samedge.proof.composites`), so that there are always enough.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Iterator, Sequence

import numpy as np

from samedge.errors import BackendUnavailableError
from samedge.evaluation.ground_truth import GroundTruth, Instance
from samedge.evaluation.protocols import Answer, answers, parse_protocols
from samedge.formats.results import Masks
from samedge.pixels.image_files import PHOTOS
from samedge.predict.predictor import Predictor
from samedge.proof import decision
from samedge.proof.composites import Cutout, composites, cutout_of, reduced
from samedge.proof.photos import CalibrationSet
from samedge.types import Array, Prompt, Size

PROTOCOLS = "box,center,clicks:3"
ANNOTATIONS, COMPOSITES = "annotations", "composites"
MAX_IMAGES = 256
"""Pictures after which measuring ends, whatever time is left."""

_SOURCES = 64  # photos of a set, and cutouts, that composites are made of
_AT_MOST = 12  # objects that are asked about in one picture

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A picture and what is known to be in it."""

    picture: Array
    instances: list[Instance]
    truth: str


class Reference:
    """An fp32 bundle and what it answers about a stream of scenes, asked once for all subjects.

    Args:
        predictor: the fp32 bundle, opened.
        data: images, with annotations or without.
        max_images: pictures to look at.
        seed: of the composites.

    Attributes:
        predictor, data: as given.
        max_images: as given.
    """

    def __init__(
        self,
        predictor: Predictor,
        data: CalibrationSet,
        *,
        max_images: int = MAX_IMAGES,
        seed: int = 0,
    ) -> None:
        self.predictor, self.data, self.max_images = predictor, data, max_images
        self._seed = seed
        self._annotated = _annotated(data, max_images)
        self._answers: list[Answers] = []

    def scenes(self) -> Iterator[tuple[Scene, Answers]]:
        """Each picture with its objects and the answers to their prompts, in order of prompts.

        Annotated pictures come first, then composites.
        """
        for index, scene in enumerate(itertools.islice(self._scenes(), self.max_images)):
            if index == len(self._answers):
                self._answers.append(answered(self.predictor, scene))
            yield scene, self._answers[index]

    def _scenes(self) -> Iterator[Scene]:
        cutouts: list[Cutout] = []
        for image in self._annotated.images if self._annotated else ():
            picture, instances = image.pixels(), _spread(list(image.instances()))
            if len(cutouts) < _SOURCES:
                cutouts += [cutout_of(picture, instance.mask) for instance in instances]
            yield Scene(picture, instances, ANNOTATIONS)
        photos = [reduced(photo) for photo in itertools.islice(self.data.photos(), _SOURCES)]
        for picture, instances in composites(photos, cutouts=cutouts, seed=self._seed):
            yield Scene(picture, instances, COMPOSITES)


def _spread(instances: list[Instance]) -> list[Instance]:
    """At most so many objects of a picture, over its whole list."""
    step = max(len(instances) / _AT_MOST, 1.0)
    return [instances[int(index * step)] for index in range(min(len(instances), _AT_MOST))]


def _annotated(data: CalibrationSet, limit: int) -> GroundTruth | None:
    try:
        return data.ground_truth(limit=limit)
    except BackendUnavailableError as error:
        if data.source != PHOTOS:  # annotations of the user's own are not silently left out
            raise
        logger.info("The annotations of samedge's own photos are left out: %s", error)
        return None


@dataclasses.dataclass(frozen=True, eq=False)
class _Answer:
    """A mask, a bit a pixel, and its IoU with the truth."""

    prompt: str
    bits: Array
    size: Size
    iou: float

    @staticmethod
    def of(prompt: str, answer: Answer, *, size: Size) -> _Answer:
        """What a protocol's answer is at the moment."""
        return _Answer(prompt, np.packbits(answer.mask), size, answer.ious[-1])

    @property
    def mask(self) -> Array:
        """(H, W) bool."""
        pixels = self.size[0] * self.size[1]
        return np.unpackbits(self.bits, count=pixels).view(bool).reshape(self.size)


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers about one picture.

    Attributes:
        prompts: one each prompt, in order.
        preferences: (3,) predicted IoUs of the candidates of every first click.
    """

    prompts: list[_Answer]
    preferences: list[Array]


def answered(predictor: Predictor, scene: Scene, *, expected: Answers | None = None) -> Answers:
    """A model's answers to every kind of prompt about the objects of a picture.

    Args:
        predictor: the model.
        scene: the picture.
        expected: what fp32 answered, whose choice among equals is kept.
    """
    embedding = predictor.encode(scene.picture)
    preferences: list[Array] = []

    def decode(prompts: Sequence[Prompt], *, multimask: bool = False) -> list[Masks]:
        found = predictor.decode_batch(embedding, prompts, multimask=multimask)
        if not multimask:
            return found
        preferences.extend(masks.iou_predictions for masks in found)
        return found if expected is None else _with_choice_of(found, expected.preferences)

    given = answers(decode, scene.instances, protocols=parse_protocols(PROTOCOLS))
    size = scene.picture.shape[0], scene.picture.shape[1]
    return Answers([_Answer.of(name, answer, size=size) for name, answer in given], preferences)


def _with_choice_of(found: list[Masks], preferences: Sequence[Array]) -> list[Masks]:
    """Candidates with the predicted IoUs of another model where that hardly prefers one."""
    return [
        dataclasses.replace(masks, iou_predictions=wanted) if _is_tie(wanted) else masks
        for masks, wanted in zip(found, preferences, strict=True)
    ]


def _is_tie(predicted: Array) -> bool:
    ranked = np.sort(predicted)
    return bool(ranked[-1] - ranked[-2] <= decision.TIE)
