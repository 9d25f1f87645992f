"""Latency of bundles that are named: what ``samedge bench`` calls, with its defaults."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from samedge.benchmark.bench import bench as bench_subjects
from samedge.benchmark.plan import Plan, find_images
from samedge.benchmark.plan import effort as effort_named
from samedge.benchmark.process import ChosenSubject
from samedge.pixels.image_files import PHOTOS
from samedge.predict.subjects import BundleNames, backends_for, bundle_names
from samedge.records import BenchRecord
from samedge.types import Progress, Stage

logger = logging.getLogger(__name__)


def bench(
    bundles: BundleNames = (),
    *,
    backends: Sequence[str] = (),
    devices: Sequence[str] = (),
    threads: int | None = None,
    images: str | Path | None = None,
    effort: str = "default",
    min_time_s: float | None = None,
    min_count: int | None = None,
    prompts_per_frame: Sequence[int] = (),
    sustained_minutes: float = 0.0,
    deadline_ms: float | None = None,
    keep_samples: bool = False,
    progress: Progress | None = None,
    stage: Stage | None = None,
) -> BenchRecord:
    """Time every stage of bundles, in fresh processes that take turns on the same images.

    Args:
        bundles: paths, or names of embedded models; none is the embedded model.
        backends: libraries that run them; none is each bundle's own.
        devices: of the backends; none is each bundle's own.
        threads: processor threads; ``None`` leaves it to the backends.
        images: folder of pictures to measure on; ``None``: samedge's own photos.
        effort: ``quick`` (3 s and 64 samples), ``default`` (10 s and 200) or ``strict`` (60 s
            and 662).
        min_time_s: seconds instead.
        min_count: samples instead.
        prompts_per_frame: also frames a second at so many prompts a frame.
        sustained_minutes: also the last 30 s of so many minutes against the first.
        deadline_ms: say whether the 99th percentile end to end meets it.
        keep_samples: put every sample into the record.
        progress: hears of every block.
        stage: is told what came out so far.

    Returns:
        The record, as ``samedge report`` reads it; write it by ``samedge.records.write``.

    Raises:
        UnknownNameError: an unknown backend or effort.
        BundleError, BackendUnavailableError, InferenceError: a bundle cannot be opened or run.
        DatasetError: there is no picture.
        ImageError: a picture cannot be read.
    """
    chosen = effort_named(effort)
    plan = Plan(
        images=find_images(PHOTOS if images is None else Path(images)),
        effort=dataclasses.replace(
            chosen,
            seconds=chosen.seconds if min_time_s is None else min_time_s,
            count=chosen.count if min_count is None else min_count,
        ),
        threads=threads,
        prompts_per_frame=tuple(prompts_per_frame),
        sustained_s=sustained_minutes * 60,
        deadline_ms=deadline_ms,
        deadline_count=Plan.deadline_count if min_count is None else min_count,
        keep_samples=keep_samples,
    )
    subjects = chosen_subjects(bundles, backends=backends, devices=devices)
    return bench_subjects(subjects, plan, progress=progress, stage=stage)


def chosen_subjects(
    bundles: BundleNames = (), *, backends: Sequence[str] = (), devices: Sequence[str] = ()
) -> list[ChosenSubject]:
    """Every bundle on every device of every backend that opens its format.

    A bundle that none of the backends opens stays in the list: its error says what to do.

    Args:
        bundles: paths, or names of embedded models; none is the embedded model.
        backends: none is each bundle's own.
        devices: none is each bundle's own.

    Raises:
        BundleError: a bundle is missing.
        UnknownNameError: there is no backend of such a name.
    """
    chosen = []
    for bundle in bundle_names(bundles) or (None,):
        wished = tuple(dict.fromkeys(backends)) or (None,)
        fitting = backends_for(bundle, wished) or wished
        for backend in wished:
            if backend not in fitting:
                logger.warning("Left out: %s does not open the format of %s.", backend, bundle)
        chosen += [
            ChosenSubject(bundle, backend, device)
            for backend in fitting
            for device in dict.fromkeys(devices) or (None,)
        ]
    return chosen
