"""Whether a staged bundle still is its model: parity, accuracy and canary."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from samedge.bundle.bundle import Bundle
from samedge.bundle.canary import (
    Canary,
    canary_images,
    check_canary,
    drift_remedy,
    record_canary,
)
from samedge.bundle.manifest import Manifest, ParityRecord, WordsRecord
from samedge.bundle.writer import BundleWriter
from samedge.export import base, staging
from samedge.export.base import ExportRequest, ExportResult
from samedge.export.dialect_gate import measured_dialects
from samedge.export.sources import read_photos
from samedge.export.word_feeds import canary_feeds, region_feeds, text_feeds
from samedge.pixels.prompts import fitting_bucket
from samedge.predict.graphs import Graphs
from samedge.predict.predictor import Predictor
from samedge.proof import parity
from samedge.proof.accuracy import Accuracy, compare
from samedge.proof.decision import Budget, GraphLimits, Verdict, canary_limits, limits_of
from samedge.proof.reference import TorchReference
from samedge.proof.scenes import Reference
from samedge.proof.words import WordReference, check_cosine, lowest_cosine
from samedge.types import Precision, Role


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """What a bundle must keep to, and whether it is refused otherwise.

    Attributes:
        max_drop: as of ``export``.
        budget: what accuracy may cost.
        enforced: whether a bundle that breaks them is refused.
    """

    max_drop: float | None
    budget: Budget
    enforced: bool

    def parity(self, manifest: Manifest) -> GraphLimits:
        """Limits of a bundle's parity with the model in torch."""
        own = self.max_drop if manifest.precision == Precision.FP32.value else None
        return limits_of(manifest, max_drop=own)


@dataclasses.dataclass(frozen=True)
class Checked:
    """A bundle that was written and measured, and is not yet in its place."""

    request: ExportRequest
    writer: BundleWriter
    manifest: Manifest
    canary: Canary
    parity: ParityRecord
    kinds: tuple[tuple[str, int, float, float, float], ...]
    accuracy: Accuracy | None

    def committed(self, choices: Sequence[dict[str, Any]]) -> ExportResult:
        """Put the bundle in its place.

        Args:
            choices: rows of the table that ``auto`` chose from, for the manifest.
        """
        self.request.steps.step("writing the bundle")
        manifest = self.manifest
        if choices:
            accuracy = {**(manifest.accuracy or {}), "choices": list(choices)}
            manifest = msgspec.structs.replace(manifest, accuracy=accuracy)
        base.get(self.request.target.format).accompany(self.request, self.writer.folder)
        return ExportResult(
            bundle=self.writer.commit(manifest, canary=self.canary),
            parity=self.parity,
            kinds=self.kinds,
            accuracy=self.accuracy,
            choices=tuple(choices),
        )


def checked(
    request: ExportRequest, writer: BundleWriter, *, rules: Rules, reference: Reference | None
) -> Checked:
    """Write a request's bundle and measure it.

    Args:
        request: what to write.
        writer: where; nothing is committed.
        rules: what it must keep to.
        reference: the same model in fp32; ``None`` leaves accuracy out.

    Raises:
        ParityError, GateError: it does not keep to the rules, and they are enforced.
        BundleError: its files compute something else than the canary.
    """
    bundle = staging.staged(request, writer)
    backend, device, options = staging.checking(request)
    with Predictor(bundle, backend, device=device, options=options) as predictor:
        measured = _measured(request, predictor, rules.parity(bundle.manifest))
        if rules.enforced:
            measured.check(advice=f"{parity.ADVICE} {drift_remedy(request.precision)}")
        words = measured_words(request, predictor.graphs, enforced=rules.enforced)
        notes = _dialects(request, bundle, enforced=rules.enforced)
        canary = _canary(request, predictor.graphs)
        accuracy = _accuracy(request, reference, predictor, rules)
    if rules.enforced and accuracy is not None:
        accuracy.check()
    record = measured.record()
    return Checked(
        request=request,
        writer=writer,
        manifest=_with_figures(
            msgspec.structs.replace(
                bundle.manifest,
                words=words or UNSET,
                notes=[*bundle.manifest.notes, *notes],
            ),
            record,
            accuracy,
            rules,
        ),
        canary=canary,
        parity=record,
        kinds=measured.kinds(),
        accuracy=accuracy,
    )


def _accuracy(
    request: ExportRequest, reference: Reference | None, subject: Predictor, rules: Rules
) -> Accuracy | None:
    """What a precision below fp32 loses."""
    if reference is None or request.precision is Precision.FP32:
        return None
    return compare(
        reference,
        subject,
        budget=rules.budget,
        timed=staging.is_platform(request.target),
        stage=lambda remark: request.steps.say(f"accuracy, {remark}"),
    )


def _measured(request: ExportRequest, predictor: Predictor, limits: GraphLimits) -> parity.Parity:
    request.steps.step("parity")
    return parity.measure(
        TorchReference(request.model),
        predictor,
        photos=read_photos(request.images),
        limits=limits,
        progress=lambda done, total: request.steps.say(f"parity, photo {done} of {total}"),
    )


def _dialects(request: ExportRequest, bundle: Bundle, *, enforced: bool) -> tuple[str, ...]:
    """What the manifest notes of the graphs that other projects' programs run."""
    graphs = tuple(base.get(request.target.format).dialect_graphs(request))
    if not graphs:
        return ()
    request.steps.step("parity of the dialects")
    return measured_dialects(
        graphs,
        bundle,
        reference=TorchReference(request.model),
        photos=read_photos(request.images),
        enforced=enforced,
    )


def measured_words(request: ExportRequest, graphs: Graphs, *, enforced: bool) -> WordsRecord | None:
    """What the manifest says of the words, with the parity of their graphs.

    Args:
        request: with the model of words; ``None`` comes back where it has none.
        graphs: the written files, opened.
        enforced: whether a graph that is another is refused.

    Raises:
        ParityError: a graph does not give its model's embeddings, and the rules are enforced.
    """
    words, manifest = request.words, graphs.bundle.manifest
    record = manifest.own_words
    if words is None or record is None:
        return None
    request.steps.step("parity of the words")
    feeds = {
        Role.REGION_ENCODER: region_feeds(
            words, read_photos(request.images), batch=region_batch(manifest)
        )
    }
    if words.model.reads_text:
        feeds[Role.TEXT_ENCODER] = text_feeds(words)
    reference, found = WordReference(words.model), {}
    for role, asked in feeds.items():
        found[str(role)] = lowest_cosine(role, graphs, reference=reference, feeds=asked)
        graph = manifest.graph(role)
        if enforced and graph is not None:
            check_cosine(role, found[str(role)], precision=Precision(graph.precision))
    return msgspec.structs.replace(record, cosine_min=found)


def region_batch(manifest: Manifest) -> int | None:
    """Regions in one call of a bundle's region encoder; ``None`` where any number may be."""
    record = manifest.graph(Role.REGION_ENCODER)
    axis = None if record is None else record.inputs[0].shape[0]
    return axis if isinstance(axis, int) else None


def _canary(request: ExportRequest, graphs: Graphs) -> Canary:
    """Record the canary from the reference, and hold the files against it as a device will."""
    request.steps.step("canary")
    model, manifest, words = TorchReference(request.model), graphs.bundle.manifest, request.words
    reference = model if words is None else WordReference(words.model, model)
    images, _ = canary_images()
    of_roles = canary_limits(manifest)
    loosest = min(of_roles.values())
    recorded = record_canary(
        reference,
        model.frame,
        min_cosine=loosest,
        limits={role: limit for role, limit in of_roles.items() if limit > loosest},
        feeds=None if words is None else canary_feeds(words, images, batch=region_batch(manifest)),
    )
    canary = Canary.from_bytes(recorded.to_bytes())  # as the device will read it
    active = graphs.active(Role.DECODER)
    check_canary(
        canary,
        graphs,
        frame=graphs.frame,
        where=f"{active.name} device {active.device!r}",
        bucket=fitting_bucket(manifest.prompt_buckets, length=2),
    )
    return canary


def _with_figures(
    manifest: Manifest, record: ParityRecord, accuracy: Accuracy | None, rules: Rules
) -> Manifest:
    changes: dict[str, Any] = {"parity": record}
    if accuracy is not None:
        changes["accuracy"] = msgspec.to_builtins(accuracy)
        if accuracy.verdict == Verdict.UNDECIDED.value:
            note = f"accuracy {accuracy.summary}; --undecided {accuracy.undecided}"
            changes["notes"] = [*manifest.notes, note]
    if not rules.enforced:
        changes["gate"] = "skipped: --no-gate"
    return msgspec.structs.replace(manifest, **changes)
