"""Copies of an fp32 bundle that are quantized, opened and measured, and thrown away."""

from __future__ import annotations

import copy
import dataclasses
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import ArtifactRecord
from samedge.calibration import base
from samedge.calibration.base import FeedSource, Quantizer
from samedge.calibration.plan import PrecisionPlan
from samedge.errors import CalibrationError
from samedge.files.scratch import scratch_folder
from samedge.predict.graphs import Graphs
from samedge.predict.predictor import Predictor
from samedge.proof.photos import CalibrationSet, Feeds
from samedge.targets import TARGETS
from samedge.types import IMAGE_ROLES, Options, Precision, Role

_EVERY_FIFTH = 5  # has no divisor in common with the six prompts a picture

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where the files of a bundle are run while they are measured.

    Attributes:
        backend: name of the backend: the bundle's own, or its stand-in.
        device: that backend's device; ``None``: its first.
        options: given to it for fp32.
        options_int8: given to it for INT8 and for the float rest of an INT8 bundle.
        rest: what an INT8 bundle of this platform computes in elsewhere.
        timed: whether this is the platform itself, so that latencies mean something.
    """

    backend: str
    device: str | None
    options: Options
    options_int8: Options
    rest: Precision
    timed: bool

    def open(self, bundle: Bundle, *, int8: bool = False) -> Predictor:
        """Open a bundle, in fp32 or as an INT8 bundle is opened."""
        options = self.options_int8 if int8 else self.options
        return Predictor(bundle, runtimes.get(self.backend), device=self.device, options=options)


def bench_for(bundle: Bundle) -> Bench:
    """Where a bundle is measured on this machine.

    Raises:
        BackendUnavailableError: neither the platform's backend is here nor a stand-in.
    """
    manifest = bundle.manifest
    row = TARGETS.get(manifest.target)
    int8 = {} if row is None else row.backend_options(Precision.INT8)
    rest = Precision(int8.get("inference_precision", Precision.FP32.value))
    backend = runtimes.get(manifest.backend)
    own = backend.probe()
    if own.available or not backend.stand_in:
        options = {**manifest.options, **backend.scratch_options}
        return Bench(
            manifest.backend, manifest.device, options, {**options, **int8}, rest, timed=True
        )
    logger.warning(
        "%s is not here (%s): accuracy is measured with %s, and latency not at all.",
        manifest.backend,
        own.detail,
        backend.stand_in,
    )
    exact = dict(runtimes.get(backend.stand_in).exact_options)
    return Bench(backend.stand_in, None, exact, exact, Precision.FP16, timed=False)


def quantizer_for(bundle: Bundle) -> Quantizer:
    """The quantizer of a bundle's format.

    Raises:
        CalibrationError: no quantizer writes this format, or the bundle is not fp32.
    """
    manifest = bundle.manifest
    if manifest.precision != Precision.FP32.value:
        raise CalibrationError(
            f"{bundle.path} is a bundle in {manifest.precision}, expected fp32: calibration starts "
            "from full precision. Export one with --precision fp32."
        )
    form = bundle.graph(Role.ENCODER).format
    quantizer = base.suited(form, backend=manifest.backend, precision=Precision.INT8)
    if quantizer is None:
        known = sorted({form for name in base.names() for form in base.get(name).formats})
        raise CalibrationError(
            f"{bundle.path} holds files in format {form!r}, expected one of {', '.join(known)}."
        )
    return quantizer


class RoleFeeds:
    """Calibration feeds of an fp32 bundle's graphs, made once for any number of quantizations.

    Args:
        bundle: the fp32 bundle.
        data: calibration images.
    """

    def __init__(self, bundle: Bundle, data: CalibrationSet) -> None:
        self._bundle, self._data = bundle, data
        self._made: dict[str, list[Feeds]] = {}
        self._stride = 1

    def few(self) -> RoleFeeds:
        """The same with a fifth of the decoder's prompts: of every kind, on most pictures."""
        thinned = copy.copy(self)
        thinned._stride = _EVERY_FIFTH
        return thinned

    def source(self, role: str) -> FeedSource:
        """The feeds of a graph, for a quantizer to read as often as it likes."""
        stride = self._stride if role == Role.DECODER else 1
        return lambda: self._of(role)[::stride]

    def _of(self, role: str) -> list[Feeds]:
        if role not in self._made:
            frame = self._bundle.manifest.frame
            if role == Role.ENCODER:
                self._made[role] = list(self._data.encoder_feeds(frame))
            else:
                with opened_graphs(self._bundle) as graphs:
                    self._made[role] = list(self._data.decoder_feeds(frame, graphs))
        return self._made[role]


def opened_graphs(bundle: Bundle) -> Graphs:
    """The graphs of an fp32 bundle, where it is measured on this machine."""
    bench = bench_for(bundle)
    return Graphs(bundle, runtimes.get(bench.backend), device=bench.device, options=bench.options)


@contextmanager
def quantized_predictor(
    bundle: Bundle, plan: PrecisionPlan, *, feeds: RoleFeeds, quantizer: Quantizer
) -> Iterator[Predictor]:
    """A copy of an fp32 bundle, quantized as a plan wants it and opened.

    What the plan leaves in float is stored as an export stores it, with 8-bit weights on OpenVINO.

    Args:
        bundle: the fp32 bundle; it stays as it is.
        plan: precisions by module.
        feeds: of the bundle's graphs.
        quantizer: the one of the bundle's format.
    """
    with scratch_folder() as scratch:
        folder = scratch / "bundle"
        shutil.copytree(bundle.folder, folder)
        for role in IMAGE_ROLES:
            source, destination = bundle.artifact_path(role), folder / bundle.artifact(role).path
            quantizer.quantize(source, destination, plan=plan, feeds=feeds.source(role))
        records = [_resized(record, folder) for record in bundle.manifest.artifacts]
        manifest = msgspec.structs.replace(bundle.manifest, artifacts=records)
        with bench_for(bundle).open(Bundle(folder, folder, manifest), int8=True) as predictor:
            yield predictor


def _resized(record: ArtifactRecord, folder: Path) -> ArtifactRecord:
    size = sum((folder / name).stat().st_size for name in record.files)
    return msgspec.structs.replace(record, bytes=size)
