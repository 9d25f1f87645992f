"""The machine that a figure comes from, read from the platform's own files and tools.

Nothing here guesses: what cannot be read is ``None``. Every reader takes the file system's root, so
that other machines' files can be tested here.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from samedge.records import Environment, GpuRecord

PACKAGES = (
    "coremltools",
    "cuda-python",
    "nncf",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "pillow",
    "samedge",
    "tensorrt",
    "tensorrt-rtx",
    "timm",
    "torch",
    "torchvision",
)

ISA_FLAGS = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl"),
    *("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)
"""The flags, as Linux spells them, that decide how fast inference can be."""

_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}  # arch/arm64/include/asm/cputype.h in Linux

ROOT = Path("/")


def environment(*, threads: int | None = None, root: Path = ROOT) -> Environment:
    """Describe this machine.

    Args:
        threads: what the user asked the backends for; ``None`` leaves it to them.
        root: where the system's files are.
    """
    cpuinfo = _fields(_text(root / "proc/cpuinfo"))
    return Environment(
        cpu=_cpu(cpuinfo),
        isa=_isa(cpuinfo),
        cores=_cores(),
        cores_physical=_physical_cores(root),
        memory_bytes=_memory_bytes(root),
        os=_os(root),
        machine=platform.machine() or None,
        board=_text(root / "proc/device-tree/model").strip("\0\n ") or None,
        python=platform.python_version(),
        packages=package_versions(),
        power=power(root=root),
        threads=threads,
        gpus=_gpus(),
        cuda=_first_match(
            root, "usr/local/cuda/version.json", r'"cuda"[^}]*"version"\s*:\s*"([^"]+)'
        ),
        tensorrt=_tensorrt(root),
        jetpack=_jetpack(root),
        container=_container(root),
    )


def package_versions() -> dict[str, str]:
    """Versions of the packages that bear on the figures, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _text(path: Path) -> str:
    """A file's text, empty when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _command(*arguments: str) -> str:
    """What a tool prints, empty when it is not here or fails."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _fields(text: str) -> dict[str, str]:
    """First occurrence of each ``key : value`` line."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def _first_match(root: Path, name: str, pattern: str) -> str | None:
    match = re.search(pattern, _text(root / name), re.DOTALL)
    return match.group(1) if match else None


def _cpu(cpuinfo: dict[str, str]) -> str | None:
    if sys.platform == "darwin":
        return _command("sysctl", "-n", "machdep.cpu.brand_string").strip() or None
    named = cpuinfo.get("model name") or _ARM_PARTS.get(cpuinfo.get("CPU part", ""))
    return named or platform.processor() or None


def _isa(cpuinfo: dict[str, str]) -> list[str]:
    if sys.platform == "darwin":
        lines = _fields(_command("sysctl", "hw.optional")).items()
        return sorted(k.rpartition(".")[2] for k, v in lines if v == "1" and "FEAT_" in k)
    flags = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    return [flag for flag in ISA_FLAGS if flag in flags]


def _cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _physical_cores(root: Path) -> int | None:
    folders = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology")
    pairs = {(_text(f / "physical_package_id"), _text(f / "core_id")) for f in folders}
    if pairs:
        return len(pairs)
    count = _command("sysctl", "-n", "hw.physicalcpu").strip() if sys.platform == "darwin" else ""
    return int(count) if count.isdecimal() else None


def _memory_bytes(root: Path) -> int | None:
    match = re.search(r"^MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    if match:
        return int(match.group(1)) * 1024
    size = _command("sysctl", "-n", "hw.memsize").strip() if sys.platform == "darwin" else ""
    return int(size) if size.isdecimal() else None


def _os(root: Path) -> str | None:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    name = _first_match(root, "etc/os-release", r'PRETTY_NAME="?([^"\n]+)')
    system = f"{platform.system()} {platform.release()}"
    return f"{name}, {system}" if name else system


def _gpus() -> list[GpuRecord]:
    query = "name,driver_version,memory.total,compute_cap,power.limit"
    lines = _command("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits")
    return [_gpu(line) for line in lines.splitlines() if line.count(",") == 4]


def _gpu(line: str) -> GpuRecord:
    name, driver, memory, capability, watts = (part.strip() for part in line.split(","))
    return GpuRecord(
        name=name,
        driver=driver or None,
        memory_bytes=int(memory) * 2**20 if memory.isdecimal() else None,
        compute_capability=capability if re.fullmatch(r"\d+\.\d+", capability) else None,
        power_limit_w=float(watts) if re.fullmatch(r"[\d.]+", watts) else None,
    )


def _tensorrt(root: Path) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("tensorrt")
    names = [path.name for path in (root / "usr/lib").glob("*-linux-gnu/libnvinfer.so.*.*")]
    return max(names, key=len).removeprefix("libnvinfer.so.") if names else None


def _jetpack(root: Path) -> str | None:
    """JetPack's own version, else the version of Linux for Tegra that it is built on."""
    package = r"^Package: nvidia-jetpack\n(?:[^\n]+\n)*?Version: ([^\n]+)"
    match = re.search(package, _text(root / "var/lib/dpkg/status"), re.MULTILINE)
    if match:
        return match.group(1)
    tegra = re.search(
        r"R(\d+) \(release\), REVISION: ([\d.]+)", _text(root / "etc/nv_tegra_release")
    )
    return f"L4T {tegra.group(1)}.{tegra.group(2)}" if tegra else None


def _container(root: Path) -> bool | None:
    if sys.platform != "linux":
        return None
    marks = ("docker", "containerd", "kubepods", "lxc")
    cgroup = _text(root / "proc/1/cgroup")
    return (root / ".dockerenv").exists() or any(mark in cgroup for mark in marks)


def power(*, root: Path = ROOT) -> dict[str, Any]:
    """How fast the machine is allowed to be: governor, frequencies, power mode, supply, sensors.

    A key is absent where the system has no such thing.
    """
    found = {
        "governor": _distinct(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"),
        "preference": _distinct(
            root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/energy_performance_preference"
        ),
        "profile": _text(root / "sys/firmware/acpi/platform_profile").strip(),
        "frequency_max_mhz": frequency_mhz("cpuinfo_max_freq", root=root),
        "frequency_mhz": frequency_mhz("scaling_cur_freq", root=root),
        "boost": _boost(root),
        "on_battery": _on_battery(root),
        "cpu_quota": _cpu_quota(root),
        "temperature_c": temperature_c(root=root),
        "nvpmodel": _nvpmodel(),
        "rails_mw": _rails_mw(root),
    }
    return {key: value for key, value in found.items() if value not in (None, "", {})}


def _distinct(root: Path, pattern: str) -> str | None:
    return "/".join(sorted({_text(path).strip() for path in root.glob(pattern)} - {""})) or None


def frequency_mhz(name: str, *, root: Path = ROOT) -> int | None:
    """Mean over the processors of a file of Linux's cpufreq, in MHz."""
    folders = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq")
    values = [value for value in (_number(folder / name) for folder in folders) if value]
    return round(sum(values) / len(values) / 1000) if values else None


def _boost(root: Path) -> bool | None:
    folder = root / "sys/devices/system/cpu"
    no_turbo = _number(folder / "intel_pstate/no_turbo")
    if no_turbo is not None:
        return not no_turbo
    boost = _number(folder / "cpufreq/boost")
    return None if boost is None else bool(boost)


def _on_battery(root: Path) -> bool | None:
    if sys.platform == "darwin":
        text = _command("pmset", "-g", "batt")
        return "Battery Power" in text if text else None
    mains = [_number(path) for path in root.glob("sys/class/power_supply/A*/online")]
    return not any(mains) if mains else None


def _cpu_quota(root: Path) -> float | None:
    """Processors' worth of time that a container may use."""
    quota, _, period = _text(root / "sys/fs/cgroup/cpu.max").partition(" ")
    return round(int(quota) / int(period), 2) if quota.isdecimal() else None


def temperature_c(*, root: Path = ROOT) -> float | None:
    """The hottest thermal zone, in degrees Celsius."""
    zones = [_number(path) for path in root.glob("sys/class/thermal/thermal_zone*/temp")]
    return max((zone / 1000 for zone in zones if zone), default=None)


def throttle_count(*, root: Path = ROOT) -> int | None:
    """How often the processor slowed down for heat since it was switched on."""
    pattern = "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count"
    counts = [_number(path) for path in root.glob(pattern)]
    return sum(count for count in counts if count) if counts else None


def _nvpmodel() -> str | None:
    match = re.search(r"NV Power Mode: (\S+)", _command("nvpmodel", "-q"))
    return match.group(1) if match else None


def _rails_mw(root: Path) -> dict[str, int]:
    """Power of each rail of the INA3221 monitors of a Jetson, in milliwatts."""
    rails: dict[str, int] = {}
    for label in sorted(root.glob("sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label")):
        index = label.name.removeprefix("in").removesuffix("_label")
        millivolts = _number(label.with_name(f"in{index}_input"))
        milliamperes = _number(label.with_name(f"curr{index}_input"))
        if millivolts is not None and milliamperes is not None:
            rails[_text(label).strip()] = round(millivolts * milliamperes / 1000)
    return rails
