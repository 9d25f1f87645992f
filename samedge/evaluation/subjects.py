"""Opens what ``samedge eval`` evaluates: a bundle, or a baseline that needs none."""

from __future__ import annotations

from collections.abc import Mapping

from samedge.evaluation import baselines
from samedge.evaluation.evaluate import EvaluatedSubject
from samedge.pixels.resizing import EXACT
from samedge.predict.focus import FocusMode
from samedge.predict.subjects import open_predictor, subject
from samedge.records import Subject
from samedge.records.subjects import BASELINE_PREFIX

FOCUS_SUFFIXES: Mapping[FocusMode, str] = {
    "never": "",
    "auto": "+focus",
    "always": "+focus:always",
}
"""What the name of a prompt ends in where its answers had a second look."""


def box_suffix(focus: FocusMode, refine: int) -> str:
    """What the name of prompts by box ends in besides, so that rules are never mixed.

    Args:
        focus: when small things get a second look.
        refine: how many times boxes are asked about again; what ``focus`` does anyway is not said.
    """
    if refine == int(focus != "never"):
        return ""
    return "+refined" if refine == 1 else f"+refined:{refine}"


def open_subject(
    bundle: str | None,
    *,
    backend: str | None = None,
    device: str | None = None,
    focus: FocusMode = "never",
    refine: int | None = None,
) -> EvaluatedSubject:
    """What ``samedge eval`` evaluates: a bundle or a baseline.

    Images are made smaller as SAM does it, every pixel counted, whatever the bundle says: figures
    stay comparable with other projects'.

    Args:
        bundle: a path, ``baseline:box``, ``baseline:grabcut``, or ``None`` for the embedded model.
        backend: ``None`` is the bundle's own; a baseline has only one.
        device: the backend's own device string.
        focus: when small things get a second look; a baseline takes none. Unless it is ``never``,
            the names of the prompts say it.
        refine: how many times boxes are asked about again; ``None``: once with ``focus``. The name
            of boxes says it where it is not what ``focus`` does anyway.

    Raises:
        UnknownNameError: no such baseline.
        BundleError, BackendUnavailableError, InferenceError: as ``Predictor.from_bundle``.
    """
    if bundle is not None and bundle.startswith(BASELINE_PREFIX):
        segmenter = baselines.baseline(bundle)
        named = Subject(bundle=bundle, backend=segmenter.library, device="cpu")
        return EvaluatedSubject(named, segmenter, boxes_only=True)
    predictor, _ = open_predictor(
        bundle,
        backend=backend,
        device=device,
        focus=focus,
        refine=refine,
        preprocess=EXACT,
    )
    return EvaluatedSubject(
        subject(predictor, name=bundle),
        predictor,
        suffix=FOCUS_SUFFIXES[focus],
        box_suffix=box_suffix(focus, predictor.refine),
    )
