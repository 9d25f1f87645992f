"""From a model to a verified bundle: graphs, files, parity, canary, one rename."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from samedge.bundle.writer import BundleWriter, check_destination
from samedge.calibration.plan import PrecisionPlan
from samedge.errors import (
    BundleError,
    GateError,
    UnknownNameError,
)
from samedge.export import base, choice, staging
from samedge.export.base import DIALECTS, ExportRequest, ExportResult, WordsRequest
from samedge.export.gates import Checked, Rules, checked
from samedge.export.quantization import check_plan
from samedge.export.sources import opened_model, photo_paths, spread
from samedge.files.scratch import scratch_folder
from samedge.models.promptable import PromptableModel
from samedge.pixels.image_files import PHOTOS
from samedge.pixels.prompts import Bucket
from samedge.predict.predictor import Predictor
from samedge.proof import decision
from samedge.proof.decision import Budget
from samedge.proof.photos import CalibrationSet, load_calibration
from samedge.proof.scenes import Reference
from samedge.targets import Target
from samedge.targets import target as target_named
from samedge.types import Precision, Progress, Stage, Steps

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
    undecided: decision.Undecided | str = decision.Undecided.PASS,
    gate_seconds: float | None = None,
    seed: int = 0,
    images: str | Path | None = None,
    calibration: str | Path | None = None,
    plan: PrecisionPlan | None = None,
    dialects: Sequence[str] = (),
    buckets: Sequence[Bucket] | None = None,
    options: Mapping[str, str] | None = None,
    words: WordsRequest | None = None,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> ExportResult:
    """Export a model for a platform into a bundle, and prove that it still is that model.

    The bundle appears at ``output`` in one step when everything has passed; an error or an
    interrupt leaves what was there before, and nothing else.

    Args:
        model: a name of ``samedge models``, the path of a checkpoint, or a model in torch.
        target: a name of ``samedge targets``, or a target.
        output: the bundle's folder, or its ``.samedge`` file.
        precision: what the artifacts compute in. ``auto`` takes the fastest that keeps the masks
            of the target's default, of INT8 if there is a calibration set or a plan, and of fp32.
        input_size: side S of the padded input, pixels; ``None`` takes the model's own.
        gate: refuse a bundle whose masks drift from the model's; otherwise only record it.
        max_drop: mean IoU that a precision below fp32 may lose (box prompts; clicks twice that);
            for fp32 how far the mean mask IoU may fall below 1. ``None`` takes the limits of
            :mod:`samedge.proof.decision`.
        undecided: ``pass`` or ``fail``: what holds where the loss of accuracy could not be proven
            or excluded in time.
        gate_seconds: how long the accuracy of one precision is measured at most; ``None`` takes
            :data:`samedge.proof.decision.SECONDS`.
        seed: of the composites that accuracy is measured on.
        images: folder of photos to compare on; ``None`` takes the calibration set's, or those that
            come with samedge.
        calibration: folder or COCO file of images to calibrate and to measure accuracy on; ``None``
            takes the photos that come with samedge.
        plan: precisions by module; ``None`` takes the precision's default plan.
        dialects: further decoders, such as ``"meta"``.
        buckets: fixed ``(B, N)`` of the decoder; ``None`` takes the target's, ``()`` means none.
        options: of the format, by name; see :attr:`samedge.export.base.Exporter.option_help`.
        words: a model of words that goes along; see :func:`samedge.export.words.words_request`.
        progress: hears of every step; how many there are depends on what is measured.
        stage: is told what each is about.

    Returns:
        The bundle, with the measured parity.

    Raises:
        UnknownNameError: an unknown model, target, precision, dialect or rule.
        ExportError: the platform or its format cannot hold what is asked for, or a library failed.
        ParityError: the exported graphs do not compute what the model computes.
        GateError: they lose more accuracy against fp32 than ``max_drop``.
        CalibrationError: a calibration set that cannot calibrate, or a plan that does not fit.
        BackendUnavailableError: the platform's backend, needed to check the files, is not here.
        CheckpointError: the checkpoint does not fit its model.
        BundleError: ``output`` is something else than a bundle.
        WriteError: nothing can be written there.
    """
    start = time.perf_counter()
    steps = Steps(progress=progress, stage=stage)
    platform_row = target_named(target) if isinstance(target, str) else target
    _check_dialects(dialects)
    resolved = _resolved(platform_row, precision, plan=plan)
    check_destination(Path(output))
    data, photos = _pictures(resolved, calibration=calibration, images=images)
    opened, source = opened_model(model, image_size=input_size, steps=steps)
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
        words=words,
        steps=steps,
    )
    check_plan(request)
    exporter = base.get(platform_row.format)
    exporter.provide(request := exporter.prepared(request))
    rules = _rules(max_drop, gate_seconds, undecided=undecided, enforced=gate)
    is_free = Precision(precision) is Precision.AUTO
    result = _proven(request, Path(output), rules, is_free=is_free, seed=seed)
    skipped = () if data is None else data.skipped
    return dataclasses.replace(result, seconds=time.perf_counter() - start, skipped=skipped)


def _resolved(row: Target, wish: Precision | str, *, plan: PrecisionPlan | None) -> Precision:
    """The precision to begin with: of ``auto`` with a plan that only INT8 follows, INT8."""
    resolved, exporter = row.precision(wish), base.get(row.format)
    is_free = Precision(wish) is Precision.AUTO and Precision.INT8 in row.precisions
    if plan is None or not is_free or exporter.heeds(plan, resolved):
        return resolved
    return Precision.INT8


def _pictures(
    precision: Precision, *, calibration: str | Path | None, images: str | Path | None
) -> tuple[CalibrationSet | None, tuple[Path, ...]]:
    """What quantizers see, ``None`` where nothing needs it, and the photos to compare on."""
    if calibration is None and precision is Precision.FP32:
        return None, photo_paths(images)
    data = load_calibration(calibration)
    own = spread(data.images) if calibration is not None and images is None else ()
    return data, own or photo_paths(images)


def _rules(
    max_drop: float | None,
    gate_seconds: float | None,
    *,
    undecided: decision.Undecided | str,
    enforced: bool,
) -> Rules:
    budget = Budget(
        max_drop=decision.MAX_DROP if max_drop is None else max_drop,
        seconds=decision.SECONDS if gate_seconds is None else gate_seconds,
        undecided=decision.undecided(undecided),
    )
    return Rules(max_drop=max_drop, budget=budget, enforced=enforced)


def _proven(
    request: ExportRequest, output: Path, rules: Rules, *, is_free: bool, seed: int
) -> ExportResult:
    """Write the bundle, or the best of those that ``auto`` may take, compared with fp32."""
    always = is_free and request.calibration is not None
    with _float_reference(request, always=always, seed=seed) as reference:
        if is_free and reference is not None and base.get(request.target.format).tries_precisions:
            return _fastest(request, output, rules, reference)
        return _written(request, output, rules, reference)


@contextmanager
def _float_reference(
    request: ExportRequest, *, always: bool, seed: int
) -> Iterator[Reference | None]:
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
        request,
        target=row,
        precision=Precision.FP32,
        dialects=(),
        plan=None,
        options={},
        words=None,
    )
    with scratch_folder() as scratch, BundleWriter(scratch / "fp32") as writer:
        request.steps.step("fp32 for comparison")
        bundle = staging.staged(plain, writer)
        backend, device, options = staging.checking(plain)
        with Predictor(bundle, backend, device=device, options=options) as predictor:
            yield Reference(predictor, request.calibration or load_calibration(), seed=seed)


def _fastest(
    request: ExportRequest, output: Path, rules: Rules, reference: Reference
) -> ExportResult:
    """Try every precision that ``auto`` may take, and keep the fastest that passes."""
    rows: list[choice.Choice] = []
    passed: dict[Precision, Checked] = {}
    with ExitStack() as writers:  # what is not committed is gone at its end
        for precision in _tried_precisions(request):
            attempt = dataclasses.replace(request, precision=precision)
            writer = writers.enter_context(BundleWriter(output))
            try:
                found = checked(attempt, writer, rules=rules, reference=reference)
            except (GateError, BundleError) as error:
                rows.append(choice.row(precision, None, why=str(error)))
                continue
            passed[precision] = found
            rows.append(choice.row(precision, found.accuracy, why=choice.verdict(found.accuracy)))
        chosen = choice.fastest(rows)
        table = choice.table(rows, chosen)
        if chosen in passed:
            return passed[chosen].committed(table)
    plain = dataclasses.replace(request, precision=chosen, plan=None)
    return _written(plain, output, rules, reference, choices=table)


def _tried_precisions(request: ExportRequest) -> list[Precision]:
    """Precisions below fp32 for ``auto``: the default, and INT8 with images of the user's own."""
    writable = base.get(request.target.format).precisions
    wanted = [request.precision]
    data = request.calibration
    own_images = data is not None and data.source != PHOTOS
    if own_images and Precision.INT8 in request.target.precisions:
        wanted.append(Precision.INT8)
    tried = [p for p in dict.fromkeys(wanted) if p is not Precision.FP32 and p in writable]
    plan = request.plan
    return [p for p in tried if plan is None or base.get(request.target.format).heeds(plan, p)]


def _check_dialects(dialects: Sequence[str]) -> None:
    for dialect in dialects:
        if dialect not in DIALECTS:
            raise UnknownNameError("dialect", dialect, DIALECTS)


def _written(
    request: ExportRequest,
    output: Path,
    rules: Rules,
    reference: Reference | None,
    *,
    choices: Sequence[dict[str, Any]] = (),
) -> ExportResult:
    with BundleWriter(output) as writer:
        return checked(request, writer, rules=rules, reference=reference).committed(choices)
