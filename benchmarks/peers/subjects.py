"""Who takes part: name, environment, files. The same random weights within a family."""

from __future__ import annotations

import dataclasses
from typing import Any

FAMILIES = ("mobile-sam", "vit-b")
OURS = (
    ("cpu", "fp32"),
    ("cpu", "int8"),
    ("intel", "fp32"),
    ("intel", "bf16"),
    ("intel", "int8"),
)


@dataclasses.dataclass(frozen=True)
class PeerSubject:
    """One row of the comparison.

    Attributes:
        name: unique; family first.
        family: architecture and weights, ``mobile-sam`` or ``vit-b``, or our own model.
        environment: folder of the virtual environment, ``ours`` for this repository's.
        module: in ``contenders/``.
        files: below the folder of prepared files.
        options: for the module.
    """

    name: str
    family: str
    environment: str
    module: str
    files: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return self.environment == "ours"


def _torch(family: str) -> PeerSubject:
    return PeerSubject(
        f"{family} segment-anything torch fp32",
        family,
        "env-peers",
        "torch_sam",
        f"{family}/weights.pth",
        {"family": family},
    )


def _onnx(family: str) -> list[PeerSubject]:
    rows = (
        ("samexporter onnxruntime fp32", "samexporter_onnx", "encoder.onnx", "decoder.onnx"),
        (
            "samexporter onnxruntime int8",
            "samexporter_onnx",
            "encoder.quant.onnx",
            "decoder.quant.onnx",
        ),
        ("meta-decoder onnxruntime fp32", "meta_onnx", "encoder.onnx", "meta_decoder.onnx"),
    )
    return [
        PeerSubject(
            f"{family} {name}",
            family,
            "env-peers",
            module,
            family,
            {"encoder": encoder, "decoder": decoder},
        )
        for name, module, encoder, decoder in rows
    ]


def _optimum() -> list[PeerSubject]:
    return [
        PeerSubject(
            f"vit-b optimum-intel openvino {precision}",
            "vit-b",
            "env-optimum",
            "optimum_openvino",
            f"vit-b/optimum/{precision}",
        )
        for precision in ("fp32", "int8")
    ]


def _ours(family: str) -> list[PeerSubject]:
    return [
        PeerSubject(
            f"{family} samedge {target} {precision}",
            family,
            "ours",
            "ours",
            f"{family}/ours-{target}-{precision}",
        )
        for target, precision in OURS
        if family in FAMILIES or (target, precision) != ("intel", "fp32")
    ]


SUBJECTS: tuple[PeerSubject, ...] = (
    _torch("mobile-sam"),
    *_onnx("mobile-sam"),
    *_ours("mobile-sam"),
    *_ours("nano"),
    *_ours("pico"),
    _torch("vit-b"),
    *_onnx("vit-b"),
    *_optimum(),
    *_ours("vit-b"),
)
