"""How fast the machine is allowed to be, and what slows it down: governor, clocks, heat, supply.

Nothing here guesses: what cannot be read is ``None``. Every reader takes the file system's root, so
that other machines' files can be tested here. Not yet run on a Jetson or a Mac: the layouts of
their files and tools are those of their makers' documentation.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from samedge.machine.system import ROOT, command, first_line, number, power_mode, text
from samedge.records import Power

_CPU = "sys/devices/system/cpu"
_GPU_SLOWDOWNS = {
    "clocks_throttle_reasons.hw_thermal_slowdown": "heat",
    "clocks_throttle_reasons.sw_thermal_slowdown": "heat",
    "clocks_throttle_reasons.hw_power_brake_slowdown": "its power supply",
    "clocks_throttle_reasons.sw_power_cap": "its power limit",
}


def power(*, root: Path = ROOT) -> Power:
    """Governor, frequencies, power mode, supply and sensors; ``None`` is what cannot be read.

    Args:
        root: where the system's files are.
    """
    return Power(
        governor=_distinct(root, f"{_CPU}/cpu[0-9]*/cpufreq/scaling_governor"),
        preference=_distinct(root, f"{_CPU}/cpu[0-9]*/cpufreq/energy_performance_preference"),
        profile=text(root / "sys/firmware/acpi/platform_profile").strip() or None,
        frequency_max_mhz=frequency_mhz("cpuinfo_max_freq", root=root),
        frequency_mhz=frequency_mhz("scaling_cur_freq", root=root),
        boost=_boost(root),
        on_battery=_on_battery(root),
        cpu_quota=_cpu_quota(root),
        temperature_c=temperature_c(root=root),
        nvpmodel=power_mode(),
        rails_mw=_rails_mw(root) or None,
    )


def _distinct(root: Path, pattern: str) -> str | None:
    return "/".join(sorted({text(path).strip() for path in root.glob(pattern)} - {""})) or None


def frequency_mhz(name: str, *, root: Path = ROOT) -> int | None:
    """Mean over the processors of a file of Linux's cpufreq, in MHz."""
    folders = root.glob(f"{_CPU}/cpu[0-9]*/cpufreq")
    values = [value for value in (number(folder / name) for folder in folders) if value]
    return round(sum(values) / len(values) / 1000) if values else None


def _boost(root: Path) -> bool | None:
    no_turbo = number(root / _CPU / "intel_pstate/no_turbo")
    if no_turbo is not None:
        return not no_turbo
    boost = number(root / _CPU / "cpufreq/boost")
    return None if boost is None else bool(boost)


def _on_battery(root: Path) -> bool | None:
    if sys.platform == "darwin":
        said = command("pmset", "-g", "batt")
        return "Battery Power" in said if said else None
    mains = [number(path) for path in root.glob("sys/class/power_supply/A*/online")]
    return not any(mains) if mains else None


def _cpu_quota(root: Path) -> float | None:
    """Processors' worth of time that a container may use."""
    quota, _, period = text(root / "sys/fs/cgroup/cpu.max").partition(" ")
    return round(int(quota) / int(period), 2) if quota.isdecimal() else None


def temperature_c(*, root: Path = ROOT) -> float | None:
    """The hottest thermal zone, in degrees Celsius."""
    zones = [number(path) for path in root.glob("sys/class/thermal/thermal_zone*/temp")]
    return max((zone / 1000 for zone in zones if zone), default=None)


def throttle_count(*, root: Path = ROOT) -> int | None:
    """How often an x86 processor slowed down for heat since it was switched on."""
    pattern = f"{_CPU}/cpu[0-9]*/thermal_throttle/*_throttle_count"
    counts = [number(path) for path in root.glob(pattern)]
    return sum(count for count in counts if count) if counts else None


def throttled_now(*, root: Path = ROOT) -> list[str]:
    """What Linux holds back at this moment because a thermal zone is too hot.

    Its thermal governor acts through cooling devices; those that lower the clocks of processors and
    GPUs are named after ``cpufreq`` and ``devfreq`` (Jetson, Raspberry Pi) or ``Processor`` (ACPI).
    """
    found = set()
    for device in root.glob("sys/class/thermal/cooling_device*"):
        kind = text(device / "type").strip()
        clocks = kind == "Processor" or "cpufreq" in kind or "devfreq" in kind
        if clocks and (number(device / "cur_state") or 0) > 0:
            found.add(kind)
    if sys.platform == "darwin":
        limit = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", command("pmset", "-g", "therm"))
        if limit and int(limit.group(1)) < 100:
            found.add(f"processor, at {limit.group(1)}% of its speed")
    return sorted(found)


def gpu_slowdowns() -> list[str]:
    """Why NVIDIA GPUs run below their clocks at this moment, as their driver tells."""
    query = ",".join(("index", *_GPU_SLOWDOWNS))
    said = command("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader")
    found = []
    for line in said.splitlines():
        index, *states = (part.strip() for part in line.split(","))
        pairs = zip(_GPU_SLOWDOWNS.values(), states, strict=False)
        reasons = dict.fromkeys(reason for reason, state in pairs if state == "Active")
        if reasons:
            found.append(f"GPU {index} for {' and '.join(reasons)}")
    return found


def _rails_mw(root: Path) -> dict[str, int]:
    """Power of each rail of a Jetson in milliwatts: from its INA3221 monitors, else tegrastats."""
    rails: dict[str, int] = {}
    for label in sorted(root.glob("sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label")):
        index = label.name.removeprefix("in").removesuffix("_label")
        millivolts = number(label.with_name(f"in{index}_input"))
        milliamperes = number(label.with_name(f"curr{index}_input"))
        if millivolts is not None and milliamperes is not None:
            rails[text(label).strip()] = round(millivolts * milliamperes / 1000)
    if rails or not (root / "etc/nv_tegra_release").exists():
        return rails
    said = first_line("tegrastats", "--interval", "500")
    return {name: int(now) for name, now in re.findall(r"(V\w+) (\d+)mW/\d+mW", said)}
