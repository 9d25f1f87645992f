"""The machine that figures come from."""

from __future__ import annotations

import msgspec


class GpuRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One graphics processor and its driver."""

    name: str
    driver: str | None = None
    memory_bytes: int | None = None
    compute_capability: str | None = None
    power_limit_w: float | None = None


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """How fast the machine is allowed to be; ``None`` is what the system does not tell.

    Attributes:
        governor, preference, profile: of Linux's cpufreq and of the firmware.
        frequency_max_mhz, frequency_mhz: means over the processors.
        boost: whether clocks may rise above the nominal one.
        on_battery: whether no outlet feeds the machine.
        cpu_quota: processors that a container may use.
        temperature_c: the hottest sensor.
        nvpmodel: a Jetson's power mode.
        rails_mw: power of its rails, by name.
    """

    governor: str | None = None
    preference: str | None = None
    profile: str | None = None
    frequency_max_mhz: int | None = None
    frequency_mhz: int | None = None
    boost: bool | None = None
    on_battery: bool | None = None
    cpu_quota: float | None = None
    temperature_c: float | None = None
    nvpmodel: str | None = None
    rails_mw: dict[str, int] | None = None


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that the figures come from. What cannot be read is ``None``.

    Attributes:
        cpu: the processor's name.
        isa: the instruction-set extensions that matter to inference, such as ``avx512_vnni``.
        cores: logical processors that this process may use.
        cores_physical: physical cores of the machine.
        power: power mode, governor, frequencies and sensors; each ``None`` where the system does
            not tell.
        threads: threads that were asked for; ``None`` leaves it to the backend.
        board: a device tree's model, such as a Jetson's or a Raspberry Pi's.
        cuda: version of the toolkit.
        cuda_driver: the newest CUDA that the driver runs.
        gpus: NVIDIA's, as their driver tells; others are part of ``cpu`` or of a device's name.
    """

    cpu: str | None = None
    isa: list[str] | None = None
    cores: int | None = None
    cores_physical: int | None = None
    memory_bytes: int | None = None
    os: str | None = None
    machine: str | None = None
    board: str | None = None
    python: str | None = None
    packages: dict[str, str] = {}
    power: Power = Power()
    threads: int | None = None
    gpus: list[GpuRecord] | None = None
    cuda: str | None = None
    cuda_driver: str | None = None
    tensorrt: str | None = None
    jetpack: str | None = None
    container: bool | None = None
