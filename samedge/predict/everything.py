"""Automatic masks: a grid of clicks, filtered by quality and stability, duplicates suppressed.

After the automatic mask generator of "Segment Anything" (Kirillov et al., 2023, appendix B). Done
otherwise: quality, stability and a first suppression use the decoder's low-res logits, so that only
the survivors are upscaled to the image; clicks that a good mask covers are skipped
(:mod:`samedge.predict.everything_points`); thresholds, ranking and crops are those that were
measured for the model, and masks say which of them they are a part of.
:meth:`EverythingConfig.segment_anything` has that project's own settings, which give its masks.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from samedge.errors import OptionError
from samedge.pixels.boxes import Box, crop_boxes, cut_off, nms, point_grid, soft_nms_order
from samedge.pixels.images import check_image, load_image
from samedge.pixels.sample_range import SampleRange
from samedge.predict.embedding import ImageEmbedding
from samedge.predict.everything_candidates import Candidates, joined, kept_of, ranks
from samedge.predict.everything_focus import looked_closer, refocused
from samedge.predict.everything_masks import AutomaticMask, Drawn, drawn, with_parents
from samedge.predict.everything_points import GOOD_IOU, GOOD_STABILITY, ClickGrid
from samedge.predict.everything_proposals import Proposals
from samedge.predict.everything_redrawn import Part, redrawn
from samedge.predict.everything_settings import EverythingConfig, EverythingRules
from samedge.predict.predictor import Predictor
from samedge.predict.segmentation import Segmentation, segmented_file
from samedge.types import Array, Progress, Prompt, Size, Steps

__all__ = [
    "AutomaticMask",
    "EverythingConfig",
    "Proposals",
    "batch_count",
    "everything_in_file",
    "masks_and_clicks",
    "proposals",
    "segment_everything",
]

logger = logging.getLogger(__name__)


def segment_everything(
    predictor: Predictor,
    image: Array,
    *,
    config: EverythingConfig | None = None,
    progress: Progress | None = None,
) -> list[AutomaticMask]:
    """Find the masks of an image without being told where to look.

    Args:
        predictor: an open predictor; one that focuses draws small masks again from a closer look.
        image: (H, W, 3) uint8 RGB.
        config: settings; what they leave open, and everything where there are none, is the
            bundle's.
        progress: hears of every batch of clicks, of those that were skipped at the end of their
            crop, and of every crop whose masks were drawn again.

    Returns:
        Masks of distinct things, the best ranked first.

    Raises:
        ImageError: not such an array.
        OptionError: a config that is none.
        InferenceError: the backend failed.
    """
    return masks_and_clicks(predictor, image, config=config, progress=progress)[0]


def masks_and_clicks(
    predictor: Predictor,
    image: Array,
    *,
    config: EverythingConfig | None = None,
    progress: Progress | None = None,
) -> tuple[list[AutomaticMask], int]:
    """As :func:`segment_everything`, and how many clicks were decoded."""
    check_image(image)
    search = _Search(predictor, image, config or EverythingConfig(), progress)
    ranked = search.ranked(list(search.masks()))
    if predictor.focus != "never" and search.whole is not None:
        ranked = refocused(predictor, search.whole, found=ranked, min_area=search.config.min_area)
    return with_parents(ranked), search.clicks


def proposals(
    predictor: Predictor,
    image: Array,
    *,
    config: EverythingConfig | None = None,
    progress: Progress | None = None,
) -> Proposals:
    """The masks of an image as the clicks on it drew them, for who needs but a few of them.

    Args:
        predictor: an open predictor; one that focuses does so when it is asked for.
        image: (H, W, 3) uint8 RGB.
        config: as of :func:`segment_everything`.
        progress: hears of every batch of clicks.

    Raises:
        ImageError: not such an array.
        InferenceError: the backend failed.
    """
    check_image(image)
    search = _Search(predictor, image, config or EverythingConfig(), progress, is_later=True)
    parts = list(search.parts())
    found = [one for number, part in enumerate(parts) for one in search.drawn(part, number)]
    return Proposals(
        parts,
        search.ranked(found),
        again=search.drawn_again if search.rules.redrawn else None,
        closer=None if predictor.focus == "never" else search.looked_closer,
    )


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
    start = time.perf_counter()
    masks = segment_everything(predictor, image, config=config, progress=progress)
    elapsed_ms = (time.perf_counter() - start) * 1000
    return segmented_file(
        predictor,
        path,
        records=(mask.record() for mask in masks),
        size=(image.shape[0], image.shape[1]),
        pixels=image,
        timing_ms={"everything": elapsed_ms},
        name=name,
    )


def batch_count(size: Size, config: EverythingConfig) -> int:
    """Batches of clicks that an image of this (height, width) takes, at most.

    Args:
        size: of the image.
        config: with the bundle's values filled in; where they are ``None``, without crops.
    """
    side, downscale = config.points_per_side or 32, config.crop_points_downscale or 1
    crops = crop_boxes(
        size, layers=config.crop_layers or 0, overlap_ratio=config.crop_overlap_ratio
    )
    counts = (len(_grid(side, downscale, layer)) for _, layer in crops)
    return sum(math.ceil(count / config.points_per_batch) for count in counts)


def _grid(side: int, downscale: int, layer: int) -> npt.NDArray[np.float64]:
    return point_grid(int(side / downscale**layer))


class _Search:
    """One image's search: what runs, with what settings, and who listens."""

    def __init__(
        self,
        predictor: Predictor,
        image: Array,
        config: EverythingConfig,
        progress: Progress | None,
        *,
        is_later: bool = False,
    ) -> None:
        """``is_later``: masks are drawn again when they are asked for, if ever."""
        if not isinstance(config, EverythingConfig):
            raise OptionError(
                f"config is a {type(config).__name__}, expected a samedge.EverythingConfig."
            )
        self.predictor, self.image = predictor, image
        self.cuts = predictor.manifest.thresholds
        self.rules: EverythingRules = config.rules(predictor.manifest)
        self.config = dataclasses.replace(config, **vars(self.rules))
        self.size = image.shape[0], image.shape[1]
        self.clicks = 0
        self.whole: ImageEmbedding | None = None  # of layer 0
        is_now = self.rules.redrawn and not is_later
        drawings = len(list(self.crops(closer=True))) if is_now else 0
        total = batch_count(self.size, self.config) + drawings
        self._steps = Steps(total, progress=progress)

    def crops(self, *, closer: bool = False) -> Iterator[tuple[Box, int]]:
        """Those that are clicked on; ``closer`` also those in which masks are drawn again alone."""
        layers = self.rules.crop_layers
        if closer and layers:
            layers += self.rules.closer_layers
        ratio = self.config.crop_overlap_ratio
        return crop_boxes(self.size, layers=layers, overlap_ratio=ratio)

    def masks(self) -> Iterator[Drawn]:
        """The masks of all crops, of each none that is a duplicate of another or cut off."""
        parts: Iterable[Part] = self.parts()
        if self.rules.redrawn:
            parts = self.again(list(parts))
        for number, part in enumerate(parts):
            yield from self.drawn(part, number)
            if self.rules.redrawn:
                self._steps.step()

    def parts(self) -> Iterator[Part]:
        """The crops that are clicked on, each with what the clicks found."""
        return (self._part(box, layer) for box, layer in self.crops())

    def again(self, parts: Sequence[Part]) -> Iterator[Part]:
        """The crops of :meth:`parts` and closer ones, with the masks that are drawn again there."""
        every = [*parts, *self._closer_parts(parts[0].found)]
        return redrawn(self.predictor, every, size=self.size, batch=self.config.points_per_batch)

    def _encoded(self, crop_box: Box) -> ImageEmbedding:
        x0, y0, x1, y1 = crop_box
        return self.predictor.encode(np.ascontiguousarray(self.image[y0:y1, x0:x1]))

    def _part(self, crop_box: Box, layer: int) -> Part:
        """A crop and what clicks on it give, no duplicates and nothing that its edge cuts off."""
        x0, y0, x1, y1 = crop_box
        embedding = self._encoded(crop_box)
        if layer == 0:
            self.whole = embedding
        grid = _grid(self.rules.points_per_side, self.rules.crop_points_downscale, layer)
        every = self._candidates(embedding, grid * (x1 - x0, y1 - y0))
        inside = np.flatnonzero(~cut_off(every.boxes, crop_box, size=self.size))
        order = every.rank(self.rules.stability_weight)[inside]
        kept = inside[nms(every.boxes[inside], order, threshold=self.rules.box_nms_threshold)]
        return Part(crop_box, layer, every[kept], lambda: embedding)

    def _closer_parts(self, found: Candidates) -> Iterator[Part]:
        """Smaller crops than those with clicks, to draw masks again; none without crops."""
        nothing = found[np.zeros(0, np.intp)]
        for box, layer in self.crops(closer=True):
            if layer > self.rules.crop_layers:
                yield Part(box, layer, nothing, functools.partial(self._encoded, box))

    def drawn_again(self, parts: Sequence[Part]) -> Iterator[tuple[Part, list[Drawn]]]:
        """The crops of :meth:`again`, each with its masks at the image's size, duplicates too."""
        for number, part in enumerate(self.again(parts)):
            yield part, self._upscaled(part, number)

    def looked_closer(self, masks: Sequence[AutomaticMask]) -> list[AutomaticMask]:
        """Masks, the small ones from a closer look."""
        assert self.whole is not None, "the whole image is the first part that is looked at"
        area = self.config.min_area
        return looked_closer(self.predictor, self.whole, masks=masks, min_area=area)

    def drawn(self, part: Part, number: int) -> list[Drawn]:
        """The masks of a crop at the image's size, without duplicates."""
        masks = self._upscaled(part, number)
        return _suppressed(masks, self.rank(masks), threshold=self.rules.box_nms_threshold)

    def _upscaled(self, part: Part, number: int) -> list[Drawn]:
        x0, y0, x1, y1 = part.crop_box
        return drawn(
            self.predictor.frame.view((y1 - y0, x1 - x0)),
            part.found,
            number=number,
            crop_box=part.crop_box,
            size=self.size,
            threshold=self.cuts.mask,
            min_area=self.config.min_area,
        )

    def _candidates(self, embedding: ImageEmbedding, points: Array) -> Candidates:
        """What the clicks on a crop give, of sufficient quality and stability."""
        view, size, best = embedding.view, self.config.points_per_batch, 0.0
        end = self._steps.done + math.ceil(len(points) / size)
        grid = ClickGrid(points, view, coarse_to_fine=self.rules.coarse_to_fine)
        parts = []
        for numbers in grid.batches(size):
            clicks = points[numbers]
            prompts = [Prompt(points=[point]) for point in clicks]
            logits, iou = self.predictor.decode_logits(embedding, prompts)
            best = max(best, float(iou[:, 1:].max()))
            kept = kept_of(
                view, clicks, logits=logits[:, 1:], iou=iou[:, 1:], rules=self.rules, cuts=self.cuts
            )
            good = (kept.iou > GOOD_IOU) & (kept.stability > GOOD_STABILITY)
            grid.settle(kept.logits[good], threshold=self.cuts.mask)
            parts.append(kept)
            self.clicks += len(clicks)
            self._steps.reach(min(self._steps.done + 1, end))
        if self._steps.done < end:
            self._steps.reach(end)
        if not any(len(part.iou) for part in parts):
            self._warn(best)
        return joined(parts)

    def _warn(self, best: float) -> None:
        logger.warning(
            "No mask passed: the highest predicted IoU is %.2f (threshold %.2f), and stability "
            "has to be %.2f; lower the thresholds for this model",
            best,
            self.rules.pred_iou_threshold,
            self.rules.stability_threshold,
        )

    def ranked(self, found: Sequence[Drawn]) -> list[Drawn]:
        """The masks of all crops without duplicates, the best first."""
        if self.rules.crop_layers:
            threshold = self.rules.crop_nms_threshold
            found = _suppressed(found, self.preference(found), threshold=threshold)
        sigma = self.rules.soft_nms_sigma
        order = soft_nms_order(_boxes(found), self.rank(found), sigma=sigma)
        return [found[index] for index in order]

    def rank(self, masks: Sequence[Drawn]) -> npt.NDArray[np.float64]:
        """Of masks of one or several crops."""
        iou = np.array([one.mask.predicted_iou for one in masks], np.float64)
        stability = np.array([one.mask.stability_score for one in masks], np.float64)
        return ranks(iou, stability, weight=self.rules.stability_weight)

    def preference(self, masks: Sequence[Drawn]) -> npt.NDArray[np.float64]:
        """Which of two crops' masks stays: the better ranked one, or that of the smaller crop."""
        if self.rules.crops_by_rank:
            return self.rank(masks)
        crops = [one.mask.crop_box for one in masks]
        areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in crops]
        return 1.0 / np.array(areas, np.float64)


def _suppressed(masks: Sequence[Drawn], scores: Array, *, threshold: float) -> list[Drawn]:
    return [masks[index] for index in nms(_boxes(masks), scores, threshold=threshold)]


def _boxes(masks: Sequence[Drawn]) -> npt.NDArray[np.float64]:
    """(N, 4), of the image."""
    return np.array([one.mask.box for one in masks], np.float64).reshape(-1, 4)
