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
import sys
from collections.abc import Iterable
from pathlib import Path

from samedge import _discovery
from samedge.machine.power import power
from samedge.machine.system import ROOT, command, l4t_release, memory_bytes, text
from samedge.records import Environment, GpuRecord

_OWN_PACKAGES = (
    "av",
    "numpy",
    "opencv-contrib-python",
    "opencv-python",
    "opencv-python-headless",
    "pillow",
    "samedge",
)
"""What samedge itself computes with; plug-ins declare theirs as ``packages``."""

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


def environment(*, threads: int | None = None, root: Path = ROOT) -> Environment:
    """Describe this machine.

    Args:
        threads: what the user asked the backends for; ``None`` leaves it to them.
        root: where the system's files are.
    """
    cpuinfo = _fields(text(root / "proc/cpuinfo"))
    return Environment(
        cpu=_cpu(cpuinfo),
        isa=_isa(cpuinfo),
        cores=usable_cores(),
        cores_physical=_physical_cores(root),
        memory_bytes=_memory_bytes(root),
        os=_os(root),
        machine=platform.machine() or None,
        board=text(root / "proc/device-tree/model").strip("\0\n ") or None,
        python=platform.python_version(),
        packages=package_versions(),
        power=power(root=root),
        threads=threads,
        gpus=_gpus(),
        cuda=_first_match(
            root, "usr/local/cuda/version.json", r'"cuda"[^}]*"version"\s*:\s*"([^"]+)'
        ),
        cuda_driver=_cuda_driver(),
        tensorrt=_tensorrt(root),
        jetpack=_jetpack(root),
        container=_container(root),
    )


def packages() -> tuple[str, ...]:
    """Distributions that bear on the figures, by the names that pip lists."""
    return tuple(sorted({*_OWN_PACKAGES, *_discovery.declared("packages")}))


def package_versions(names: Iterable[str] | None = None) -> dict[str, str]:
    """Versions of distributions, as far as they are installed.

    Args:
        names: as pip lists them; ``None`` takes all that bear on the figures.
    """
    found = {}
    for name in packages() if names is None else names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _fields(content: str) -> dict[str, str]:
    """First occurrence of each ``key : value`` line."""
    found: dict[str, str] = {}
    for line in content.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def _first_match(root: Path, name: str, pattern: str) -> str | None:
    match = re.search(pattern, text(root / name), re.DOTALL)
    return match.group(1) if match else None


def _cpu(cpuinfo: dict[str, str]) -> str | None:
    if sys.platform == "darwin":
        return command("sysctl", "-n", "machdep.cpu.brand_string").strip() or None
    named = cpuinfo.get("model name") or _ARM_PARTS.get(cpuinfo.get("CPU part", ""))
    return named or platform.processor() or None


def isa(*, root: Path = ROOT) -> list[str] | None:
    """The instruction sets that matter to inference; ``None`` where the system does not tell.

    Args:
        root: where the system's files are.
    """
    return _isa(_fields(text(root / "proc/cpuinfo")))


def _isa(cpuinfo: dict[str, str]) -> list[str] | None:
    if sys.platform == "darwin":
        lines = _fields(command("sysctl", "hw.optional")).items()
        here = (name.rpartition(".")[2] for name, value in lines if value == "1")
        return sorted(flag for flag in here if "FEAT_" in flag or "avx" in flag) or None
    flags = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    return [flag for flag in ISA_FLAGS if flag in flags] if flags else None


def usable_cores() -> int | None:
    """Processors that this process may use; ``None`` where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _physical_cores(root: Path) -> int | None:
    folders = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/topology")
    pairs = {(text(f / "physical_package_id"), text(f / "core_id")) for f in folders}
    if pairs:
        return len(pairs)
    count = command("sysctl", "-n", "hw.physicalcpu").strip() if sys.platform == "darwin" else ""
    return int(count) if count.isdecimal() else None


def _memory_bytes(root: Path) -> int | None:
    found = memory_bytes(root=root).get("MemTotal")
    if found is not None:
        return found
    size = command("sysctl", "-n", "hw.memsize").strip() if sys.platform == "darwin" else ""
    return int(size) if size.isdecimal() else None


def _os(root: Path) -> str | None:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    name = _first_match(root, "etc/os-release", r'PRETTY_NAME="?([^"\n]+)')
    system = f"{platform.system()} {platform.release()}"
    return f"{name}, {system}" if name else system


def _gpus() -> list[GpuRecord] | None:
    query = "name,driver_version,memory.total,compute_cap,power.limit"
    lines = command("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits")
    return [_gpu(line) for line in lines.splitlines() if line.count(",") == 4] or None


def _gpu(line: str) -> GpuRecord:
    name, driver, memory, capability, watts = (part.strip() for part in line.split(","))
    return GpuRecord(
        name=name,
        driver=driver or None,
        memory_bytes=int(memory) * 2**20 if memory.isdecimal() else None,
        compute_capability=capability if re.fullmatch(r"\d+\.\d+", capability) else None,
        power_limit_w=float(watts) if re.fullmatch(r"[\d.]+", watts) else None,
    )


def _cuda_driver() -> str | None:
    """The newest CUDA that the driver runs; programs made for a later one do not start."""
    match = re.search(r"CUDA (?:UMD )?Version:\s*(\d+\.\d+)", command("nvidia-smi"))
    return match.group(1) if match else None


def _tensorrt(root: Path) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("tensorrt")
    names = [path.name for path in (root / "usr/lib").glob("*-linux-gnu/libnvinfer.so.*.*")]
    return max(names, key=len).removeprefix("libnvinfer.so.") if names else None


def _jetpack(root: Path) -> str | None:
    """JetPack's own version, else the version of Linux for Tegra that it is built on."""
    package = r"^Package: nvidia-jetpack\n(?:[^\n]+\n)*?Version: ([^\n]+)"
    match = re.search(package, text(root / "var/lib/dpkg/status"), re.MULTILINE)
    if match:
        return match.group(1)
    tegra = l4t_release(root=root)
    return f"L4T {tegra}" if tegra else None


def _container(root: Path) -> bool | None:
    if sys.platform != "linux":
        return None
    marks = ("docker", "containerd", "kubepods", "lxc")
    cgroup = text(root / "proc/1/cgroup")
    return (root / ".dockerenv").exists() or any(mark in cgroup for mark in marks)
