"""Accuracy of bundles that are named: what ``samedge eval`` calls, with its defaults."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from samedge.evaluation.evaluate import EvaluatedSubject
from samedge.evaluation.evaluate import evaluate as evaluate_subjects
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.evaluation.protocols import parse_protocols
from samedge.evaluation.subjects import open_subject
from samedge.machine.environment import environment
from samedge.pixels.sample_range import SampleRange
from samedge.predict.focus import FocusMode
from samedge.predict.subjects import BundleNames, bundle_names
from samedge.records import EvalRecord
from samedge.records.subjects import BASELINE_PREFIX
from samedge.types import Progress, Stage

DEFAULT_PROMPTS = "box,center"


def evaluate(
    dataset: str | Path,
    images: str | Path,
    *,
    bundles: BundleNames = (),
    backends: Sequence[str] = (),
    device: str | None = None,
    prompts: str = DEFAULT_PROMPTS,
    focus: FocusMode = "never",
    refine: int | None = None,
    limit: int | None = None,
    sample_range: SampleRange = "auto",
    instances: bool = False,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> EvalRecord:
    """Measure how well masks fit the ground truth, by the protocol of docs/accuracy-protocol.md.

    Args:
        dataset: ground truth in COCO's instances format.
        images: folder of its images.
        bundles: paths, names of embedded models, ``baseline:box`` or ``baseline:grabcut``; none is
            the embedded model.
        backends: libraries that run them; none is each bundle's own.
        device: of the backends.
        prompts: any of ``box``, ``center`` and ``clicks:N``, separated by commas.
        focus: when small things get a second look.
        refine: how many times boxes are asked about again; ``None``: once with ``focus``.
        limit: only the first images.
        sample_range: as :func:`~samedge.pixels.images.load_image` takes it.
        instances: put every instance's scores into the record.
        progress: hears of every image.
        stage: is told the first subject's mean so far.

    Returns:
        The record, as ``samedge report`` reads it; write it by ``samedge.records.write``.

    Raises:
        DatasetError: the dataset cannot be read, or none of its images can.
        UnknownNameError: an unknown protocol, backend or baseline.
        PromptError: nothing that is named answers any of the protocols.
        BundleError, BackendUnavailableError, InferenceError: a bundle cannot be opened or run.
    """
    protocols = parse_protocols(prompts)
    truth = load_ground_truth(Path(dataset), Path(images), limit=limit, sample_range=sample_range)
    with contextlib.ExitStack() as stack:
        subjects = opened_subjects(
            stack,
            bundle_names(bundles),
            backends=backends,
            device=device,
            focus=focus,
            refine=refine,
        )
        found = evaluate_subjects(
            subjects, truth, protocols=protocols, progress=progress, stage=stage
        )
    return msgspec.structs.replace(found.record(instances=instances), environment=environment())


def opened_subjects(
    stack: contextlib.ExitStack,
    bundles: Sequence[str],
    *,
    backends: Sequence[str] = (),
    device: str | None = None,
    focus: FocusMode = "never",
    refine: int | None = None,
) -> list[EvaluatedSubject]:
    """Every bundle on every backend; a baseline once.

    Args:
        stack: closes what is opened here.
        bundles: paths, names of embedded models, baselines; none is the embedded model.
        backends: none is each bundle's own.
        device: of the backends.
        focus: when small things get a second look.
        refine: how many times boxes are asked about again; ``None``: once with ``focus``.

    Raises:
        UnknownNameError: an unknown backend or baseline.
        BundleError, BackendUnavailableError, InferenceError: a bundle cannot be opened.
    """
    subjects = []
    for bundle in bundles or (None,):
        is_baseline = bundle is not None and bundle.startswith(BASELINE_PREFIX)
        for backend in (None,) if is_baseline else (tuple(dict.fromkeys(backends)) or (None,)):
            subject = open_subject(
                bundle, backend=backend, device=device, focus=focus, refine=refine
            )
            if isinstance(subject.segmenter, contextlib.AbstractContextManager):
                stack.enter_context(subject.segmenter)
            subjects.append(subject)
    return subjects
