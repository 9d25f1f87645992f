"""Regions of an image held against words: a bundle's region encoder, table and text encoder."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from samedge.bundle.manifest import WordsRecord
from samedge.bundle.words import WordTable, read_table
from samedge.errors import BundleError, PromptError
from samedge.files.reading import read_bytes
from samedge.predict.graphs import Graphs
from samedge.predict.words.crops import region_crops
from samedge.predict.words.phrases import AskedWord, asked_words
from samedge.predict.words.tokenizer import Tokenizer
from samedge.runtimes.base import TensorSpec
from samedge.types import (
    REGION_EMBEDDINGS,
    REGIONS,
    TEXT_EMBEDDINGS,
    TOKENS,
    Array,
    Role,
)

_BATCH = 16
"""Regions in one call of an encoder that takes any number."""


class RegionScorer:
    """What words mean for the regions of an image, over the graphs of a bundle.

    Args:
        graphs: of the bundle.

    Raises:
        PromptError: no model in the bundle understands words.
    """

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs
        self.record = _record(graphs)

    @functools.cached_property
    def table(self) -> WordTable:
        """The bundle's words.

        Raises:
            BundleError: the file changed, or is no table.
        """
        table = read_table(self._graphs.bundle)
        assert table is not None, "the constructor refuses bundles without words"
        return table

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The text encoder's.

        Raises:
            BundleError: the bundle has no text encoder, or the file is no list of merges.
        """
        if self.record.merges is None:
            raise BundleError(f"{self._graphs.bundle.path} has no {Role.TEXT_ENCODER}.")
        path = self._graphs.bundle.file(self.record.merges)
        return Tokenizer.from_bytes(
            read_bytes(path, limit="document_bytes", expected="merges", error=BundleError)
        )

    def asked(self, words: str | Sequence[str]) -> tuple[AskedWord, ...]:
        """Read what is asked for; see :func:`samedge.predict.words.phrases.asked_words`.

        Raises:
            PromptError: it is not understood.
        """
        return asked_words(_texts(words), self.table, free=self.record.merges is not None)

    def embed(self, image: Array, masks: Sequence[Array]) -> Array:
        """Embeddings of regions.

        Args:
            image: (H, W, 3) uint8 RGB.
            masks: N of them, (H, W) bool.

        Returns:
            (N, D) float32.

        Raises:
            InferenceError: the backend failed, or gave NaN or infinity.
        """
        parts = [np.zeros((0, self.length), np.float32)]
        for batch in _batches(masks, self.batch):
            crops = region_crops(image, batch, record=self.record, side=self.side)
            parts.append(self.embed_crops(crops))
        return np.concatenate(parts)

    def embed_crops(self, crops: Array) -> Array:
        """Embeddings of crops of regions.

        Args:
            crops: (N, side, side, 3) uint8 RGB, ``batch`` of them at most.

        Returns:
            (N, D) float32.

        Raises:
            InferenceError: the backend failed, or gave NaN or infinity.
        """
        fixed = self._input.shape[0]
        length = fixed if isinstance(fixed, int) else len(crops)
        fed = np.zeros((length, *crops.shape[1:]), np.uint8)
        fed[: len(crops)] = crops
        found = self._graphs.run(Role.REGION_ENCODER, {REGIONS: fed})
        self._graphs.check_finite(Role.REGION_ENCODER, found)
        return np.asarray(found[REGION_EMBEDDINGS][: len(crops)])

    @property
    def _input(self) -> TensorSpec:
        return self._graphs.session(Role.REGION_ENCODER).inputs[0]

    @property
    def batch(self) -> int:
        """Regions in one call of the encoder."""
        fixed = self._input.shape[0]
        return fixed if isinstance(fixed, int) else _BATCH

    @property
    def side(self) -> int:
        """Of a crop, pixels.

        Raises:
            BundleError: the encoder takes crops of any size.
        """
        side = self._input.shape[1]
        if not isinstance(side, int):
            raise BundleError(
                f"The {Role.REGION_ENCODER} of {self._graphs.bundle.path} takes crops of no fixed "
                "size: export the words again."
            )
        return side

    @property
    def length(self) -> int:
        """Numbers of an embedding."""
        return int(self.table.embeddings.shape[1])

    def margins(self, embeddings: Array, asked: Sequence[AskedWord]) -> Array:
        """How far each region prefers each word to the background words.

        Args:
            embeddings: (N, D) of regions.
            asked: A words.

        Returns:
            (N, A) float32, the word's logit less the log-sum-exp of the background words' but for
            the word itself: its log-odds.

        Raises:
            InferenceError: the text encoder failed.
        """
        logits = embeddings @ self.table.embeddings.T
        columns = [self._column(embeddings, logits, word) for word in asked]
        return np.stack(columns, axis=1) if columns else np.zeros((len(embeddings), 0), np.float32)

    def _column(self, embeddings: Array, logits: Array, word: AskedWord) -> Array:
        others = self.table.background.copy()
        if word.row is None:
            own = embeddings @ self._phrase(word.word)
        else:
            own = logits[:, word.row]
            others[word.row] = False
        return own - log_sum_exp(logits[:, others])

    def _phrase(self, phrase: str) -> Array:
        """(D,) embedding of a phrase: the mean over the templates, as long as theirs."""
        rows = []
        for template in self.record.templates or ["{}"]:
            tokens = self.tokenizer.encode(template.replace("{}", phrase))
            found = self._graphs.run(Role.TEXT_ENCODER, {TOKENS: tokens[None]})
            self._graphs.check_finite(Role.TEXT_ENCODER, found)
            rows.append(found[TEXT_EMBEDDINGS][0])
        return ensembled(np.stack(rows))


def ensembled(rows: Array) -> Array:
    """One embedding of several of one word, as long as theirs; (T, D) to (D,) float32."""
    mean = rows.astype(np.float64).mean(axis=0)
    length = np.linalg.norm(rows, axis=1).mean()
    scaled: Array = mean * (length / max(float(np.linalg.norm(mean)), 1e-12))
    return scaled.astype(np.float32)


def log_sum_exp(logits: Array) -> Array:
    """Of each row, (N, B) to (N,); minus infinity becomes -100 where there is no column."""
    if not logits.shape[1]:
        return np.full(len(logits), -100.0, np.float32)
    top = logits.max(axis=1)
    total: Array = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return total.astype(np.float32)


def _batches(masks: Sequence[Array], length: int) -> Iterator[Sequence[Array]]:
    for start in range(0, len(masks), length):
        yield masks[start : start + length]


def _record(graphs: Graphs) -> WordsRecord:
    manifest = graphs.bundle.manifest
    if manifest.own_words is None:
        raise PromptError(
            f"No model in this bundle understands words; {manifest.model.name} takes "
            f"{', '.join(manifest.prompts)}. Give a point or a box, or export with words: "
            "`samedge export --words samedge-words ...`."
        )
    return manifest.own_words


def _texts(words: object) -> Sequence[str]:
    texts = [words] if isinstance(words, str) else words
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise PromptError(f"The words are {words!r:.60}, expected text, or a list of it.")
    return texts
