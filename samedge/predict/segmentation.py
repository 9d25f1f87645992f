"""Image files and prompts in, masks and timings out; a batch survives its failing images."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from samedge.errors import PromptError
from samedge.formats.base import Writer
from samedge.formats.masks import ImageMasks, MaskRecord
from samedge.formats.results import Masks, mask_records
from samedge.pixels.images import load_image
from samedge.pixels.islands import mended
from samedge.pixels.sample_range import SampleRange
from samedge.predict.ordered import OF_ONE_IMAGE, in_order
from samedge.predict.predictor import Predictor
from samedge.predict.words.answers import WordAnswer
from samedge.types import ActiveBackend, Array, Prompt, Role, Size


@dataclasses.dataclass(frozen=True, eq=False)
class Segmentation:
    """The masks of one image file.

    Attributes:
        path: the image's file, as it was given.
        found: its masks.
        backend: what really executed the graphs.
        timing_ms: ``load`` (what opening the bundle cost) and what the stages took.
        files: what was written of it.
        words: what became of each word, where words were asked for.
    """

    path: Path
    found: ImageMasks
    backend: ActiveBackend
    timing_ms: dict[str, float]
    files: tuple[Path, ...] = ()
    words: tuple[WordAnswer, ...] = ()


def segmented_file(
    predictor: Predictor,
    path: Path,
    *,
    records: Iterable[MaskRecord],
    size: Size,
    pixels: Array | None,
    timing_ms: Mapping[str, float],
    name: str | None = None,
    role: Role = Role.DECODER,
    words: tuple[WordAnswer, ...] = (),
) -> Segmentation:
    """The masks of one image file, for whoever writes them.

    Args:
        predictor: that made them.
        path: the image's file.
        records: the masks.
        size: of the image, ``(height, width)``.
        pixels: (H, W, 3) uint8 RGB, or ``None`` where they are not at hand.
        timing_ms: of each stage.
        name: what files call the image; ``None`` is the file's own name.
        role: of the graph whose backend is told.
        words: what became of each word.
    """
    found = ImageMasks(name or path.name, size, tuple(records), pixels=pixels)
    timing = {"load": predictor.timing_ms["load"], **timing_ms}
    return Segmentation(path, found, predictor.active_backend(role), timing, words=words)


@dataclasses.dataclass(frozen=True, eq=False)
class Failed:
    """An image file that gave no masks, and why."""

    path: Path
    error: Exception


Outcome = Segmentation | Failed


def segment_image(
    predictor: Predictor,
    path: Path,
    *,
    prompts: Sequence[Prompt],
    multimask: bool = False,
    min_area: int = 0,
    name: str | None = None,
    sample_range: SampleRange = "auto",
) -> Segmentation:
    """Segment one image file: one encode, then one decode for all prompts together.

    A predictor that focuses adds an encode for each part of the image that it looks at again.

    Args:
        predictor: an open predictor.
        path: the image's file.
        prompts: at least one, in pixels of the image.
        multimask: whether to return all three candidates of each prompt.
        min_area: holes and islands of fewer pixels of the image are mended.
        name: what files call the image; ``None`` is the file's own name.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.

    Raises:
        ImageError: the file is no usable image.
        PromptError: no prompts, or one that does not fit the image.
    """
    if not prompts:
        raise PromptError("There is no prompt: give at least a point, a box or a mask.")
    image = load_image(path, range=sample_range)
    embedding = predictor.encode(image)
    results = tuple(predictor.decode_batch(embedding, prompts, multimask=multimask))
    if min_area:
        results = tuple(_mended(result, min_area) for result in results)
    stages = {
        stage: sum(result.timing_ms.get(stage, 0.0) for result in results)
        for stage in ("focus", "decode", "postprocess")
        if any(stage in result.timing_ms for result in results)  # a look costs where it loses, too
    }
    found = ImageMasks(
        name or path.name,
        (image.shape[0], image.shape[1]),
        mask_records(prompts, results),
        pixels=image,
        prompts=tuple(prompts),
        low_res_logits=np.concatenate([result.low_res_logits for result in results]),
    )
    timing = {"load": predictor.timing_ms["load"], **embedding.timing_ms, **stages}
    return Segmentation(path, found, results[0].backend, timing)


def _mended(result: Masks, min_area: int) -> Masks:
    masks = np.stack([mended(mask, least_px=min_area) for mask in result.masks])
    return dataclasses.replace(result, masks=masks)


def segment_files(
    paths: Sequence[Path],
    segment: Callable[[Path], Segmentation],
    *,
    writer: Writer,
    workers: int = 1,
) -> Iterator[Outcome]:
    """Segment image files, and write what each gives in their order.

    An image that cannot be read, segmented or written ends nothing but itself.

    Args:
        paths: the images' files.
        segment: makes the masks of one; called in threads where there are several workers.
        writer: takes them, in the caller's own thread; the caller closes it.
        workers: images segmented at a time. So many and one more are in memory at most.

    Yields:
        One outcome a path, without the pixels and logits that were written.
    """
    calls = (functools.partial(_segmented, segment, path) for path in paths)
    with contextlib.closing(in_order(calls, workers=workers, ahead=workers + 1)) as outcomes:
        for outcome in outcomes:
            yield outcome if isinstance(outcome, Failed) else _written(outcome, writer)


def _segmented(segment: Callable[[Path], Segmentation], path: Path) -> Outcome:
    try:
        return segment(path)
    except OF_ONE_IMAGE as error:
        return Failed(path, error)


def _written(made: Segmentation, writer: Writer) -> Outcome:
    try:
        files = tuple(writer.add(made.found))
    except OF_ONE_IMAGE as error:
        return Failed(made.path, error)
    slim = dataclasses.replace(made.found, pixels=None, low_res_logits=None)
    return dataclasses.replace(made, found=slim, files=files)
