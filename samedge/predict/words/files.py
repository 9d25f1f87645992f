"""Image files and words in, masks with their words out; and words for regions that are there."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from samedge.errors import PromptError
from samedge.formats.base import Format
from samedge.formats.masks import MaskRecord, PromptRecord
from samedge.pixels.images import load_image
from samedge.pixels.sample_range import SampleRange
from samedge.pixels.tiles import Tiling
from samedge.predict.everything import (
    AutomaticMask,
    EverythingConfig,
    segment_everything,
)
from samedge.predict.everything_tiles import masks_of, opened_for
from samedge.predict.predictor import Predictor
from samedge.predict.segmentation import Segmentation, segmented_file
from samedge.predict.words.finding import Found, FoundRegion, find, named, named_in_parts
from samedge.types import Array, Progress, Prompt, Role, Steps

logger = logging.getLogger(__name__)


def find_in_file(
    predictor: Predictor,
    path: Path,
    *,
    words: Sequence[str],
    threshold: float | None = None,
    config: EverythingConfig | None = None,
    name: str | None = None,
    sample_range: SampleRange = "auto",
) -> Segmentation:
    """Find the things that words name in one image file.

    Args:
        predictor: of a bundle with words.
        path: the image's file.
        words: as of :func:`samedge.predict.words.finding.find`.
        threshold: the lowest score; ``None`` takes the bundle's.
        config: of everything mode, which proposes the regions; ``None`` takes the bundle's.
        name: what files call the image; ``None`` is the file's own name.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.

    Raises:
        ImageError: the file is no usable image.
        PromptError: a word is not understood.
        InferenceError: the backend failed.
    """
    image = load_image(path, range=sample_range)
    found = find(predictor, words, image=image, threshold=threshold, config=config)
    return segmented_file(
        predictor,
        path,
        records=_asked(found),
        size=(image.shape[0], image.shape[1]),
        pixels=image,
        timing_ms=found.timing_ms,
        name=name,
        role=Role.REGION_ENCODER,
        words=found.words,
    )


def label_file(
    predictor: Predictor,
    path: Path,
    *,
    config: EverythingConfig,
    name: str | None = None,
    sample_range: SampleRange = "auto",
    progress: Progress | None = None,
) -> Segmentation:
    """Find the masks of one image file, and name those that a word fits.

    Args:
        predictor: of a bundle with words.
        path: the image's file.
        config: of everything mode.
        name: what files call the image; ``None`` is the file's own name.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.
        progress: hears of every batch of clicks.

    Raises:
        ImageError: the file is no usable image.
        PromptError: the bundle understands no words.
        InferenceError: the backend failed.
    """
    image = load_image(path, range=sample_range)
    start = time.perf_counter()
    regions = segment_everything(predictor, image, config=config, progress=progress)
    proposed = time.perf_counter()
    words = named(predictor, image, regions=regions)
    scored = time.perf_counter()
    return segmented_file(
        predictor,
        path,
        records=(_record(*pair) for pair in zip(regions, words, strict=True)),
        size=(image.shape[0], image.shape[1]),
        pixels=image,
        timing_ms={"everything": (proposed - start) * 1e3, "score": (scored - proposed) * 1e3},
        name=name,
    )


def label_in_tiles(
    predictor: Predictor,
    path: Path,
    *,
    tiling: Tiling,
    config: EverythingConfig,
    into: Format | None = None,
    name: str | None = None,
    sample_range: SampleRange = "auto",
    progress: Progress | None = None,
) -> Segmentation:
    """Find the masks of one image file by tiles, and name those that a word fits.

    The file is read twice: words are asked of the things that its tiles make up together.

    Args:
        predictor: of a bundle with words.
        path: the image's file.
        tiling: how it is cut.
        config: of everything mode.
        into: the format that the masks are to be written in.
        name: what files call the image; ``None`` is the file's own name.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.
        progress: hears of every tile, and of as many steps again while masks are named.

    Raises:
        ImageError: the file is no usable image.
        PromptError: the bundle understands no words.
        BackendUnavailableError: it is too large to be held, and the extra ``tiles`` is not here.
        OptionError: ``into`` would hold masks of a picture that is too large for that.
        InferenceError: the backend failed.
    """
    with opened_for(path, into=into, sample_range=sample_range) as picture:
        tiles = len(tiling.boxes(picture.size))
        steps = Steps(2 * tiles, progress=progress)
        start = time.perf_counter()
        regions = masks_of(
            predictor, picture, tiling=tiling, config=config, progress=lambda n, _: steps.reach(n)
        )
        proposed = time.perf_counter()
        words = named_in_parts(
            predictor,
            picture,
            regions=regions,
            longest=tiling.side // 2,  # in the rows that the tiles have needed
            progress=lambda n, all_of_them: steps.reach(tiles + tiles * n // all_of_them),
        )
        scored = time.perf_counter()
        if not regions:
            steps.reach(2 * tiles)
        return segmented_file(
            predictor,
            path,
            records=(_record(*pair) for pair in zip(regions, words, strict=True)),
            size=picture.size,
            pixels=picture.whole,
            timing_ms={"everything": (proposed - start) * 1e3, "score": (scored - proposed) * 1e3},
            name=name,
        )


def drawn_prompts(predictor: Predictor, image: Array, *, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Prompts with a mask a thing in the place of those with words.

    Words that find nothing beside others that do are told in a warning.

    Args:
        predictor: of a bundle with words, where there are any.
        image: (H, W, 3) uint8 RGB that the prompts are about.
        prompts: of any kind.

    Raises:
        PromptError: a word is not understood, or the image shows none of its things.
        InferenceError: the backend failed.
    """
    drawn: list[Prompt] = []
    texts = [prompt.text for prompt in prompts if prompt.text is not None]
    if texts:
        found = find(predictor, texts, image=image)
        drawn = [Prompt(mask=region.region.mask) for region in found.regions]
        missing = [a for a in found.words if not a.found]
        scores = ", ".join(f"{a.word!r} {_figure(a.best_score)}" for a in missing)
        if not drawn and len(texts) == len(prompts):
            raise PromptError(
                f"The picture shows nothing of that (best scores: {scores}): give another word, a "
                "box or a point."
            )
        if missing:
            logger.warning("The picture shows nothing of some words (best scores: %s).", scores)
    return [*(prompt for prompt in prompts if prompt.text is None), *drawn]


def _record(region: AutomaticMask, word: FoundRegion | None) -> MaskRecord:
    record = region.record()
    if word is None:
        return record
    return msgspec.structs.replace(record, category=word.word, word_score=round(word.score, 6))


def _asked(found: Found) -> list[MaskRecord]:
    """The masks of some words, each with the word that it answers."""
    prompts = {
        answer.word: PromptRecord(index=index, text=answer.asked)
        for index, answer in enumerate(found.words)
    }
    return [
        msgspec.structs.replace(_record(region.region, region), prompt=prompts[region.word])
        for region in found.regions
    ]


def _figure(score: float | None) -> str:
    return "none" if score is None else f"{score:.2f}"
