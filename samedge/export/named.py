"""A bundle for a named platform: what ``samedge export`` calls, with its defaults."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samedge.errors import BundleError
from samedge.models.zoo import check_named
from samedge.targets import target as target_named

if TYPE_CHECKING:
    from samedge.export.base import ExportResult
    from samedge.types import Progress, Stage

DEFAULT_MODEL = "samedge-nano"

logger = logging.getLogger(__name__)


def export_bundle(
    target: str,
    model: str | Path = DEFAULT_MODEL,
    *,
    output: str | Path | None = None,
    precision: str = "auto",
    input_size: int | None = None,
    calibration: str | Path | None = None,
    plan: str | Path | None = None,
    max_drop: float | None = None,
    gate: bool = True,
    undecided: str = "pass",
    gate_seconds: float | None = None,
    seed: int = 0,
    dialects: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
    words: str | Path | None = None,
    vocabulary: str | Path | None = None,
    accepts_licence: bool = False,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> ExportResult:
    """Export a model for a platform, and prove that what was written still is that model.

    Args:
        target: one that ``samedge targets`` lists, or another name for it.
        model: one that ``samedge models`` lists, or a checkpoint's file or folder.
        output: the bundle: a folder, or a file that ends in ``.samedge``; ``None`` is
            ``out/TARGET``. A bundle that is there is replaced; another model's is warned of.
        precision: ``auto`` takes the fastest that keeps the masks.
        input_size: side of the square input, pixels; ``None`` takes the model's own.
        calibration: folder or COCO file of photos like those that the device will see.
        plan: file of precisions by module, from ``samedge calibrate``.
        max_drop: mean mask IoU that may be lost against fp32 with boxes.
        gate: refuse a bundle whose masks drift.
        undecided: ``pass`` or ``fail``, where the photos cannot tell.
        gate_seconds: how long the accuracy of one precision is measured at most.
        seed: of the pictures that accuracy is measured on.
        dialects: further decoders, such as ``meta``.
        options: of the platform's format, by name.
        words: a model of words that goes along: a name, a folder, or ``hf:OWNER/REPOSITORY``.
        vocabulary: file of the words that it is to know; ``None`` takes its own.
        accepts_licence: take a model of words whose licence allows research alone.
        progress: hears of every step.
        stage: is told what it is about.

    Returns:
        The bundle, its parity and its accuracy.

    Raises:
        BackendUnavailableError: PyTorch or the platform's own library is not installed.
        SamedgeError: as :func:`samedge.export.pipeline.export`.
    """
    row = target_named(target)
    row.precision(precision)
    if output is None:
        output = Path("out") / row.name
        _tell_replaced(output, str(model))
    check_named(model)  # a slip in a name is told before PyTorch, which takes seconds to come
    from samedge.calibration.plan import load_plan
    from samedge.export import export
    from samedge.export.words import asked_words

    return export(
        model,
        row,
        output=output,
        precision=precision,
        input_size=input_size,
        gate=gate,
        max_drop=max_drop,
        undecided=undecided,
        gate_seconds=gate_seconds,
        seed=seed,
        calibration=calibration,
        plan=None if plan is None else load_plan(Path(plan)),
        dialects=dialects,
        options=options,
        words=asked_words(words, vocabulary, accepts_licence=accepts_licence),
        progress=progress,
        stage=stage,
    )


def _tell_replaced(folder: Path, model: str) -> None:
    """Warn of a bundle of another model, where nobody named the place that it has."""
    from samedge.bundle.bundle import Bundle

    try:
        there = Bundle.open(folder, verify=False).manifest.model.name
    except BundleError:  # none, or one of another schema
        return
    if there != model:
        logger.warning(
            "%s holds a bundle of %s, which that of %s will replace: another place (-o) keeps both",
            *(folder, there, model),
        )
