"""Which parts of a model suffer from INT8, and the plan that follows from it.

Each group of modules (a stage, a layer) is quantized alone in a copy of an fp32 bundle, and what
the masks lose is measured with the bundle's own backend, in mask IoU and not in error of tensors.
The plan then quantizes from the least sensitive group upwards while the sum of the drops stays
inside the budget. Drops do not simply add up: so the whole is measured, and the most sensitive
group goes back to float until it passes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from samedge import runtimes
from samedge._cache import cache_folder
from samedge.bundle import Bundle
from samedge.calibration import base
from samedge.calibration.accuracy import MAX_DROP, Accuracy, compare, mask_rows
from samedge.calibration.base import FeedSource, Quantizer
from samedge.calibration.dataset import CalibrationSet
from samedge.calibration.modules import group_from_module
from samedge.calibration.plan import PlanRow, PrecisionPlan
from samedge.errors import CalibrationError
from samedge.predictor import Predictor
from samedge.types import Precision

ROLES = ("encoder", "decoder")
MAX_IMAGES = 8
"""Images that each group is measured on; the plan as a whole is measured on more."""

Report = Callable[[str], None]
"""Hears of every group and attempt."""


class GroupDrop(msgspec.Struct, frozen=True, kw_only=True):
    """One group, quantized alone.

    Attributes:
        group: dotted path.
        role: the graph that it is in.
        drop: mean IoU lost, over the kinds of prompts; negative where the masks got better.
        mask_iou: mean IoU between its masks and fp32's.
    """

    group: str
    role: str
    drop: float
    mask_iou: float


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """A plan and how it was found.

    Attributes:
        plan: the plan.
        drops: every group's sensitivity, the worst first.
        accuracy: of the whole plan against fp32.
    """

    plan: PrecisionPlan
    drops: list[GroupDrop]
    accuracy: Accuracy


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


def find_plan(
    bundle: Bundle,
    data: CalibrationSet,
    *,
    max_drop: float = MAX_DROP,
    max_images: int = MAX_IMAGES,
    report: Report = lambda _: None,
) -> Search:
    """Measure every group and choose the plan.

    Figures are kept in the user's cache as they come in, so that an interrupted search goes on
    where it stopped.

    Args:
        bundle: an fp32 bundle.
        data: images to calibrate and to measure on.
        max_drop: the budget, as of :func:`samedge.calibration.accuracy.compare`.
        max_images: images that each group is measured on.
        report: hears of every step.

    Raises:
        CalibrationError: the bundle cannot be quantized, or not one group fits the budget.
    """
    quantizer = quantizer_for(bundle)
    with _opened(bundle) as reference:
        drops = sensitivities(reference, data, max_images=max_images, report=report)
        chosen = _within_budget(drops, max_drop)
        while chosen:
            plan = plan_from_drops(drops, chosen, rest=Precision.FP32)
            report(f"all of {len(chosen)} groups together")
            with quantized_predictor(bundle, plan, data, quantizer) as candidate:
                accuracy = compare(reference, candidate, data, max_drop=max_drop)
            if accuracy.passed:
                return Search(plan=plan, drops=drops, accuracy=accuracy)
            chosen = chosen[:-1]
    raise CalibrationError(
        f"Not one group of {bundle.path} can be quantized within --max-drop {max_drop:g}: the "
        f"least sensitive, {drops[-1].group}, loses {drops[-1].drop:.4f}. Raise the budget, or "
        "keep a float precision."
    )


def sensitivities(
    reference: Predictor, data: CalibrationSet, *, max_images: int, report: Report
) -> list[GroupDrop]:
    """What every group loses when it is quantized alone, the worst first.

    Args:
        reference: the fp32 bundle, opened.
        data: images to calibrate and to measure on.
        max_images: images to measure on.
        report: called with each group before it is measured.
    """
    bundle = reference.bundle
    quantizer = quantizer_for(bundle)
    file = cache_folder("sensitivity") / (
        f"{bundle.id}-{quantizer.name}-{data.fingerprint}-{max_images}.json"
    )
    known = _remembered(file)
    for role in ROLES:
        modules = quantizer.modules(bundle.artifact_path(role))
        for group in dict.fromkeys(map(group_from_module, modules)):
            if group in known:
                continue
            report(group)
            plan = _alone(group)
            with quantized_predictor(bundle, plan, data, quantizer) as candidate:
                _, _, rows = mask_rows(reference, candidate, data, max_images=max_images)
            known[group] = GroupDrop(
                group=group,
                role=role,
                drop=float(np.mean([row.drop for row in rows])),
                mask_iou=float(np.mean([row.mask_iou_mean for row in rows])),
            )
            _remember(file, known)
    return sorted(known.values(), key=lambda found: -found.drop)


def plan_from_drops(
    drops: Sequence[GroupDrop], quantized: Sequence[GroupDrop], *, rest: Precision
) -> PrecisionPlan:
    """A plan that quantizes the given groups and says of every group what it was measured to lose.

    Args:
        drops: all groups.
        quantized: those for INT8.
        rest: precision of the others, and of what is not in any group.
    """
    names = {found.group for found in quantized}
    rows = [
        PlanRow(
            module=found.group,
            precision=Precision.INT8.value if found.group in names else rest.value,
            reason="fits the budget" if found.group in names else "loses too much",
            drop=found.drop,
        )
        for found in drops
    ]
    return PrecisionPlan(default=rest.value, rest=rest.value, modules=rows)


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
        with _opened(Bundle(folder, folder, bundle.manifest)) as predictor:
            yield predictor


def _opened(bundle: Bundle) -> Predictor:
    manifest = bundle.manifest
    options = dict(manifest.options)
    if manifest.backend == "openvino":
        options["cache"] = False  # these files live for minutes
    backend = runtimes.get(manifest.backend)
    return Predictor(bundle, backend, device=manifest.device, options=options)


def _feeds(bundle: Bundle, role: str, data: CalibrationSet) -> FeedSource:
    size = bundle.manifest.input_size
    if role == "encoder":
        return lambda: data.encoder_feeds(size)
    backend = runtimes.get(bundle.manifest.backend)
    encoder = backend.open(bundle.artifact_path("encoder"), device=bundle.manifest.device)
    return lambda: data.decoder_feeds(size, lambda feeds: encoder.run(feeds)["image_embeddings"])


def _alone(group: str) -> PrecisionPlan:
    row = PlanRow(module=group, precision=Precision.INT8.value)
    return PrecisionPlan(default=Precision.FP32.value, modules=[row])


def _within_budget(drops: Sequence[GroupDrop], max_drop: float) -> list[GroupDrop]:
    """The least sensitive groups whose drops together fit, in rising order of their drop."""
    total, chosen = 0.0, []
    for found in sorted(drops, key=lambda found: found.drop):
        total += max(found.drop, 0.0)
        if total > max_drop:
            break
        chosen.append(found)
    return chosen


def _remembered(file: Path) -> dict[str, GroupDrop]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, GroupDrop])
    except (OSError, msgspec.MsgspecError):  # nothing there, or a write that was cut off
        return {}


def _remember(file: Path, known: dict[str, GroupDrop]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(known))
    part.replace(file)
