"""Copies of an fp32 bundle that are quantized, opened and measured, and thrown away."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from samedge import runtimes
from samedge.bundle import Bundle
from samedge.calibration import base
from samedge.calibration.base import FeedSource, Quantizer
from samedge.calibration.dataset import CalibrationSet
from samedge.calibration.plan import PrecisionPlan
from samedge.errors import CalibrationError
from samedge.manifest import ArtifactRecord
from samedge.predictor import Predictor
from samedge.targets import TARGETS
from samedge.types import Precision

ROLES = ("encoder", "decoder")

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where the files of a bundle are run while they are measured.

    Attributes:
        backend: name of the backend: the bundle's own, or ONNX Runtime as its stand-in.
        device: that backend's device; ``None``: its first.
        options: given to it for fp32.
        options_int8: given to it for INT8 and for the float rest of an INT8 bundle.
        rest: what an INT8 bundle of this platform computes in elsewhere.
        timed: whether this is the platform itself, so that latencies mean something.
    """

    backend: str
    device: str | None
    options: dict[str, Any]
    options_int8: dict[str, Any]
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
    uncached = {"cache": False} if manifest.backend == "openvino" else {}  # files live for minutes
    rest = Precision(int8.get("inference_precision", Precision.FP32.value))
    own = runtimes.get(manifest.backend).probe()
    if own.available or bundle.artifact("encoder").format != "onnx":
        options = {**manifest.options, **uncached}
        return Bench(
            manifest.backend, manifest.device, options, {**options, **int8}, rest, timed=True
        )
    logger.warning(
        "%s is not here (%s): accuracy is measured with ONNX Runtime, and latency not at all.",
        manifest.backend,
        own.detail,
    )
    exact = {"graph_optimization": "disabled"}
    return Bench("onnxruntime", None, exact, exact, Precision.FP16, timed=False)


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
    form = bundle.artifact("encoder").format
    on_processor = manifest.backend == "onnxruntime"
    names = {"openvino": "nncf", "onnx": "qdq_unsigned" if on_processor else "qdq"}
    if form not in names:
        raise CalibrationError(
            f"{bundle.path} holds files in format {form!r}, expected one of {', '.join(names)}."
        )
    return base.get(names[form])


@contextmanager
def quantized_predictor(
    bundle: Bundle, plan: PrecisionPlan, data: CalibrationSet, quantizer: Quantizer
) -> Iterator[Predictor]:
    """A copy of an fp32 bundle, quantized as a plan wants it and opened.

    Args:
        bundle: the fp32 bundle; it stays as it is.
        plan: precisions by module.
        data: calibration images.
        quantizer: the one of the bundle's format.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "bundle")
        shutil.copytree(bundle.folder, folder)
        for role in ROLES:
            source = bundle.artifact_path(role)
            if any(plan.is_quantized(module) for module in quantizer.modules(source)):
                destination = folder / bundle.artifact(role).path
                feeds = _feeds(bundle, role, data)
                quantizer.quantize(source, destination, plan=plan, feeds=feeds)
        records = [_resized(record, folder) for record in bundle.manifest.artifacts]
        manifest = msgspec.structs.replace(bundle.manifest, artifacts=records)
        with bench_for(bundle).open(Bundle(folder, folder, manifest), int8=True) as predictor:
            yield predictor


def _resized(record: ArtifactRecord, folder: Path) -> ArtifactRecord:
    size = sum((folder / name).stat().st_size for name in record.files)
    return msgspec.structs.replace(record, bytes=size)


def _feeds(bundle: Bundle, role: str, data: CalibrationSet) -> FeedSource:
    size = bundle.manifest.input_size
    if role == "encoder":
        return lambda: data.encoder_feeds(size)
    bench = bench_for(bundle)
    encoder = runtimes.get(bench.backend).open(
        bundle.artifact_path("encoder"), device=bench.device, options=bench.options
    )
    return lambda: data.decoder_feeds(size, lambda feeds: encoder.run(feeds)["image_embeddings"])
