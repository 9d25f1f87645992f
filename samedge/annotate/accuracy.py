"""How good a round's model is, on photos with ground truth that nobody taught it."""

from __future__ import annotations

from pathlib import Path

from samedge.annotate.rounds import Accuracy
from samedge.bundle.manifest import file_hash
from samedge.evaluation.evaluate import EvaluatedSubject, evaluate
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.evaluation.protocols import parse_protocols
from samedge.pixels.sample_range import SampleRange
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import subject
from samedge.types import Progress

PROMPTS = "box"


def measured_accuracy(
    predictor: Predictor,
    truth: Path,
    *,
    images: Path | None = None,
    limit: int | None = None,
    sample_range: SampleRange = "auto",
    progress: Progress | None = None,
) -> Accuracy:
    """Mean IoU with box prompts, by the protocol of ``samedge eval``.

    Args:
        predictor: of the round's model.
        truth: COCO ground truth; its photos should not be those that are annotated.
        images: folder of its photos; ``None`` is the file's.
        limit: the first so many photos.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.
        progress: hears of every photo.

    Raises:
        DatasetError: the ground truth cannot be read, or none of its photos can.
        InferenceError: the backend failed.
    """
    found = load_ground_truth(truth, images or truth.parent, limit=limit, sample_range=sample_range)
    evaluated = EvaluatedSubject(subject=subject(predictor), segmenter=predictor)
    result = evaluate([evaluated], found, protocols=parse_protocols(PROMPTS), progress=progress)
    (row,) = result.results
    return Accuracy(
        truth=str(truth),
        truth_sha256=file_hash(truth),
        prompts=PROMPTS,
        images=result.dataset.images,
        n=row.n,
        miou=row.miou,
        ci95=row.ci95,
    )
