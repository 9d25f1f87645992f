"""Image files and prompts in, masks, timings and files out: what ``samedge segment`` calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samedge.errors import ImageError, PromptError
from samedge.formats.mask_files import (
    SUFFIXES,
    check_ending,
    coco_document,
    format_from_path,
    mask_records,
    write_json,
    write_masks,
)
from samedge.pixels.images import load_image
from samedge.predict.predictor import Predictor
from samedge.types import ActiveBackend, Array, Masks, Prompt, Size


@dataclasses.dataclass(frozen=True, eq=False)
class Segmentation:
    """The masks of one image.

    Attributes:
        path: the image's file.
        image: (H, W, 3) uint8 RGB.
        prompts: what was asked.
        results: what came back, one entry a prompt.
        timing_ms: ``load`` (what opening the bundle cost), ``preprocess``, ``encode``, and, of all
            prompts together, ``decode`` and ``postprocess``.
    """

    path: Path
    image: Array
    prompts: tuple[Prompt, ...]
    results: tuple[Masks, ...]
    timing_ms: dict[str, float]

    @property
    def backend(self) -> ActiveBackend:
        """What really executed the graphs."""
        return self.results[0].backend

    @property
    def size(self) -> Size:
        """Height and width of the image."""
        height, width = self.image.shape[:2]
        return height, width

    def records(self) -> list[dict[str, Any]]:
        """One record a mask, as ``samedge segment --json`` prints it."""
        return mask_records(self.prompts, self.results)


def segment_image(
    predictor: Predictor, path: Path, *, prompts: Sequence[Prompt], multimask: bool = False
) -> Segmentation:
    """Segment one image file: one encode, then one decode for all prompts together.

    Args:
        predictor: an open predictor.
        path: the image's file.
        prompts: at least one, in pixels of the image.
        multimask: whether to return all three candidates of each prompt.

    Raises:
        ImageError: the file is no usable image.
        PromptError: no prompts, or one that does not fit the image.
    """
    if not prompts:
        raise PromptError("There is no prompt: give at least a point, a box or a mask.")
    image = load_image(path)
    embedding = predictor.encode(image)
    results = tuple(predictor.decode_batch(embedding, prompts, multimask=multimask))
    timing = {
        "load": predictor.timing_ms["load"],
        **embedding.timing_ms,
        **{
            stage: sum(result.timing_ms[stage] for result in results)
            for stage in ("decode", "postprocess")
        },
    }
    return Segmentation(path, image, tuple(prompts), results, timing)


class Destination:
    """Where the results of a run are written.

    Args:
        path: a file for one image or for COCO, a folder otherwise; ``None`` writes into the current
            folder, and nothing at all where ``file_format`` is ``None`` too.
        file_format: one of ``SUFFIXES``; ``None`` goes by the ending of ``path``.
        images: how many images there will be.

    Raises:
        ImageError: one file name for the pictures of several images, or a file whose ending does
            not fit the format.
    """

    def __init__(self, path: Path | None, file_format: str | None, *, images: int = 1) -> None:
        self._writes = path is not None or file_format is not None
        self._path = path or Path()
        self._is_folder = path is None or path.is_dir() or not path.suffix
        self.file_format = file_format or format_from_path(self._path)
        self._taken: set[Path] = set()
        self._images: list[tuple[str, Size, list[dict[str, Any]]]] = []
        if images > 1 and self.file_format != "coco" and not self._is_folder:
            raise ImageError(
                f"{path} is one file for the {self.file_format} results of {images} images: "
                "name a folder, or write --format coco."
            )
        if not self._is_folder:
            check_ending(self._path, self.file_format)

    def write(self, result: Segmentation) -> list[Path]:
        """Write one image's results and return the files; COCO is kept until ``close``."""
        if not self._writes:
            return []
        if self.file_format == "coco":
            self._images.append((result.path.name, result.size, result.records()))
            return []
        return write_masks(
            self._file(result.path.stem),
            file_format=self.file_format,
            image=result.image,
            prompts=result.prompts,
            results=result.results,
        )

    def close(self) -> list[Path]:
        """Write what was kept and return the files."""
        if not self._images:
            return []
        path = self._file("masks") if self._is_folder else self._path
        return [write_json(path, coco_document(self._images))]

    def _file(self, stem: str) -> Path:
        """A name that no image before took."""
        if not self._is_folder:
            return self._path
        kind = "mask" if self.file_format == "png" else self.file_format
        for number in range(1, len(self._taken) + 2):
            again = "" if number == 1 else f"_{number}"
            path = self._path / f"{stem}_{kind}{again}{SUFFIXES[self.file_format]}"
            if path not in self._taken:
                break
        self._taken.add(path)
        return path
