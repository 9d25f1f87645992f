"""From a model to a verified bundle: graphs, files, parity, canary, one rename."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from samedge import runtimes
from samedge._version import __version__
from samedge.bundle import Bundle
from samedge.bundle_writer import BundleWriter
from samedge.calibration import parity
from samedge.calibration.accuracy import MAX_DROP, Accuracy, Reference, compare
from samedge.calibration.dataset import PHOTOS, load_calibration
from samedge.calibration.plan import FLOATS, PrecisionPlan
from samedge.canary import (
    MIN_COSINE,
    MIN_COSINE_QUANTIZED,
    Canary,
    check_canary,
    record_canary,
)
from samedge.errors import (
    BundleError,
    CalibrationError,
    ExportError,
    GateError,
    UnknownNameError,
)
from samedge.export import base, choice
from samedge.export.base import DIALECTS, ExportedGraph, ExportRequest, ExportResult, Progress
from samedge.export.quantization import check_plan, plan_of
from samedge.export.reference import TorchReference
from samedge.export.sources import opened_model, photo_paths, read_photos, spread
from samedge.feeds import Bucket, fitting_bucket
from samedge.manifest import (
    SCHEMA,
    ArtifactRecord,
    Manifest,
    ParityRecord,
    Preprocessing,
    bundle_id,
)
from samedge.models.sam import PromptableModel
from samedge.opening import open_graph
from samedge.predictor import Predictor
from samedge.runtimes.base import Backend
from samedge.targets import Target
from samedge.targets import target as target_named
from samedge.types import Precision

logger = logging.getLogger(__name__)


def export(
    model: PromptableModel | str | Path,
    target: Target | str,
    *,
    output: str | Path,
    precision: Precision | str = Precision.AUTO,
    input_size: int | None = None,
    gate: bool = True,
    max_drop: float | None = None,
    images: str | Path | None = None,
    calibration: str | Path | None = None,
    plan: PrecisionPlan | None = None,
    dialects: Sequence[str] = (),
    buckets: Sequence[Bucket] | None = None,
    options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> ExportResult:
    """Export a model for a platform into a bundle, and prove that it still is that model.

    The bundle appears at ``output`` in one step when everything has passed; an error or an
    interrupt leaves what was there before, and nothing else.

    Args:
        model: a name of ``samedge models``, the path of a checkpoint, or a model in torch.
        target: a name of ``samedge targets``, or a target.
        output: the bundle's folder, or its ``.samedge`` file.
        precision: what the artifacts compute in. ``auto`` takes the fastest that keeps the masks
            of the target's default, of INT8 if there is a calibration set, and of fp32.
        input_size: side S of the padded input, pixels; ``None`` takes the model's own.
        gate: refuse a bundle whose masks drift from the model's; otherwise only record it.
        max_drop: mean IoU that a precision below fp32 may lose (box prompts; clicks twice that);
            for fp32 how far the mean mask IoU may fall below 1. ``None`` takes the limits of
            :mod:`samedge.calibration.accuracy` and :mod:`samedge.calibration.parity`.
        images: folder of photos to compare on; ``None`` takes the calibration set's, or those that
            come with samedge.
        calibration: folder or COCO file of images to calibrate and to measure accuracy on; ``None``
            takes the photos that come with samedge.
        plan: precisions by module; ``None`` takes the precision's default plan.
        dialects: further decoders, such as ``"meta"``.
        buckets: fixed ``(B, N)`` of the decoder; ``None`` takes the target's, ``()`` means none.
        options: of the format, by name; see :attr:`samedge.export.base.Exporter.option_help`.
        progress: hears of every step.

    Returns:
        The bundle, with the measured parity.

    Raises:
        UnknownNameError: an unknown model, target, precision or dialect.
        ExportError: the platform or its format cannot hold what is asked for, or a library failed.
        ParityError: the exported graphs do not compute what the model computes.
        GateError: they lose more accuracy against fp32 than ``max_drop``.
        CalibrationError: a calibration set that cannot calibrate, or a plan that does not fit.
        BackendUnavailableError: the platform's backend, needed to check the files, is not here.
        CheckpointError: the checkpoint does not fit its model.
        BundleError: ``output`` is something else than a bundle.
    """
    start = time.perf_counter()
    report = progress or base.no_progress
    platform_row = target_named(target) if isinstance(target, str) else target
    _check_dialects(dialects)
    resolved = platform_row.precision(precision)
    is_float = resolved is Precision.FP32
    data = None if calibration is None and is_float else load_calibration(calibration)
    own = None if calibration is None or data is None else spread(data.images)
    photos = own if own and images is None else photo_paths(images)
    opened, source = opened_model(model, image_size=input_size, progress=report)
    request = ExportRequest(
        model=opened,
        source=source,
        target=platform_row,
        precision=resolved,
        buckets=tuple(platform_row.prompt_buckets if buckets is None else buckets),
        dialects=tuple(dialects),
        images=photos,
        calibration=data,
        plan=plan,
        options=dict(options or {}),
        progress=report,
    )
    check_plan(request)
    request = base.get(platform_row.format).prepared(request)
    rules = _Rules(max_drop, enforced=gate)
    is_free = Precision(precision) is Precision.AUTO
    with _float_reference(request, always=is_free and data is not None) as reference:
        tries = base.get(platform_row.format).tries_precisions
        if is_free and tries and reference is not None:
            result = _fastest(request, Path(output), rules, reference)
        else:
            result = _written(request, Path(output), rules, reference)
    return dataclasses.replace(result, seconds=time.perf_counter() - start)


@dataclasses.dataclass(frozen=True)
class _Rules:
    """What a bundle must keep to, and whether it is refused otherwise."""

    max_drop: float | None
    enforced: bool

    def parity(self, precision: Precision) -> parity.Gate:
        own = self.max_drop if precision is Precision.FP32 else None
        return parity.gate(precision, max_drop=own)

    @property
    def accuracy(self) -> float:
        return MAX_DROP if self.max_drop is None else self.max_drop


@contextmanager
def _float_reference(request: ExportRequest, *, always: bool) -> Iterator[Reference | None]:
    """The same model in fp32, opened, and its masks; ``None`` where nothing is compared with it.

    For a platform without fp32 it is ONNX Runtime's.
    """
    if request.precision is Precision.FP32 and not always:
        yield None
        return
    row = request.target
    if Precision.FP32 not in set(row.precisions) & set(base.get(row.format).precisions):
        row = target_named("cpu")
    plain = dataclasses.replace(
        request, target=row, precision=Precision.FP32, dialects=(), plan=None, options={}
    )
    exporter = base.get(row.format)
    with tempfile.TemporaryDirectory() as scratch, BundleWriter(Path(scratch, "fp32")) as writer:
        request.progress(note="fp32 for comparison")
        staged = _staged(plain, exporter, writer)
        backend, device, options = _checking(exporter, plain)
        with Predictor(staged, backend, device=device, options=options) as predictor:
            yield Reference(predictor, request.calibration or load_calibration())


def _fastest(
    request: ExportRequest, output: Path, rules: _Rules, reference: Reference
) -> ExportResult:
    """Try every precision that ``auto`` may take, and keep the fastest that passes."""
    rows: list[choice.Choice] = []
    passed: dict[Precision, _Checked] = {}
    with ExitStack() as writers:  # what is not committed is gone at its end
        for precision in _candidates(request):
            attempt = dataclasses.replace(request, precision=precision)
            writer = writers.enter_context(BundleWriter(output))
            try:
                found = _checked(attempt, writer, rules, reference)
            except (GateError, BundleError) as error:
                rows.append(choice.row(precision, None, str(error)))
                continue
            passed[precision] = found
            rows.append(choice.row(precision, found.accuracy, choice.verdict(found.accuracy)))
        chosen = choice.fastest(rows)
        table = choice.table(rows, chosen)
        if chosen in passed:
            return passed[chosen].committed(table)
    plain = dataclasses.replace(request, precision=chosen)
    return _written(plain, output, rules, reference, choices=table)


def _candidates(request: ExportRequest) -> list[Precision]:
    """Precisions below fp32 for ``auto``: the default, and INT8 with images of the user's own."""
    writable = base.get(request.target.format).precisions
    wanted = [request.precision]
    data = request.calibration
    own_images = data is not None and data.source != PHOTOS
    if own_images and Precision.INT8 in request.target.precisions:
        wanted.append(Precision.INT8)
    return [p for p in dict.fromkeys(wanted) if p is not Precision.FP32 and p in writable]


def _staged(request: ExportRequest, exporter: base.Exporter, writer: BundleWriter) -> Bundle:
    """Write a request's graphs into a bundle that is not yet in its place."""
    graphs = exporter.export(request, writer.folder)
    request.progress(note="hashing")
    records = [_artifact(writer, graph) for graph in graphs]
    remarks = [f"{graph.graph.role}: {note}" for graph in graphs for note in graph.notes]
    manifest = _manifest(request, records, exporter.versions(), remarks)
    return Bundle(writer.destination, writer.folder, manifest)


def _check_dialects(dialects: Sequence[str]) -> None:
    for dialect in dialects:
        if dialect not in DIALECTS:
            raise UnknownNameError("dialect", dialect, DIALECTS)


def _written(
    request: ExportRequest,
    output: Path,
    rules: _Rules,
    reference: Reference | None,
    *,
    choices: Sequence[dict[str, Any]] = (),
) -> ExportResult:
    with BundleWriter(output) as writer:
        return _checked(request, writer, rules, reference).committed(choices)


@dataclasses.dataclass(frozen=True)
class _Checked:
    """A bundle that was written and measured, and is not yet in its place."""

    request: ExportRequest
    writer: BundleWriter
    manifest: Manifest
    canary: Canary
    parity: ParityRecord
    kinds: tuple[tuple[str, int, float, float], ...]
    accuracy: Accuracy | None

    def committed(self, choices: Sequence[dict[str, Any]]) -> ExportResult:
        self.request.progress(note="writing the bundle")
        manifest = self.manifest
        if choices:
            accuracy = {**(manifest.accuracy or {}), "choices": list(choices)}
            manifest = msgspec.structs.replace(manifest, accuracy=accuracy)
        return ExportResult(
            bundle=self.writer.commit(manifest, canary=self.canary),
            parity=self.parity,
            kinds=self.kinds,
            accuracy=self.accuracy,
            choices=tuple(choices),
        )


def _checked(
    request: ExportRequest, writer: BundleWriter, rules: _Rules, reference: Reference | None
) -> _Checked:
    """Write a request's bundle and measure it.

    Raises:
        ParityError, GateError: it does not keep to the rules, and they are enforced.
    """
    exporter = base.get(request.target.format)
    limits = rules.parity(request.precision)
    staged = _staged(request, exporter, writer)
    backend, device, options = _checking(exporter, request)
    with Predictor(staged, backend, device=device, options=options) as predictor:
        measured = _measured(request, predictor)
        if rules.enforced:
            measured.check(limits)
        accuracy = _accuracy(request, reference, predictor, rules)
    if rules.enforced and accuracy is not None:
        accuracy.check()
    canary = _canary(request, staged, backend, device, options)
    record = measured.record(limits, passed=_passes(measured, limits))
    return _Checked(
        request=request,
        writer=writer,
        manifest=_with_figures(staged.manifest, record, accuracy, rules),
        canary=canary,
        parity=record,
        kinds=measured.kinds(),
        accuracy=accuracy,
    )


def _timed(request: ExportRequest) -> bool:
    """Whether latency can tell precisions apart; without it one candidate needs no trial."""
    return _is_platform(base.get(request.target.format), request.target)


def _accuracy(
    request: ExportRequest, reference: Reference | None, candidate: Predictor, rules: _Rules
) -> Accuracy | None:
    """What a precision below fp32 loses; ``None`` where the model itself draws nothing."""
    if reference is None or request.precision is Precision.FP32:
        return None
    try:
        return compare(
            reference,
            candidate,
            max_drop=rules.accuracy,
            timed=_timed(request),
            on_image=lambda remark: request.progress(note=f"accuracy, {remark}"),
        )
    except CalibrationError as error:
        logger.warning("The accuracy gate is left out: %s", error)
        return None


def _checking(
    exporter: base.Exporter, request: ExportRequest
) -> tuple[Backend, str | None, dict[str, Any]]:
    """Backend, device and options that the files are checked with."""
    target = request.target
    backend = runtimes.get(exporter.check_backend(target))
    if not _is_platform(exporter, target):
        return backend, exporter.check_device, dict(exporter.check_settings(request))
    options = {**request.backend_options(), **exporter.check_settings(request)}
    return backend, target.device, options


def _is_platform(exporter: base.Exporter, target: Target) -> bool:
    """Whether the files are checked with the very library and device that the platform has."""
    own_device = exporter.check_device in (None, target.device)
    return exporter.check_backend(target) == target.backend and own_device


def _artifact(writer: BundleWriter, exported: ExportedGraph) -> ArtifactRecord:
    return writer.artifact(
        exported.graph.role,
        exported.path,
        artifact_format=exported.format,
        precision=exported.precision.value,
        inputs=exported.graph.input_records(),
        outputs=exported.graph.output_records(),
        extra_files=exported.extra_files,
        options=exported.options,
        device=exported.device,
    )


def _manifest(
    request: ExportRequest,
    records: list[ArtifactRecord],
    versions: dict[str, str],
    remarks: list[str],
) -> Manifest:
    now = datetime.datetime.now(datetime.timezone.utc)
    normalize = request.model.normalize
    return Manifest(
        schema=SCHEMA,
        id=bundle_id(records),
        samedge_version=__version__,
        created=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        model=request.source,
        target=request.target.name,
        backend=request.target.backend,
        device=request.target.device,
        precision=request.precision.value,
        input_size=request.model.image_size,
        preprocessing=Preprocessing(
            mean=[round(value, 4) for value in normalize.mean.flatten().tolist()],
            std=[round(value, 4) for value in normalize.std.flatten().tolist()],
        ),
        artifacts=records,
        prompt_buckets=[list(bucket) for bucket in request.buckets],
        versions={"python": platform.python_version(), "samedge": __version__, **versions},
        options=base.get(request.target.format).options(request),
        plan=_plan_rows(request),
        notes=[*remarks, *request.target.notes],
    )


def _plan_rows(request: ExportRequest) -> list[dict[str, Any]]:
    quantizes = request.precision is Precision.INT8 or request.plan is not None
    return plan_of(request).records() if quantizes else []


def _measured(request: ExportRequest, predictor: Predictor) -> parity.Parity:
    def on_photo(index: int) -> None:
        request.progress(note=f"parity, photo {index + 1} of {len(request.images)}")

    return parity.measure(
        TorchReference(request.model), predictor, read_photos(request.images), on_photo=on_photo
    )


def _passes(measured: parity.Parity, limits: parity.Gate) -> bool:
    try:
        measured.check(limits)
    except ExportError:
        return False
    return True


def _canary(
    request: ExportRequest,
    staged: Bundle,
    backend: Backend,
    device: str | None,
    options: Mapping[str, Any],
) -> Canary:
    """Record the canary from the reference, and hold the files against it as a device will."""
    request.progress(note="canary")
    reference = TorchReference(request.model)
    size = request.model.image_size
    canary = record_canary(
        reference.encoder,
        reference.decoder,
        input_size=size,
        min_cosine=MIN_COSINE if request.precision in FLOATS else MIN_COSINE_QUANTIZED,
    )
    with (
        open_graph(staged, "encoder", backend, device=device, options=options) as encoder,
        open_graph(staged, "decoder", backend, device=device, options=options) as decoder,
    ):
        check_canary(
            canary,
            encoder.run,
            decoder.run,
            input_size=size,
            where=f"{backend.name} device {device!r}",
            bucket=fitting_bucket(request.buckets, 1, 2),
        )
    return canary


def _with_figures(
    manifest: Manifest, record: ParityRecord, accuracy: Accuracy | None, rules: _Rules
) -> Manifest:
    changes: dict[str, Any] = {"parity": record}
    if accuracy is not None:
        changes["accuracy"] = msgspec.to_builtins(accuracy)
    if not rules.enforced:
        changes["gate"] = "skipped: --no-gate"
    return msgspec.structs.replace(manifest, **changes)
