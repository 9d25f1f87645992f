"""Words added to a bundle that is there, whose other graphs stay as they are, to the bit."""

from __future__ import annotations

import dataclasses
import shutil

import msgspec
from msgspec import UNSET

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.bundle.canary import Canary, record_canary
from samedge.bundle.manifest import Manifest
from samedge.bundle.writer import BundleWriter
from samedge.errors import ExportError
from samedge.export import base
from samedge.export.base import ExportRequest, WordsRequest
from samedge.export.gates import measured_words, region_batch
from samedge.export.sources import opened_model, photo_paths
from samedge.export.staging import described, written_words
from samedge.export.word_feeds import canary_feeds
from samedge.predict.graphs import Graphs
from samedge.predict.trust import check_canary
from samedge.proof.words import WordReference
from samedge.targets import target
from samedge.types import TEXT, Precision, Steps


def add_words(bundle: Bundle, words: WordsRequest, *, steps: Steps | None = None) -> Bundle:
    """Put a model of words into a bundle, in one step, proven as an export proves it.

    Args:
        bundle: of a model that has a name, without words.
        words: what to add.
        steps: hears of every step.

    Raises:
        ExportError: the bundle has words already or no canary, or a library failed.
        ParityError: the added graphs do not give their model's embeddings.
        BundleError: the canary does not pass.
    """
    if bundle.manifest.own_words is not None or bundle.canary() is None:
        raise ExportError(
            f"{bundle.path} has words already, or no canary: export it again, with --words."
        )
    request = _request(bundle.manifest, words, steps or Steps())
    with BundleWriter(bundle.path) as writer:
        _copy(bundle, writer)
        staged = _staged(bundle.manifest, writer, request)
        backend = runtimes.get(base.get(request.target.format).check_backend(request.target))
        with Graphs(staged, backend, options=backend.scratch_options) as opened:
            found = measured_words(request, opened, enforced=True)
            canary = _canary(bundle, words, opened)
        manifest = msgspec.structs.replace(staged.manifest, words=found or UNSET)
        committed = writer.commit(manifest, canary=canary)
    with Graphs(committed, backend) as opened:
        check_canary(opened)
    return committed


def _request(manifest: Manifest, words: WordsRequest, steps: Steps) -> ExportRequest:
    model, source = opened_model(manifest.model.name, image_size=None, steps=steps)
    return ExportRequest(
        model=model,
        source=source,
        target=target(manifest.target),
        precision=Precision(manifest.precision),
        images=photo_paths(None),
        words=words,
        steps=steps,
    )


def _copy(bundle: Bundle, writer: BundleWriter) -> None:
    for record in bundle.manifest.artifacts:
        for name in record.files:
            place = writer.folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.folder / name, place)
    writer.artifacts += bundle.manifest.artifacts


def _staged(manifest: Manifest, writer: BundleWriter, request: ExportRequest) -> Bundle:
    """The bundle with the added graphs, words and merges, not yet in its place."""
    exporter = base.get(request.target.format)
    graphs = exporter.written(exporter.word_graphs(request), request, folder=writer.folder)
    records = [described(writer, graph, request=request) for graph in graphs]
    manifest = msgspec.structs.replace(
        manifest,
        graphs=[*manifest.graphs, *records],
        prompts=[*manifest.prompts, TEXT],
        words=written_words(request, writer) or UNSET,
    )
    manifest = msgspec.structs.replace(manifest, artifacts=writer.artifacts, canary_sha256=None)
    return Bundle(writer.destination, writer.folder, manifest)


def _canary(bundle: Bundle, words: WordsRequest, opened: Graphs) -> Canary:
    """The bundle's own canary with what the model of words answers."""
    own, manifest = bundle.canary(), opened.bundle.manifest
    assert own is not None, "bundles without one were refused"
    feeds = canary_feeds(words, own.images, batch=region_batch(manifest))
    reference = WordReference(words.model, opened)
    answers = record_canary(reference, manifest.frame, feeds=feeds).answers
    added = {role: answers[role] for role in feeds}
    return dataclasses.replace(own, answers={**own.answers, **added}, feeds=feeds)
