"""What of a machine decides what a library computes on it: processor, kernel, drivers.

Read from the system's files, without starting a program: a bundle that is opened asks for it.
"""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path

from samedge.machine.system import ROOT, text

_PROCESSOR = ("model name", "CPU part", "CPU implementer", "microcode", "flags", "Features")
_DRIVERS = ("proc/driver/nvidia/version", "sys/module/nvidia/version", "etc/nv_tegra_release")


@functools.cache
def machine_identity(root: Path = ROOT) -> dict[str, str]:
    """Names of everything that may change results, each as the system gives it.

    Args:
        root: where the system's files are.
    """
    return {
        "machine": platform.machine(),
        "node": platform.node(),
        "system": f"{platform.system()} {platform.release()} {platform.mac_ver()[0]}".strip(),
        "processor": _processor(text(root / "proc/cpuinfo")) or platform.processor(),
        "drivers": " | ".join(text(root / name).strip() for name in _DRIVERS),
    }


def _processor(cpuinfo: str) -> str:
    """Model, and a hash of it with its microcode and instruction sets, of the first processor."""
    found: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in _PROCESSOR:
            found.setdefault(key.strip(), value.strip())
    if not found:
        return ""
    digest = hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:16]
    return f"{found.get('model name', '')} {digest}".strip()
