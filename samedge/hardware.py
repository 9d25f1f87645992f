"""NVIDIA Jetson modules as a table: what the roofline and the targets know of each.

The figures are those of the named module at its highest power mode as the authors know them; they
have not been checked against NVIDIA's data sheets yet, so a bound made of them may be off by as
much as they are. Peaks are dense: headline figures count structured sparsity, twice as much. A peak
that is not known is absent. Tensor-core peaks of Orin follow from SMs and clocks: 2,048 fp16 and
4,096 int8 operations a clock and SM; Thor's fp16 peak is half of its fp8 peak.

To be checked against: Jetson Orin Nano, Orin NX, AGX Orin and Thor series data sheets, the Jetson
AGX Orin technical brief, and JetPack 6.2's announcement for the "Super" modes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from samedge.types import Precision

_ORIN = "8.7"
_GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hardware:
    """One module.

    Attributes:
        name: as NVIDIA calls it.
        compute_capability: of its GPU.
        memory_bytes: shared by processor and GPU.
        bandwidth: of the memory, bytes a second.
        peaks: dense operations a second of the GPU, by precision; without its DLAs.
        formats: precisions that its tensor cores multiply in.
        jetpack: releases that samedge's files are meant for.
        tensorrt: what those bring.
    """

    name: str
    compute_capability: str
    memory_bytes: int
    bandwidth: float
    peaks: Mapping[Precision, float]
    formats: tuple[str, ...]
    jetpack: str
    tensorrt: str


def _orin(name: str, *, sms: int, clock_ghz: float, memory: int, bandwidth: float) -> Hardware:
    rate = sms * clock_ghz * 1e9
    return Hardware(
        name=name,
        compute_capability=_ORIN,
        memory_bytes=memory * _GIB,
        bandwidth=bandwidth * 1e9,
        peaks=MappingProxyType(
            {
                Precision.FP32: rate * 256,
                Precision.FP16: rate * 2048,
                Precision.BF16: rate * 2048,
                Precision.INT8: rate * 4096,
            }
        ),
        formats=("fp16", "bf16", "int8"),
        jetpack="6.x and 7.2 or later" if sms > 8 else "6.x",
        tensorrt="10.3 with JetPack 6, 11.4 with JetPack 7.2" if sms > 8 else "10.3 with JetPack 6",
    )


HARDWARE: Mapping[str, Hardware] = MappingProxyType(
    {
        "jetson-orin-nano": _orin(
            "Jetson Orin Nano 8 GB (Super mode)", sms=8, clock_ghz=1.02, memory=8, bandwidth=102
        ),
        "jetson-orin-nano-4gb": _orin(
            "Jetson Orin Nano 4 GB (Super mode)", sms=4, clock_ghz=1.02, memory=4, bandwidth=51
        ),
        "jetson-orin-nx": _orin(
            "Jetson Orin NX 16 GB (Super mode)", sms=8, clock_ghz=1.173, memory=16, bandwidth=102
        ),
        "jetson-agx-orin": _orin(
            "Jetson AGX Orin 64 GB", sms=16, clock_ghz=1.3, memory=64, bandwidth=204.8
        ),
        "jetson-thor": Hardware(
            name="Jetson Thor T5000",
            compute_capability="11.0",
            memory_bytes=128 * _GIB,
            bandwidth=273e9,
            # fp8 is half the dense fp4 peak of 1,035 TFLOPS; fp16 half of that by the architecture.
            peaks=MappingProxyType({Precision.FP32: 8.06e12, Precision.FP16: 258.75e12}),
            formats=("fp16", "bf16", "fp8", "fp4"),
            jetpack="7.x",
            tensorrt="10.13 with JetPack 7.0, 11.4 with JetPack 7.2",
        ),
    }
)
"""By the name of the target."""
