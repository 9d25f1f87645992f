"""What the graphs of a model of words are calibrated and compared on: crops of photos, texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from msgspec import UNSET

from samedge.bundle.manifest import WordsRecord
from samedge.errors import ExportError
from samedge.export.base import ExportRequest, WordsRequest
from samedge.export.graphs import Graph, RegionGraph, text_example
from samedge.predict.words.crops import region_crops
from samedge.predict.words.tokenizer import Tokenizer
from samedge.proof.photos import load_calibration
from samedge.types import REGIONS, TOKENS, Array, Role

_SHARES = (
    (0.05, 0.05, 0.55, 0.6),
    (0.4, 0.3, 0.95, 0.95),
    (0.3, 0.1, 0.6, 0.4),
    (0.0, 0.0, 1.0, 1.0),
)
"""Boxes as shares of a photo, whose ellipses are its regions."""
_TEXTS = 32


def words_record(words: WordsRequest, *, table: str, merges: str | None) -> WordsRecord:
    """What a manifest says of a model of words.

    Args:
        words: what is exported.
        table: the artifact with the words.
        merges: the artifact with the tokenizer's merges.
    """
    rules = words.model.rules
    return WordsRecord(
        table=table,
        model=words.model.source,
        enlarge=rules.enlarge,
        outside=rules.outside,
        threshold=rules.threshold,
        label_threshold=UNSET if rules.label_threshold is None else rules.label_threshold,
        suppression=rules.suppression,
        merges=merges,
        templates=list(words.model.templates) if merges else [],
    )


def word_feeds(graph: Graph, request: ExportRequest) -> Iterable[Mapping[str, Array]]:
    """Calibration feeds of a region or a text encoder.

    Raises:
        ExportError: the request has no model of words.
    """
    if request.words is None:
        raise ExportError(f"There is no model of words to feed the {graph.role} of.")
    data = request.calibration or load_calibration()
    if isinstance(graph, RegionGraph):
        return region_feeds(request.words, data.pictures(), batch=graph.batch)
    return text_feeds(request.words)


def region_feeds(
    words: WordsRequest, pictures: Iterable[Array], *, batch: int | None = None
) -> Iterator[Mapping[str, Array]]:
    """Four regions of each picture, as the runtime cuts them out.

    Args:
        words: says how.
        pictures: (H, W, 3) uint8 RGB.
        batch: fixed number of crops; the last are repeated.
    """
    record = words_record(words, table="", merges=None)
    for picture in pictures:
        masks = [_ellipse(picture.shape[:2], shares) for shares in _SHARES]
        crops = region_crops(picture, masks, record=record, side=words.model.side)
        rows = np.arange(batch or len(crops)) % len(crops)
        yield {REGIONS: np.ascontiguousarray(crops[rows])}


def text_feeds(words: WordsRequest) -> Iterator[Mapping[str, Array]]:
    """Ids of the table's first words in the model's first template."""
    if words.merges is None:
        yield {TOKENS: text_example().numpy()}
        return
    tokenizer, template = Tokenizer.from_bytes(words.merges), words.model.templates[0]
    for word in words.table.words[:_TEXTS]:
        yield {TOKENS: tokenizer.encode(template.replace("{}", word.name))[None]}


def canary_feeds(
    words: WordsRequest, images: Array, *, batch: int | None
) -> dict[str, dict[str, Array]]:
    """What the canary runs the graphs with: its pictures as crops, and two texts.

    Args:
        words: the model.
        images: (2, h, w, 3) uint8, the canary's pictures.
        batch: fixed number of crops.
    """
    side = words.model.side
    rows = np.arange(side) * images.shape[1] // side
    columns = np.arange(side) * images.shape[2] // side
    crops = images[:, rows][:, :, columns]
    feeds = {str(Role.REGION_ENCODER): {REGIONS: np.repeat(crops[:, None], batch or 1, axis=1)}}
    if words.model.reads_text:
        texts = np.stack([text_example(first).numpy() for first in (320, 1929)])
        feeds[str(Role.TEXT_ENCODER)] = {TOKENS: texts}
    return feeds


def _ellipse(size: tuple[int, ...], shares: tuple[float, ...]) -> Array:
    height, width = size
    x0, y0, x1, y1 = (share * side for share, side in zip(shares, (width, height) * 2, strict=True))
    rows, columns = np.ogrid[:height, :width]
    across = (columns + 0.5 - (x0 + x1) / 2) / max((x1 - x0) / 2, 0.5)
    down = (rows + 0.5 - (y0 + y1) / 2) / max((y1 - y0) / 2, 0.5)
    inside: Array = across**2 + down**2 <= 1
    return inside
