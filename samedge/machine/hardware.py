"""NVIDIA Jetson modules as a table: what the roofline and the targets know of each.

Figures are those of the named module at its highest power mode. Peaks are dense and of the GPU
alone: NVIDIA's headline figures count structured sparsity, twice as much, and on Orin NX and AGX
Orin the DLAs too. Tensor-core peaks of Orin follow from SMs and clock: 2,048 fp16 and 4,096 int8
operations a clock and SM. They agree with what NVIDIA publishes;
`tests/inspection/test_roofline.py` holds each figure against it:

* Jetson AGX Orin Series Technical Brief v1.2: 16 SMs, 5.3 TFLOPS fp32, 170 sparse int8 TOPS of the
  GPU, 204.8 GB/s.
* "NVIDIA JetPack 6.2 Brings Super Mode to NVIDIA Jetson Orin Nano and Jetson Orin NX Modules"
  (NVIDIA's developer blog, January 2025) and the modules' data sheets: Orin Nano 8 GB, 1,020 MHz,
  102 GB/s, 67 sparse and 33 dense int8 TOPS, 17 TFLOPS fp16; Orin Nano 4 GB, 34 sparse TOPS,
  51 GB/s; Orin NX 16 GB, 1,173 MHz, 102.4 GB/s, 157 sparse int8 TOPS, 80 of them the DLAs'.
* "Introducing NVIDIA Jetson Thor" (NVIDIA's developer blog, August 2025), table of the T5000: 2,560
  cores, 1,035 TFLOPS dense fp4, 517 dense fp8, sparse fp8 and int8 alike at 1,035, sparse fp16 at
  517; 273 GB/s.
* TensorRT 11.4.1, "Migrating TensorRT from 10.x to 11.x on Jetson/JetPack": JetPack 7.2.2 or later
  on AGX Orin and Thor. JetPack 6.1 and 6.2 bring TensorRT 10.3, JetPack 7.0 brings 10.13, and
  JetPack 7.2, which takes Orin too, 10.16.

Looked up on 2026-11-24, much of it in excerpts and in others' quotations of those documents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from samedge.types import Precision

RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""Compute capabilities that TensorRT for RTX 1.7 compiles for: desktop cards', no Jetson's."""

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
        formats: what its tensor cores multiply in.
        jetpack: releases that samedge's files are meant for.
        tensorrt: what those bring, or take.
    """

    name: str
    compute_capability: str
    memory_bytes: int
    bandwidth: float
    peaks: Mapping[Precision, float]
    formats: tuple[str, ...]
    jetpack: str
    tensorrt: str


def _orin(
    name: str, *, sms: int, clock_ghz: float, memory: int, bandwidth: float, tensorrt: str = ""
) -> Hardware:
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
        jetpack="6.1 or later, 7.2 or later",
        tensorrt=f"10.3 with JetPack 6, 10.16 with JetPack 7.2{tensorrt}",
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
            "Jetson Orin NX 16 GB (Super mode)", sms=8, clock_ghz=1.173, memory=16, bandwidth=102.4
        ),
        "jetson-agx-orin": _orin(
            "Jetson AGX Orin 64 GB",
            sms=16,
            clock_ghz=1.3,
            memory=64,
            bandwidth=204.8,
            tensorrt=", 11.4 from JetPack 7.2.2 on",
        ),
        "jetson-thor": Hardware(
            name="Jetson Thor T5000",
            compute_capability="11.0",
            memory_bytes=128 * _GIB,
            bandwidth=273e9,
            peaks=MappingProxyType(
                {
                    Precision.FP32: 20 * 128 * 2 * 1.575e9,
                    Precision.FP16: 517e12 / 2,
                    Precision.BF16: 517e12 / 2,
                    Precision.INT8: 1035e12 / 2,
                }
            ),
            formats=("fp16", "bf16", "int8", "fp8", "fp4"),
            jetpack="7.0 or later",
            tensorrt="10.13 with JetPack 7.0, 10.16 with 7.2, 11.4 from 7.2.2 on",
        ),
    }
)
"""By the name of the target."""
