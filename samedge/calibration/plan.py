"""The precision plan: which modules compute in which precision, and why.

A plan names modules as the model's own code does. It is written into the bundle, is JSON that can
be edited by hand and given back with ``--plan``. A module takes the row with the
longest path that it lies within; without any, the plan's default.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from samedge.calibration.modules import is_within, may_mean
from samedge.errors import CalibrationError
from samedge.files.reading import read_bytes
from samedge.files.writing import write_bytes
from samedge.types import Precision

SCHEMA = "samedge.plan/1"
FLOATS = (Precision.FP32, Precision.FP16, Precision.BF16)


class PlanRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one module and everything below it computes in.

    Attributes:
        module: dotted path, such as ``image_encoder.backbone.blocks.0``.
        precision: ``int8``, ``fp16``, ``bf16`` or ``fp32``, or one of the stored weights alone.
        reason: why, for people.
        drop: mean mask IoU lost when this module alone is quantized; ``None``: not measured.
    """

    module: str
    precision: str
    reason: str = ""
    drop: float | None = None


class PrecisionPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Precisions by module.

    Attributes:
        default: of every module without a row.
        rest: of what cannot be quantized or is kept from it: a float precision.
        modules: the exceptions.
        schema: version of this record.
    """

    default: str = Precision.INT8.value
    rest: str = Precision.FP32.value
    modules: list[PlanRow] = []
    schema: str = SCHEMA

    def precision_of(self, module: str) -> Precision:
        """What a module computes in."""
        fitting = [row for row in self.modules if is_within(module, row.module)]
        if not fitting:
            return Precision(self.default)
        return Precision(max(fitting, key=lambda row: len(row.module)).precision)

    @property
    def precisions(self) -> set[Precision]:
        """Every precision that the plan gives to a module."""
        return {Precision(p) for p in (self.default, *(row.precision for row in self.modules))}

    def is_quantized(self, module: str) -> bool:
        """Whether a module's products run on integers; never those that belong to no module."""
        return bool(module) and self.precision_of(module) not in FLOATS

    def with_rows(self, rows: Iterable[PlanRow]) -> PrecisionPlan:
        """This plan with rows that replace those of the same modules."""
        merged = {row.module: row for row in (*self.modules, *rows)}
        return msgspec.structs.replace(self, modules=list(merged.values()))

    def records(self) -> list[dict[str, Any]]:
        """Rows for the manifest, the default and the rest first."""
        head = [
            PlanRow(module="", precision=self.default, reason="default"),
            PlanRow(module="", precision=self.rest, reason="everything that is not quantized"),
        ]
        rows: list[dict[str, Any]] = msgspec.to_builtins([*head, *self.modules])
        return rows

    def save(self, path: Path) -> None:
        """Write the plan as JSON, one field a line, to be read and edited.

        Raises:
            WriteError: the file cannot be written.
        """
        write_bytes(path, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def load_plan(path: str | Path) -> PrecisionPlan:
    """Read a plan from its JSON file.

    Raises:
        CalibrationError: no such file, not a plan, or a precision that no module can have.
    """
    file = Path(path)
    data = read_bytes(
        file, limit="document_bytes", expected="a precision plan", error=CalibrationError
    )
    try:
        plan = msgspec.json.decode(data, type=PrecisionPlan)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CalibrationError(
            f"{file} is no precision plan: {error}. Write one with `samedge calibrate -o {file}`."
        ) from error
    _check(plan, file)
    return plan


def check_modules(plan: PrecisionPlan, known: Iterable[str]) -> None:
    """Refuse a plan that names modules which the model does not have.

    Args:
        plan: as loaded.
        known: paths of the model's modules in torch.

    Raises:
        CalibrationError: names the first row that speaks of nothing, and the nearest module.
    """
    paths = list(known)
    for row in plan.modules:
        here = (may_mean(row.module, path) or is_within(path, row.module) for path in paths)
        if not any(here):
            near = difflib.get_close_matches(row.module, paths, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise CalibrationError(
                f"The plan names module {row.module!r}, which is not here.{hint}"
            )


def default_plan(rest: Precision) -> PrecisionPlan:
    """INT8 for the image encoder, float for the decoder: safe before anything was measured.

    The encoder holds nearly all of the arithmetic and of the weights, while the decoder's last
    layers draw the masks' edges and are the first to suffer (PTQ4SAM, Lv et al. 2024).

    Args:
        rest: precision of everything that stays float.
    """
    rows = [
        PlanRow(
            module="decoder",
            precision=rest.value,
            reason="draws the masks' edges; float unless measured otherwise",
        ),
    ]
    return PrecisionPlan(rest=rest.value, modules=rows)


def _check(plan: PrecisionPlan, file: Path) -> None:
    if plan.schema != SCHEMA:
        raise CalibrationError(f"{file} has schema {plan.schema!r}, expected {SCHEMA!r}.")
    known = [p.value for p in Precision if p is not Precision.AUTO]
    named = [(plan.default, "default"), *((row.precision, row.module) for row in plan.modules)]
    for precision, where in named:
        if precision not in known:
            raise CalibrationError(
                f"{file} gives {where} precision {precision!r}, expected one of {', '.join(known)}."
            )
    if plan.rest not in [p.value for p in FLOATS]:
        raise CalibrationError(
            f"{file} has rest {plan.rest!r}, expected {', '.join(p.value for p in FLOATS)}."
        )
