"""The masks of a prompt, and the ways out of them: arrays, COCO, polygons, files, supervision."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import msgspec
import numpy as np
import numpy.typing as npt

from samedge.errors import BackendUnavailableError, ImageError, PromptError
from samedge.formats.masks import ImageMasks, MaskRecord, prompt_record, record_from_mask
from samedge.pixels.images import check_image
from samedge.pixels.outlines import Ring, outlines
from samedge.types import ActiveBackend, Array, Focus, Prompt, Rle

if TYPE_CHECKING:
    from supervision import Detections


class CocoAnnotation(TypedDict):
    """One entry of ``annotations`` in COCO's instances format."""

    id: int
    image_id: int
    category_id: int
    iscrowd: int
    segmentation: Rle
    bbox: list[int]
    area: int
    score: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class Masks:
    """The masks of one prompt, or of several that were joined.

    Attributes:
        masks: (M, H, W) bool, in the original image's frame.
        iou_predictions: (M,) float32, the model's own estimate of each mask's IoU.
        low_res_logits: (M, S/4, S/4) float32, before the threshold, in the padded input's frame.
        stability_scores: (M,) float32, IoU of the masks cut at logits +1 and -1.
        backend: what executed the decoder.
        timing_ms: ``decode`` and ``postprocess``; with a second look ``focus``, what encoding it
            took.
        focus: the second look that gave the masks; ``None``: the first one did, or several results
            were joined.
    """

    masks: Array
    iou_predictions: Array
    low_res_logits: Array
    stability_scores: Array
    backend: ActiveBackend
    timing_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    focus: Focus | None = None

    @classmethod
    def joined(cls, results: Sequence[Masks]) -> Masks:
        """The masks of several prompts about one image as one result, such as a detector's boxes.

        Args:
            results: at least one, all of the same image.

        Raises:
            PromptError: there is none.
            ImageError: they are of images of different sizes.
        """
        if not results:
            raise PromptError("There are no masks to join: give at least one result.")
        sizes = sorted({result.masks.shape[1:] for result in results})
        if len(sizes) > 1:
            raise ImageError(f"The masks are of images of {sizes}: join those of one image.")
        stages = {stage for result in results for stage in result.timing_ms}
        return cls(
            masks=np.concatenate([result.masks for result in results]),
            iou_predictions=np.concatenate([result.iou_predictions for result in results]),
            low_res_logits=np.concatenate([result.low_res_logits for result in results]),
            stability_scores=np.concatenate([result.stability_scores for result in results]),
            backend=results[0].backend,
            timing_ms={
                stage: sum(result.timing_ms.get(stage, 0.0) for result in results)
                for stage in sorted(stages)
            },
        )

    def __len__(self) -> int:
        return len(self.masks)

    def __repr__(self) -> str:
        count, height, width = self.masks.shape
        quality = ", ".join(f"{value:.2f}" for value in self.iou_predictions[:3])
        more = ", ..." if count > 3 else ""
        return f"Masks({count} of {height}x{width} px, predicted IoU {quality}{more})"

    @property
    def best(self) -> npt.NDArray[np.bool_]:
        """(H, W) bool: the mask of the highest predicted IoU.

        Raises:
            PromptError: there is no mask.
        """
        if not len(self):
            raise PromptError("There is no mask, so none is the best: look at len() first.")
        best: npt.NDArray[np.bool_] = self.masks[int(np.argmax(self.iou_predictions))]
        return best

    def refined(
        self,
        points: npt.ArrayLike,
        labels: npt.ArrayLike | None = None,
        *,
        box: npt.ArrayLike | None = None,
        index: int | None = None,
    ) -> Prompt:
        """A prompt that goes on from one of these masks, from its finest logits.

        Args:
            points: all clicks so far and the new ones, xy pixels of the original image.
            labels: of the clicks.
            box: the box so far.
            index: of the mask; ``None`` takes that of the highest predicted IoU.

        Raises:
            PromptError: as of a ``Prompt``.
        """
        row = int(np.argmax(self.iou_predictions)) if index is None else index
        if self.focus is None:
            return Prompt(points, labels, box=box, mask=self.low_res_logits[row])
        logits = self.focus.low_res_logits[row]
        return Prompt(points, labels, box=box, mask=logits, region=self.focus.region)

    def records(self, prompt: Prompt | None = None, *, index: int = 0) -> tuple[MaskRecord, ...]:
        """One record a mask, as ``--json`` prints it: run lengths, box, area and estimates.

        Args:
            prompt: what asked for them, to be noted.
            index: its place among those asked together.
        """
        made = [
            record_from_mask(
                mask,
                predicted_iou=float(self.iou_predictions[row]),
                stability_score=float(self.stability_scores[row]),
                focus=self.focus,
            )
            for row, mask in enumerate(self.masks)
        ]
        if prompt is None:
            return tuple(made)
        asked = prompt_record(prompt, index)
        return tuple(msgspec.structs.replace(record, prompt=asked) for record in made)

    def to_coco(
        self, *, image_id: int = 1, category_id: int = 1, first_id: int = 1
    ) -> list[CocoAnnotation]:
        """Entries for ``annotations`` of a COCO file, with compressed run lengths.

        Empty masks are left out: COCO's tools refuse them.

        Args:
            image_id: of every entry.
            category_id: of every entry.
            first_id: of the first entry; the others count on from it.
        """
        drawn = [record for record in self.records() if record.bbox is not None]
        return [
            CocoAnnotation(
                id=number,
                image_id=image_id,
                category_id=category_id,
                iscrowd=0,
                segmentation=record.rle,
                bbox=list(record.bbox or ()),
                area=record.area,
                score=record.predicted_iou,
            )
            for number, record in enumerate(drawn, start=first_id)
        ]

    def to_polygons(self) -> list[list[Ring]]:
        """Outlines of every mask: one polygon a connected part, (N, 2) int64 xy.

        Vertices are corners of pixels, so that COCO's tools draw the very mask from them. A hole is
        led into and out of along one line. An empty mask has no polygon.
        """
        return [[part.keyhole for part in outlines(mask)] for mask in self.masks]

    def to_supervision(self) -> Detections:
        """Roboflow supervision's ``Detections``: boxes, masks, and predicted IoU as confidence.

        Empty masks are left out, as they have no box.

        Raises:
            BackendUnavailableError: supervision is not installed.
        """
        try:
            from supervision import Detections
        except ImportError as error:
            raise BackendUnavailableError(
                "supervision, which to_supervision() makes detections for, is not installed: "
                "pip install supervision"
            ) from error
        records = self.records()
        kept = [row for row, record in enumerate(records) if record.bbox is not None]
        corners = [_corners(record) for record in records if record.bbox is not None]
        return Detections(
            xyxy=np.array(corners, np.float32).reshape(-1, 4),
            mask=self.masks[kept],
            confidence=np.asarray(self.iou_predictions[kept], np.float32),
        )

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        file_format: str | None = None,
        image: Array | None = None,
        name: str = "image",
    ) -> list[Path]:
        """Write the masks to a file, in one step.

        Args:
            path: the file. Its ending decides: ``.png`` black and white masks, ``.jpg`` the masks
                drawn on the image, ``.json`` COCO, ``.npz`` arrays.
            file_format: name of another format of :mod:`samedge.formats`, such as ``overlay``.
            image: (H, W, 3) uint8 RGB to draw on; grey without it.
            name: what files call the image.

        Returns:
            The files: several where a format has one a mask.

        Raises:
            ImageError: an image of another size, or an ending that no such format has.
            UnknownNameError: there is no such format.
            WriteError: it cannot be written; what was there is untouched.
        """
        if image is not None and check_image(image).shape[:2] != self.masks.shape[1:]:
            raise ImageError(
                f"The masks are of {self.masks.shape[1:]} pixels and the image of "
                f"{image.shape[:2]} (height, width): give the image that they were made of."
            )
        from samedge.formats.destination import Destination  # with all that writes files

        height, width = self.masks.shape[1:]
        found = ImageMasks(
            name,
            (int(height), int(width)),
            self.records(),
            pixels=image,
            low_res_logits=self.low_res_logits,
        )
        with Destination(Path(path), file_format).open() as writer:
            files = writer.add(found)
            return [*files, *writer.close()]


def _corners(record: MaskRecord) -> tuple[int, int, int, int]:
    x, y, width, height = record.bbox or (0, 0, 0, 0)
    return x, y, x + width, y + height


def mask_records(prompts: Sequence[Prompt], results: Sequence[Masks]) -> tuple[MaskRecord, ...]:
    """One record a mask: prompt, run lengths, box, area and the model's estimates.

    Args:
        prompts: what was asked.
        results: what came back, one entry a prompt.
    """
    pairs = zip(prompts, results, strict=True)
    return tuple(
        record
        for index, (prompt, result) in enumerate(pairs)
        for record in result.records(prompt, index=index)
    )
