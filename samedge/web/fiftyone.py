"""FiftyOne: a model for ``dataset.apply_model``, without torch.

from samedge.web.fiftyone import model

dataset.apply_model(model(), label_field="everything")
dataset.apply_model(model(prompts="ground_truth"), label_field="masks")
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from samedge.pixels.images import check_image
from samedge.pixels.metrics import bounding_box
from samedge.predict.everything import EverythingConfig, segment_everything
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import named_predictor
from samedge.types import Array, Prompt

if TYPE_CHECKING:
    import fiftyone as fo

_PROMPTS = "prompts"


def model(
    *,
    bundle: str | None = None,
    backend: str | None = None,
    device: str | None = None,
    prompts: str | None = None,
    label: str = "object",
) -> Any:
    """A ``fiftyone.Model`` over a bundle.

    Args:
        bundle: its folder; ``None`` is the embedded model.
        backend: ``None`` takes the bundle's.
        device: of the backend.
        prompts: field of the samples whose detections' boxes are the prompts, each mask with the
            label of its box; ``None`` finds everything.
        label: of what is found without prompts.

    Raises:
        BundleError, BackendUnavailableError: as ``Predictor.from_bundle``.
        ImportError: FiftyOne is not installed.
    """
    predictor = named_predictor(bundle, backend=backend, device=device)
    return _model_class()(predictor, prompts=prompts, label=label)


@cache
def _model_class() -> type[Any]:
    """The class, made when FiftyOne is there to derive from."""
    from fiftyone.core.models import Model, SamplesMixin

    class SamedgeModel(SamplesMixin, Model):  # type: ignore[misc]  # FiftyOne has no types
        """samedge as FiftyOne calls it: (H, W, 3) uint8 arrays in, detections with masks out."""

        def __init__(self, predictor: Predictor, *, prompts: str | None, label: str) -> None:
            super().__init__()
            self._predictor, self._label = predictor, label
            self._own_fields = {} if prompts is None else {_PROMPTS: prompts}

        @property
        def needs_fields(self) -> dict[str, str]:
            """Fields of the samples that it reads; ``apply_model`` sets those that it was given."""
            return {**self._own_fields, **self._fields}

        @needs_fields.setter
        def needs_fields(self, fields: dict[str, str]) -> None:
            self._fields = fields

        @property
        def media_type(self) -> str:
            """What it takes."""
            return "image"

        @property
        def ragged_batches(self) -> bool:
            """Whether images of one batch may differ in size."""
            return True

        @property
        def transforms(self) -> None:
            """Nothing is done to images beforehand."""
            return

        @property
        def preprocess(self) -> bool:
            """Whether it does something to images itself."""
            return False

        @preprocess.setter
        def preprocess(self, value: bool) -> None:
            """There is nothing to turn on."""

        def predict(self, arg: Array, sample: Any = None) -> fo.Detections:
            """Detections of one image."""
            image = check_image(np.asarray(arg))
            field = self.needs_fields.get(_PROMPTS)
            if field is None or sample is None:
                return everything_detections(self._predictor, image, label=self._label)
            given = sample.get_field(field)
            return prompted_detections(
                self._predictor, image, boxes=[] if given is None else given.detections
            )

        def __exit__(self, *args: object) -> None:
            """FiftyOne is done; the model stays open for the next view."""

    return SamedgeModel


def everything_detections(predictor: Predictor, image: Array, *, label: str) -> fo.Detections:
    """Everything in an image.

    Args:
        predictor: an open one.
        image: (H, W, 3) uint8 RGB.
        label: of all.
    """
    import fiftyone as fo

    config = EverythingConfig.without_near_duplicates(predictor.manifest)
    found = segment_everything(predictor, image, config=config)
    drawn = [_detection(one.mask, label, one.predicted_iou) for one in found]
    return fo.Detections(detections=[one for one in drawn if one is not None])


def prompted_detections(
    predictor: Predictor, image: Array, *, boxes: Sequence[fo.Detection]
) -> fo.Detections:
    """The masks of what some boxes show, with their labels.

    Args:
        predictor: an open one.
        image: (H, W, 3) uint8 RGB.
        boxes: ``bounding_box`` as shares of width and height.

    Raises:
        PromptError: a box is empty or outside of the image.
    """
    import fiftyone as fo

    height, width = image.shape[:2]
    prompts = [Prompt(box=_corners(one.bounding_box, width, height)) for one in boxes]
    if not prompts:
        return fo.Detections(detections=[])
    results = predictor.decode_batch(predictor.encode(image), prompts)
    drawn = [
        _detection(masks.masks[0], box.label, float(masks.iou_predictions[0]))
        for box, masks in zip(boxes, results, strict=True)
    ]
    return fo.Detections(detections=[one for one in drawn if one is not None])


def _corners(box: Sequence[float], width: int, height: int) -> list[float]:
    x, y, wide, high = box
    return [x * width, y * height, (x + wide) * width, (y + high) * height]


def _detection(mask: Array, label: str, confidence: float) -> fo.Detection | None:
    """One detection; its mask covers its box alone, as FiftyOne stores it."""
    import fiftyone as fo

    box = bounding_box(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    height, width = mask.shape
    return fo.Detection(
        label=label,
        bounding_box=[x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height],
        mask=np.ascontiguousarray(mask[y0:y1, x0:x1]),
        confidence=confidence,
    )
