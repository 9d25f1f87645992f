"""A model of words in torch, asked like an opened bundle, and how near files come to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from samedge.bundle.canary import Graphs, drift_remedy
from samedge.errors import BundleError, ParityError
from samedge.models.words.base import WordModel
from samedge.pixels.metrics import embedding_cosines
from samedge.proof.decision import limits
from samedge.types import (
    REGION_EMBEDDINGS,
    REGIONS,
    TEXT_EMBEDDINGS,
    TOKENS,
    Array,
    Precision,
    Role,
)


class WordReference:
    """What the exported graphs of a model of words are compared with.

    Args:
        model: in evaluation mode.
        others: answers for the other roles; ``None`` where nobody asks for them.
    """

    def __init__(self, model: WordModel, others: Graphs | None = None) -> None:
        self.model, self.others = model, others

    def run(self, role: str, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Every output of a graph by name.

        Raises:
            BundleError: there is no such graph.
        """
        with torch.inference_mode():
            if role == Role.REGION_ENCODER:
                found = self.model.embed_regions(torch.from_numpy(feeds[REGIONS]))
                return {REGION_EMBEDDINGS: found.numpy()}
            if role == Role.TEXT_ENCODER:
                found = self.model.embed_text(torch.from_numpy(feeds[TOKENS]))
                return {TEXT_EMBEDDINGS: found.numpy()}
        if self.others is None:
            raise BundleError(f"The model of words in torch has no {role}.")
        return self.others.run(role, feeds)


def lowest_cosine(
    role: Role, graphs: Graphs, *, reference: Graphs, feeds: Iterable[Mapping[str, Array]]
) -> float:
    """How like the reference's the embeddings of a graph are, in the worst case.

    What all of the reference's embeddings share is taken away first, so that a graph which is blind
    to its input does not pass.

    Args:
        role: of the graph, which has one output.
        graphs: the opened files.
        reference: see :class:`WordReference`.
        feeds: what both are asked.
    """
    pairs = []
    for feed in feeds:
        (wanted,), (given,) = (
            tuple(asked.run(role, feed).values()) for asked in (reference, graphs)
        )
        pairs.append((wanted, given))
    wanted, given = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return float(np.min(embedding_cosines(wanted, given)))  # NaN stays NaN, and passes no gate


def check_cosine(role: Role, measured: float, *, precision: Precision) -> None:
    """Refuse a graph whose embeddings are not the reference's.

    Args:
        role: of the graph.
        measured: its lowest cosine.
        precision: of the graph, which decides the limit.

    Raises:
        ParityError: they are not.
    """
    limit = limits(precision).embedding_cosine
    if not measured >= limit:
        raise ParityError(f"the {role}'s embeddings", measured, limit, drift_remedy(precision))
