"""Graphs in other projects' dialects against the model in torch: nothing of samedge runs them.

Their programs do, with ONNX Runtime, and would draw whatever is in the files. So the files are
asked here what those programs ask, and must answer what the same graphs answer in torch.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.bundle.canary import drift_remedy
from samedge.errors import ParityError
from samedge.export.graphs import Graph
from samedge.pixels.metrics import embedding_cosines
from samedge.pixels.prompts import feeds_of
from samedge.proof.decision import limits
from samedge.proof.probes import probes
from samedge.proof.reference import TorchReference
from samedge.runtimes.base import Backend, Session
from samedge.runtimes.options import required_probe
from samedge.types import (
    IMAGE,
    IMAGE_EMBEDDINGS,
    IOU_PREDICTIONS,
    LOW_RES_MASKS,
    Array,
    Precision,
    Prompt,
    Role,
    Size,
)

PHOTOS = 2
"""On which they are asked."""

_READERS = ("onnxruntime", "openvino")  # the first is what those programs run


class DialectGraph(Graph):
    """A graph that another project's programs feed."""

    @abstractmethod
    def asked(self, photo: Array, reference: TorchReference) -> Iterator[dict[str, Tensor]]:
        """What those programs feed about a photo.

        Args:
            photo: (H, W, 3) uint8 RGB.
            reference: gives what comes from other graphs, such as the embedding.
        """


def decoder_questions(
    photo: Array, reference: TorchReference
) -> Iterator[tuple[dict[str, Tensor], Size]]:
    """A decoder's own inputs for a prompt of every kind about a photo, one with an earlier mask.

    Args:
        photo: (H, W, 3) uint8 RGB.
        reference: gives the embedding and the earlier mask.

    Yields:
        Tensors by name, points in pixels of the model's input; ``(height, width)`` of the photo.
    """
    view = reference.frame.view_of(photo)
    embedding = reference.run(Role.ENCODER, {IMAGE: view.encoder_input(photo)})
    kinds = itertools.groupby(probes(view.original_size), key=lambda probe: probe.kind)
    prompts = [next(found).prompt for _, found in kinds]
    first = reference.run(Role.DECODER, {**feeds_of(prompts[:1], view), **embedding})
    prompts.append(Prompt(points=prompts[0].points, mask=first[LOW_RES_MASKS][0][1]))
    for prompt in prompts:
        feeds = {**feeds_of([prompt], view), **embedding}
        yield {name: torch.from_numpy(array) for name, array in feeds.items()}, view.original_size


def measured_dialects(
    graphs: Sequence[DialectGraph],
    bundle: Bundle,
    *,
    reference: TorchReference,
    photos: Sequence[Array],
    enforced: bool = True,
) -> tuple[str, ...]:
    """Hold the files of some graphs against the same graphs in torch.

    Args:
        graphs: in dialects, as they were written.
        bundle: holds the files; not yet in its place.
        reference: the model.
        photos: (H, W, 3) uint8 RGB, at least two.
        enforced: whether a file that answers something else is refused.

    Returns:
        A note on each for the manifest.

    Raises:
        ParityError: a file answers something else, and the rules are enforced.
        BackendUnavailableError: nothing here opens ONNX.
    """
    backend = _reader()
    notes = []
    for graph in graphs:
        path = bundle.artifact_path(graph.role)
        with backend.open(path, options=backend.scratch_options) as session:
            answers = [
                _answers(graph.eval(), session, feeds)
                for photo in photos[:PHOTOS]
                for feeds in graph.asked(photo, reference)
            ]
        figures = list(_figures(graph.output_names, answers))
        for name, measured, limit in figures:
            if enforced and not measured >= limit:
                tensor = f"the {graph.role}'s {name}"
                raise ParityError(tensor, measured, limit, drift_remedy(Precision.FP32))
        lowest = min(measured for _, measured, _ in figures)
        alike = "as in torch" if all(m >= limit for _, m, limit in figures) else "not as in torch"
        notes.append(f"{graph.role}: {alike}, {lowest:.5f} of 1 in {len(answers)} questions")
    return tuple(notes)


def _reader() -> Backend:
    """What opens the files here: ONNX Runtime, or another that reads ONNX."""
    found = [runtimes.get(name) for name in _READERS]
    here = next((backend for backend in found if backend.probe().available), found[0])
    required_probe(here)
    return here


_Answers = tuple[Mapping[str, Array], Mapping[str, Array]]
"""Outputs by name: of the graph in torch, and of its file."""


def _answers(graph: DialectGraph, session: Session, feeds: Mapping[str, Tensor]) -> _Answers:
    with torch.inference_mode():
        found = graph(**feeds)
    tensors = (found,) if isinstance(found, Tensor) else found
    wanted = dict(zip(graph.output_names, (tensor.numpy() for tensor in tensors), strict=True))
    return wanted, session.run({name: tensor.numpy() for name, tensor in feeds.items()})


def _figures(
    names: Sequence[str], answers: Sequence[_Answers]
) -> Iterator[tuple[str, float, float]]:
    """``(name, measured, lowest)`` of every output; 1 is the same."""
    allowed = limits(Precision.FP32)
    for name in names:
        pairs = [(wanted[name].astype(np.float64), given[name]) for wanted, given in answers]
        if name == IMAGE_EMBEDDINGS:
            stacks = (np.stack(side) for side in zip(*pairs, strict=True))
            cosines = embedding_cosines(*stacks)
            yield f"{name} (cosine)", float(np.min(cosines)), allowed.embedding_cosine
        elif name == IOU_PREDICTIONS:
            error = np.max([np.abs(wanted - given).max() for wanted, given in pairs])
            yield f"{name} (1 - error)", 1.0 - float(error), 1.0 - allowed.quality_error
        else:
            error = np.max([_error(wanted, given) for wanted, given in pairs])
            yield f"{name} (1 - error over spread)", 1.0 - float(error), 1.0 - allowed.logit_error


def _error(wanted: Array, given: Array) -> float:
    """RMS difference over the spread of what is wanted."""
    spread = max(float(wanted.std()), 1e-12)
    return float(np.sqrt(np.mean(np.square(wanted - given)))) / spread
