"""Models of words made ready to go into a bundle: their table, and their tokenizer's merges."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from samedge.bundle.words import Word, WordTable
from samedge.errors import BackendUnavailableError, ExportError, OptionError
from samedge.export.base import WordsRequest
from samedge.models.words.base import WordModel
from samedge.models.words.head import WordHead
from samedge.models.words.opening import open_word_model
from samedge.models.words.vocabulary import read_words, usual_words
from samedge.predict.words.regions import ensembled
from samedge.predict.words.tokenizer import Tokenizer

_PACKAGE, _MERGES = "open_clip", "bpe_simple_vocab_16e6.txt.gz"


def asked_words(
    name: str | Path | None, vocabulary: str | Path | None, *, accepts_licence: bool
) -> WordsRequest | None:
    """What ``samedge export`` is asked for; ``None`` where that is nothing.

    Args:
        name: of the model of words.
        vocabulary: file of its words.
        accepts_licence: as of :func:`words_request`.

    Raises:
        OptionError: words without a model.
        SamedgeError: as of :func:`words_request`.
    """
    if name is None:
        if vocabulary is not None:
            raise OptionError(
                f"A vocabulary, {vocabulary}, needs a model that is to know it: give one by "
                "--words, such as clip-vit-b-32."
            )
        return None
    words = None if vocabulary is None else read_words(Path(vocabulary))
    return words_request(name, vocabulary=words, accepts_licence=accepts_licence)


def words_request(
    name: str | Path,
    *,
    vocabulary: Sequence[Word] | None = None,
    accepts_licence: bool = False,
) -> WordsRequest:
    """Open a model of words, and make the table of what a bundle is to know by it.

    Args:
        name: as of :func:`samedge.models.words.opening.open_word_model`.
        vocabulary: the words; ``None`` takes the usual ones. The embedded model has its own.
        accepts_licence: whether a licence for research alone is accepted.

    Raises:
        UnknownNameError, CheckpointError, BackendUnavailableError: as of ``open_word_model``.
        BackendUnavailableError: the tokenizer's merges are nowhere here.
        ExportError: words for a model that has its own.
    """
    model = open_word_model(name, accepts_licence=accepts_licence)
    if isinstance(model, WordHead):
        if vocabulary is not None:
            raise ExportError(f"{name} knows its own {len(model.table.words)} words: give none.")
        return WordsRequest(model=model, table=model.table)
    merges = merges_of(Path(name))
    table = made_table(model, vocabulary or usual_words(), merges=merges)
    return WordsRequest(model=model, table=table, merges=merges)


def merges_of(folder: Path) -> bytes:
    """The tokenizer's merges: those in a model's folder, or those of open_clip's package.

    Raises:
        BackendUnavailableError: there are neither.
    """
    own = folder / "merges.txt"
    if own.is_file():
        return own.read_bytes()
    found = importlib.util.find_spec(_PACKAGE)
    places = [] if found is None else [Path(p) for p in found.submodule_search_locations or ()]
    path = next((place / _MERGES for place in places if (place / _MERGES).is_file()), None)
    if path is None:
        raise BackendUnavailableError(
            f"CLIP's tokenizer needs its merges: neither is there a {own}, nor the package "
            "open_clip_torch, which ships them. Fix: pip install 'samedge[clip]'"
        )
    return path.read_bytes()


def made_table(model: WordModel, words: Sequence[Word], *, merges: bytes) -> WordTable:
    """Embed words with a model's text tower.

    Args:
        model: one that reads text.
        words: with their synonyms, which share the first name's row.
        merges: of its tokenizer.
    """
    tokenizer = Tokenizer.from_bytes(merges)
    rows = []
    for word in words:
        texts = [template.replace("{}", word.name) for template in model.templates]
        tokens = torch.from_numpy(np.stack([tokenizer.encode(text) for text in texts]))
        with torch.inference_mode():
            rows.append(ensembled(model.embed_text(tokens).numpy()))
    return WordTable(tuple(words), np.stack(rows))
