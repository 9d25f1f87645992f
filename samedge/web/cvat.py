r"""CVAT's auto-annotation functions: everything mode, clicks and boxes, and tracks.

Called by::

    cvat-cli task auto-annotate 137 --function-module samedge.web.cvat \
        -p bundle=str:out/intel -p label=str:thing
    cvat-cli function create-native samedge --function-module samedge.web.cvat \
        -p kind=str:interaction
    cvat-cli function run-agent 5 --function-module samedge.web.cvat -p kind=str:interaction

The contract is that of ``cvat_sdk.auto_annotation``, which the caller has installed; nothing else
of samedge needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from samedge.errors import PromptError, UnknownNameError
from samedge.pixels.images import load_image
from samedge.pixels.metrics import bounding_box
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.everything import EverythingConfig, segment_everything
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import named_predictor
from samedge.tracking.base import Status
from samedge.tracking.tracker import Tracker
from samedge.types import Array, Prompt
from samedge.web.server.shapes import rings

if TYPE_CHECKING:
    import cvat_sdk.auto_annotation as cvataa
    import PIL.Image

_FINENESS = 0.001
_LABEL_ID = 0


class DetectionFunction:
    """Masks of everything in an image, all with one label.

    Args:
        predictor: an open one.
        label: that the CVAT project has, too.
    """

    def __init__(self, predictor: Predictor, *, label: str) -> None:
        import cvat_sdk.auto_annotation as cvataa

        self._predictor = predictor
        labels = [cvataa.label_spec(label, _LABEL_ID, type="any")]
        self.spec = cvataa.DetectionFunctionSpec(labels=labels)

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image
    ) -> list[cvataa.DetectionAnnotation]:
        """Shapes of an image; ``conf_threshold`` is the least predicted IoU."""
        import cvat_sdk.auto_annotation as cvataa

        config = EverythingConfig.without_near_duplicates(
            self._predictor.manifest, pred_iou_threshold=context.conf_threshold
        )
        masks = segment_everything(self._predictor, load_image(image), config=config)
        if not getattr(context, "conv_mask_to_poly", False):
            return [cvataa.mask(_LABEL_ID, mask_points(found.mask)) for found in masks]
        return [
            cvataa.polygon(_LABEL_ID, points)
            for found in masks
            for points in _polygons(found.mask)
            if len(points) >= 6
        ]


class InteractionFunction:
    """Clicks and a box to a mask; the image is encoded once.

    Args:
        predictor: an open one.
    """

    def __init__(self, predictor: Predictor) -> None:
        import cvat_sdk.auto_annotation as cvataa

        self._predictor = predictor
        self.spec = cvataa.InteractionFunctionSpec(
            min_pos_points=0, min_neg_points=0, min_bounding_boxes=0
        )

    def preprocess_image(
        self, context: cvataa.InteractionFunctionContext, image: PIL.Image.Image
    ) -> ImageEmbedding:
        """Encode an image."""
        del context
        return self._predictor.encode(load_image(image))

    def detect(
        self,
        context: cvataa.InteractionFunctionContext,
        pp_image: ImageEmbedding,
        prompts: cvataa.InteractionPrompts,
    ) -> list[cvataa.InteractionResultShape]:
        """The mask of some clicks.

        Raises:
            PromptError: there are none, or one is outside of the image.
        """
        import cvat_sdk.auto_annotation as cvataa

        del context
        points = [*prompts.pos_points, *prompts.neg_points]
        labels = [1] * len(prompts.pos_points) + [0] * len(prompts.neg_points)
        box = None if prompts.bounding_box is None else np.ravel(prompts.bounding_box).tolist()
        prompt = Prompt(points or None, labels or None, box=box)
        mask = self._predictor.decode(pp_image, prompt).masks[0]
        if not mask.any():
            return []
        return [cvataa.InteractionResultShape(type="mask", points=mask_points(mask))]


class TrackingFunction:
    """Follows a mask, polygon or rectangle through the frames of a job.

    Args:
        predictor: an open one.
    """

    def __init__(self, predictor: Predictor) -> None:
        import cvat_sdk.auto_annotation as cvataa

        self._tracker = Tracker(predictor)
        kinds = {"mask", "polygon", "rectangle"}
        self.spec = cvataa.TrackingFunctionSpec(supported_shape_types=kinds)

    def preprocess_image(
        self, context: cvataa.TrackingFunctionContext, image: PIL.Image.Image
    ) -> Array:
        """(H, W, 3) uint8 RGB of an image."""
        del context
        return load_image(image)

    def init_tracking_state(
        self,
        context: cvataa.TrackingFunctionShapeContext,
        pp_image: Array,
        shape: cvataa.TrackableShape,
    ) -> dict[str, object]:
        """What to follow from this frame on."""
        del context
        prompt = _prompt_of(shape.type, shape.points, (pp_image.shape[0], pp_image.shape[1]))
        begun = self._tracker.begin(pp_image, [prompt])
        return {"state": begun.state, "kind": shape.type}

    def track(
        self,
        context: cvataa.TrackingFunctionShapeContext,
        pp_image: Array,
        state: dict[str, object],
    ) -> cvataa.TrackableShape | None:
        """The shape in this frame; ``None`` while it is lost."""
        import cvat_sdk.auto_annotation as cvataa

        del context
        stepped = self._tracker.step(state["state"], pp_image)
        state["state"] = stepped.state
        (found,) = stepped.objects
        if found.status is Status.LOST or not found.mask.any():
            return None
        points = _WRITERS[str(state["kind"])](found.mask)
        return cvataa.TrackableShape(type=state["kind"], points=points)


_KINDS = ("detection", "interaction", "tracking")


def create(
    *,
    kind: str = "detection",
    bundle: str | None = None,
    backend: str | None = None,
    device: str | None = None,
    label: str = "object",
) -> DetectionFunction | InteractionFunction | TrackingFunction:
    """What ``cvat-cli`` calls, with its ``-p`` as arguments.

    Args:
        kind: ``detection``, ``interaction`` or ``tracking``.
        bundle: its folder; ``None`` is the embedded model.
        backend: ``None`` takes the bundle's.
        device: of the backend.
        label: of what detection finds.

    Raises:
        UnknownNameError: another kind.
        BundleError, BackendUnavailableError: as ``Predictor.from_bundle``.
    """
    if kind not in _KINDS:
        raise UnknownNameError("kind of CVAT function", kind, _KINDS)
    predictor = named_predictor(bundle, backend=backend, device=device)
    if kind == "interaction":
        return InteractionFunction(predictor)
    return TrackingFunction(predictor) if kind == "tracking" else _detection(predictor, label)


def _detection(predictor: Predictor, label: str) -> DetectionFunction:
    return DetectionFunction(predictor, label=label)


def mask_points(mask: Array) -> list[float]:
    """CVAT's numbers of a mask: runs within its box, background first, then the box's corners.

    Args:
        mask: (H, W) bool.
    """
    box = bounding_box(mask) or (0, 0, 1, 1)
    x0, y0, x1, y1 = box
    flat = mask[y0:y1, x0:x1].ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    first = [0] if flat[0] else []
    return [float(number) for number in [*first, *runs, x0, y0, x1 - 1, y1 - 1]]


def mask_from_points(points: Sequence[float], size: tuple[int, int]) -> Array:
    """The mask of CVAT's numbers.

    Args:
        points: as of :func:`mask_points`.
        size: ``(height, width)`` of the image.

    Raises:
        PromptError: they are none.
    """
    whole = np.asarray(points, np.int64)
    if len(whole) < 5 or not np.array_equal(whole, points):
        raise PromptError("A mask of CVAT is whole numbers, the last four of them its box.")
    *runs, x0, y0, x1, y1 = whole.tolist()
    high, wide = y1 + 1 - y0, x1 + 1 - x0
    inside = 0 <= x0 <= x1 < size[1] and 0 <= y0 <= y1 < size[0]
    if not inside or min(runs) < 0 or sum(runs) != high * wide:
        raise PromptError("The runs of a mask of CVAT do not fill its box.")
    found = np.zeros(size, np.bool_)
    values = np.arange(len(runs)) % 2 == 1
    found[y0 : y1 + 1, x0 : x1 + 1] = np.repeat(values, runs).reshape(high, wide)
    return found


def _prompt_of(kind: str, points: Sequence[float], size: tuple[int, int]) -> Prompt:
    from samedge.pixels.polygons import fill

    if kind == "rectangle":
        return Prompt(box=list(points))
    if kind == "polygon":
        return Prompt(mask=fill([np.reshape(points, (-1, 2))], size))
    return Prompt(mask=mask_from_points(points, size))


def _polygons(mask: Array) -> list[list[float]]:
    return [ring.ravel().tolist() for ring in rings(mask, fineness=_FINENESS)]


def _largest_polygon(mask: Array) -> list[float]:
    return _polygons(mask)[0]


def _rectangle(mask: Array) -> list[float]:
    return [float(edge) for edge in bounding_box(mask) or (0, 0, 0, 0)]


_WRITERS: Mapping[str, Any] = {
    "mask": mask_points,
    "polygon": _largest_polygon,
    "rectangle": _rectangle,
}
