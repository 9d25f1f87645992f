"""Automatic masks: a grid of clicks, filtered by quality and stability, duplicates suppressed.

After the automatic mask generator of "Segment Anything" (Kirillov et al., 2023, appendix B), with
its defaults. One thing is done in another order, for speed: quality, stability and a first
suppression use the decoder's low-res logits, so that only the survivors are upscaled to the image.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samedge.bundle.manifest import Manifest, Thresholds
from samedge.errors import OptionError
from samedge.formats.masks import BoxXywh, ImageMasks, MaskRecord
from samedge.pixels import metrics, rle
from samedge.pixels.boxes import Box, crop_boxes, cut_off, nms, point_grid
from samedge.pixels.frames import LOW_RES_STRIDE
from samedge.pixels.images import check_image, load_image
from samedge.pixels.sample_range import SampleRange
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.predictor import Predictor
from samedge.predict.segmentation import Segmentation
from samedge.types import Array, Progress, Prompt, Rle, Size, Steps

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class EverythingConfig:
    """Settings of the automatic mask generator; the defaults that change masks are SAM's.

    :meth:`for_bundle` has those of a bundle.

    Attributes:
        points_per_side: clicks along each side of the grid.
        points_per_batch: clicks decoded and filtered at a time; only the memory depends on it.
        pred_iou_threshold: masks with a lower predicted IoU are dropped.
        stability_threshold: masks whose area depends more on the threshold are dropped.
        box_nms_threshold: of two masks whose boxes overlap more, the one of the lower predicted IoU
            is dropped.
        crop_layers: also look at 2^i x 2^i overlapping crops, for each layer i.
        crop_nms_threshold: as ``box_nms_threshold``, between crops; the smaller crop wins.
        crop_overlap_ratio: of the first layer's crops, as a share of the image's shorter side.
        crop_points_downscale: each layer's grid has so many times fewer points a side.

    Raises:
        OptionError: a setting is out of its range.
    """

    points_per_side: int = 32
    points_per_batch: int = 16
    pred_iou_threshold: float = 0.88
    stability_threshold: float = 0.95
    box_nms_threshold: float = 0.7
    crop_layers: int = 0
    crop_nms_threshold: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_points_downscale: int = 1

    @classmethod
    def for_bundle(cls, manifest: Manifest, **settings: Any) -> EverythingConfig:
        """Settings with the thresholds of a bundle.

        Args:
            manifest: of the bundle.
            settings: fields that are to be as given; ``None`` leaves one to the bundle.

        Raises:
            OptionError: a setting is out of its range.
        """
        cuts = manifest.thresholds
        own = {"pred_iou_threshold": cuts.predicted_iou, "stability_threshold": cuts.stability}
        given = {field: value for field, value in settings.items() if value is not None}
        return cls(**{**own, **given})

    def __post_init__(self) -> None:
        for field in ("points_per_side", "points_per_batch", "crop_points_downscale"):
            if getattr(self, field) < 1:
                raise OptionError(f"{field} is {getattr(self, field)}, expected 1 or more.")
        if not 0 <= self.crop_layers <= 4:
            raise OptionError(f"crop_layers is {self.crop_layers}, expected 0 to 4.")


def _corner_and_sides(box: Box) -> BoxXywh:
    x0, y0, x1, y1 = box
    return x0, y0, x1 - x0, y1 - y0


@dataclasses.dataclass(frozen=True, eq=False)
class AutomaticMask:
    """One mask of the image.

    Attributes:
        rle: the mask as COCO run lengths in the original image's frame.
        box: around the mask.
        area: in pixels.
        predicted_iou: the model's own estimate.
        stability_score: IoU of the mask cut at logits +1 and -1.
        point: ``(x, y)`` of the click that gave it.
        crop_box: the part of the image that the encoder saw.
    """

    rle: Rle
    box: Box
    area: int
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]
    crop_box: Box

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The mask, (H, W) bool, decoded anew each time: many masks of a photo fill a memory."""
        return rle.mask_from_rle(self.rle)

    def record(self) -> MaskRecord:
        """The mask for JSON and files, its box as ``[x, y, width, height]``."""
        return MaskRecord(
            rle=self.rle,
            bbox=_corner_and_sides(self.box),
            area=self.area,
            predicted_iou=self.predicted_iou,
            stability_score=self.stability_score,
            point=self.point,
            crop_box=_corner_and_sides(self.crop_box),
        )


def segment_everything(
    predictor: Predictor,
    image: Array,
    *,
    config: EverythingConfig | None = None,
    progress: Progress | None = None,
) -> list[AutomaticMask]:
    """Find the masks of an image without being told where to look.

    Args:
        predictor: an open predictor.
        image: (H, W, 3) uint8 RGB.
        config: ``None`` means SAM's defaults, with the thresholds that suit the model.
        progress: hears of every batch of clicks.

    Returns:
        Masks of distinct things, those of the highest predicted IoU first.

    Raises:
        ImageError: not such an array.
        InferenceError: the backend failed.
    """
    check_image(image)
    config = config or EverythingConfig.for_bundle(predictor.manifest)
    size = image.shape[0], image.shape[1]
    found: list[AutomaticMask] = []
    steps = Steps(batch_count(size, config), progress=progress)
    for crop_box, layer in _crops(size, config):
        found += _segment_crop(predictor, image, crop_box, layer, config=config, steps=steps)
    if config.crop_layers:
        areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (mask.crop_box for mask in found)]
        preferred = 1.0 / np.array(areas, np.float64)
        found = _suppressed(found, preferred, config.crop_nms_threshold)
    return sorted(found, key=lambda mask: -mask.predicted_iou)


def everything_in_file(
    predictor: Predictor,
    path: Path,
    *,
    config: EverythingConfig,
    name: str | None = None,
    sample_range: SampleRange = "auto",
    progress: Progress | None = None,
) -> Segmentation:
    """Find the masks of one image file.

    Args:
        predictor: an open predictor.
        path: the image's file.
        config: the generator's settings.
        name: what files call the image; ``None`` is the file's own name.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.
        progress: hears of every batch of clicks.

    Raises:
        ImageError: the file is no usable image.
        InferenceError: the backend failed.
    """
    image = load_image(path, range=sample_range)
    size = image.shape[0], image.shape[1]
    start = time.perf_counter()
    masks = segment_everything(predictor, image, config=config, progress=progress)
    elapsed_ms = (time.perf_counter() - start) * 1000
    records = tuple(mask.record() for mask in masks)
    found = ImageMasks(name or path.name, size, records, pixels=image)
    timing = {"load": predictor.timing_ms["load"], "everything": elapsed_ms}
    return Segmentation(path, found, predictor.active_backend(), timing)


def batch_count(size: Size, config: EverythingConfig) -> int:
    """Batches of clicks that an image of this (height, width) takes."""
    counts = (len(_grid(config, layer)) for _, layer in _crops(size, config))
    return sum(math.ceil(count / config.points_per_batch) for count in counts)


def _crops(size: Size, config: EverythingConfig) -> Iterator[tuple[Box, int]]:
    return crop_boxes(size, layers=config.crop_layers, overlap_ratio=config.crop_overlap_ratio)


def _grid(config: EverythingConfig, layer: int) -> npt.NDArray[np.float64]:
    return point_grid(int(config.points_per_side / config.crop_points_downscale**layer))


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidates:
    """Low-res masks that passed the filters, N of them.

    Attributes:
        logits: (N, S/4, S/4) float32.
        boxes: (N, 4) float, pixels of the crop.
        iou: (N,) predicted IoU.
        stability: (N,).
        points: (N, 2) xy pixels of the crop.
    """

    logits: Array
    boxes: Array
    iou: Array
    stability: Array
    points: Array

    def __getitem__(self, index: Array) -> _Candidates:
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return _Candidates(*(array[index] for array in fields))


def _segment_crop(
    predictor: Predictor,
    image: Array,
    crop_box: Box,
    layer: int,
    *,
    config: EverythingConfig,
    steps: Steps,
) -> list[AutomaticMask]:
    x0, y0, x1, y1 = crop_box
    embedding = predictor.encode(np.ascontiguousarray(image[y0:y1, x0:x1]))
    points = _grid(config, layer) * (x1 - x0, y1 - y0)
    cuts = predictor.manifest.thresholds
    parts = []
    best = 0.0
    for start in range(0, len(points), config.points_per_batch):
        batch = points[start : start + config.points_per_batch]
        logits, iou = predictor.decode_logits(embedding, [Prompt(points=[p]) for p in batch])
        best = max(best, float(iou[:, 1:].max()))
        parts.append(
            _filtered(embedding, batch, logits[:, 1:], iou[:, 1:], config=config, cuts=cuts)
        )
        steps.step()
    if not any(len(part.iou) for part in parts):
        logger.warning(
            "No mask passed: the highest predicted IoU is %.2f (threshold %.2f), and stability "
            "has to be %.2f; lower the thresholds for this model",
            best,
            config.pred_iou_threshold,
            config.stability_threshold,
        )
    names = [field.name for field in dataclasses.fields(_Candidates)]
    every = _Candidates(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))
    inside = ~cut_off(every.boxes, crop_box, size=(image.shape[0], image.shape[1]))
    every = every[inside]
    kept = every[nms(every.boxes, every.iou, threshold=config.box_nms_threshold)]
    masks = _finished(predictor, embedding, kept, crop_box, (image.shape[0], image.shape[1]))
    quality = np.array([mask.predicted_iou for mask in masks])
    return _suppressed(masks, quality, config.box_nms_threshold)


def _filtered(
    embedding: ImageEmbedding,
    points: Array,
    logits: Array,
    iou: Array,
    *,
    config: EverythingConfig,
    cuts: Thresholds,
) -> _Candidates:
    """Keep the candidates of sufficient quality and stability; (B, 3, ...) of each click."""
    good = iou > config.pred_iou_threshold
    chosen, iou = logits[good], iou[good]
    stability = embedding.view.stability(chosen, offset=cuts.stability_offset)
    boxes = _low_res_boxes(chosen, embedding, threshold=cuts.mask)
    clicks = np.repeat(points, good.sum(axis=1), axis=0)
    kept = (stability >= config.stability_threshold) & (boxes[:, 2] > boxes[:, 0])
    return _Candidates(chosen, boxes, iou, stability, clicks)[kept]


def _low_res_boxes(logits: Array, embedding: ImageEmbedding, *, threshold: float) -> Array:
    """Boxes of low-res masks in pixels of the image, (N, 4) float; zeros for empty masks."""
    height, width = embedding.view.low_res_size
    positive: npt.NDArray[np.bool_] = logits[:, :height, :width] > threshold
    edges = []
    for axis in (1, 2):
        taken: npt.NDArray[np.bool_] = np.any(positive, axis=axis)
        length = taken.shape[1]
        last = np.where(taken.any(axis=1), length - taken[:, ::-1].argmax(axis=1), 0)
        edges += [np.where(last > 0, taken.argmax(axis=1), 0), last]
    x0, x1, y0, y1 = edges
    scale = [
        LOW_RES_STRIDE * original / resized
        for original, resized in zip(embedding.original_size, embedding.input_size, strict=True)
    ]
    return np.stack([x0, y0, x1, y1], axis=1) * (scale[1], scale[0], scale[1], scale[0])


def _finished(
    predictor: Predictor,
    embedding: ImageEmbedding,
    kept: _Candidates,
    crop_box: Box,
    size: Size,
) -> list[AutomaticMask]:
    """Upscale the survivors, one at a time, and place them in the image."""
    made = []
    for index in range(len(kept.iou)):
        low_res = kept.logits[index : index + 1]
        mask = embedding.view.masks(low_res, threshold=predictor.manifest.thresholds.mask)[0]
        if mask.shape != size:
            whole = np.zeros(size, np.bool_)
            whole[crop_box[1] : crop_box[3], crop_box[0] : crop_box[2]] = mask
            mask = whole
        box = metrics.bounding_box(mask)
        if box is not None:
            x, y = (kept.points[index] + crop_box[:2]).tolist()
            made.append(
                AutomaticMask(
                    rle=rle.rle_from_mask(mask),
                    box=box,
                    area=int(np.count_nonzero(mask)),
                    predicted_iou=float(kept.iou[index]),
                    stability_score=float(kept.stability[index]),
                    point=(x, y),
                    crop_box=crop_box,
                )
            )
    return made


def _suppressed(
    masks: Sequence[AutomaticMask], scores: Array, threshold: float
) -> list[AutomaticMask]:
    boxes = np.array([mask.box for mask in masks], np.float64).reshape(-1, 4)
    return [masks[index] for index in nms(boxes, scores, threshold=threshold)]
