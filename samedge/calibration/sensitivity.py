"""Which parts of a model suffer from INT8, and what each of them gains.

Each group of modules (a stage, a layer) is quantized alone in a copy of an fp32 bundle. What the
masks lose is measured with the bundle's own backend, in mask IoU over boxes, points and clicks, and
not in error of tensors. Both that and latency, in turns, are measured against the same files in the
float precision that INT8 would replace.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np

from samedge import _cache, runtimes
from samedge._version import __version__
from samedge.bundle.bundle import Bundle
from samedge.calibration.modules import group_from_module
from samedge.calibration.plan import PlanRow, PrecisionPlan
from samedge.calibration.trial import (
    RoleFeeds,
    bench_for,
    quantized_predictor,
    quantizer_for,
)
from samedge.machine.environment import package_versions
from samedge.machine.identity import machine_identity
from samedge.proof.accuracy import latency_ratios, mask_rows
from samedge.proof.photos import CalibrationSet
from samedge.proof.scenes import Reference
from samedge.types import IMAGE_ROLES, Precision, Role, Steps

MAX_IMAGES = 8
"""Images that each group is measured on; the plan as a whole is measured on more."""

_ROUNDS = 7
_REVISION = 6  # raise it when the figures mean something else, so that no old one is taken


class GroupDrop(msgspec.Struct, frozen=True, kw_only=True):
    """One group, quantized alone.

    Attributes:
        group: dotted path.
        role: the graph that it is in.
        drop: mean IoU lost, over the kinds of prompts; negative where the masks got better.
        mask_iou: mean IoU between its masks and those of the float precision.
        drops: the drop by kind of prompt: ``box``, ``center``, ``clicks:N``.
        latency_ratio: median latency of its graph over that of the float precision that INT8
            replaces; ``None``: the platform is not here.
    """

    group: str
    role: str
    drop: float
    mask_iou: float
    drops: dict[str, float] = {}
    latency_ratio: float | None = None

    @property
    def is_slower(self) -> bool:
        """Whether INT8 was measured not to be faster here."""
        return self.latency_ratio is not None and self.latency_ratio >= 1.0


def groups_of(bundle: Bundle) -> list[tuple[str, str]]:
    """Every group of an fp32 bundle that can be quantized, with the graph that it is in."""
    quantizer = quantizer_for(bundle)
    return [
        (group, str(role))
        for role in IMAGE_ROLES
        for group in dict.fromkeys(
            map(group_from_module, quantizer.modules(bundle.artifact_path(role)))
        )
    ]


def sensitivities(
    bundle: Bundle, data: CalibrationSet, *, feeds: RoleFeeds, max_images: int, steps: Steps
) -> list[GroupDrop]:
    """What every group loses and gains when it is quantized alone, the worst first.

    It is compared with the same bundle without INT8, stored and computed as the rest of an INT8
    bundle is, so that what that loses by itself is not counted once for every group.

    Args:
        bundle: the fp32 bundle.
        data: images to measure on.
        feeds: to calibrate with.
        max_images: images to measure on.
        steps: counts the groups, each before it is measured.
    """
    file = _file(bundle, data, max_images)
    known = _remembered(file)
    with ExitStack() as stack:
        plain: Reference | None = None
        for group, role in groups_of(bundle):
            steps.step(group)
            if group in known:
                continue
            if plain is None:
                opened = quantized_predictor(
                    bundle, _plan(bundle), feeds=feeds, quantizer=quantizer_for(bundle)
                )
                plain = Reference(stack.enter_context(opened), data, max_images=max_images)
            known[group] = _measured(bundle, plain, feeds, group=group, role=role)
            _remember(file, known)
    return sorted(known.values(), key=lambda found: -found.drop)


def _plan(bundle: Bundle, *quantized: str) -> PrecisionPlan:
    """INT8 for some groups and the float rest of an INT8 bundle for all others."""
    rest = bench_for(bundle).rest.value
    rows = [PlanRow(module=group, precision=Precision.INT8.value) for group in quantized]
    return PrecisionPlan(default=rest, rest=rest, modules=rows)


def _measured(
    bundle: Bundle, plain: Reference, feeds: RoleFeeds, *, group: str, role: str
) -> GroupDrop:
    plan, quantizer, ratio = _plan(bundle, group), quantizer_for(bundle), None
    with quantized_predictor(bundle, plan, feeds=feeds.few(), quantizer=quantizer) as subject:
        _, rows = mask_rows(plain, subject)
        if bench_for(bundle).timed:
            picture = next(plain.data.photos())
            ratios = latency_ratios(plain.predictor, subject, picture=picture, rounds=_ROUNDS)
            ratio = ratios[IMAGE_ROLES.index(Role(role))]
    return GroupDrop(
        group=group,
        role=role,
        drop=float(np.mean([row.drop for row in rows])),
        mask_iou=float(np.mean([row.mask_iou_mean for row in rows])),
        drops={row.prompt: row.drop for row in rows},
        latency_ratio=ratio,
    )


def _file(bundle: Bundle, data: CalibrationSet, max_images: int) -> Path:
    """Where figures are kept that hold for this bundle, these images, this machine as it is."""
    quantizer, bench = quantizer_for(bundle), bench_for(bundle)
    backend = runtimes.get(bench.backend)
    libraries = {*quantizer.packages, *backend.packages}
    machine = {**machine_identity(), "node": ""}  # a container has another name each time
    facts = (
        *(bundle.id, quantizer.name, data.fingerprint, max_images, bench, _REVISION, __version__),
        *(sorted(package_versions(libraries).items()), sorted(machine.items())),
    )
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
    return _cache.cache_file("sensitivity", f"{digest}.json")


def _remembered(file: Path) -> dict[str, GroupDrop]:
    content = _cache.kept(file)
    return {} if content is None else msgspec.json.decode(content, type=dict[str, GroupDrop])


def _remember(file: Path, known: dict[str, GroupDrop]) -> None:
    _cache.keep(file, msgspec.json.encode(known))
