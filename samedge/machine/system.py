"""Reads the system's own files and tools; what is not there reads as nothing, never as an error."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path

ROOT = Path("/")


def text(path: Path) -> str:
    """A file's text, empty when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """The whole number that a file holds, or ``None``."""
    content = text(path).strip()
    return int(content) if re.fullmatch(r"-?\d+", content) else None


def command(*arguments: str) -> str:
    """What a tool prints, empty when it is not here or fails."""
    try:
        done = subprocess.run(arguments, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")


def first_line(*arguments: str, timeout_s: float = 1.5) -> str:
    """The first line of a tool that goes on printing until it is stopped; empty without one."""
    try:
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return ""
    alarm = threading.Timer(timeout_s, process.kill)
    alarm.start()
    with process:
        assert process.stdout is not None
        try:
            return process.stdout.readline().decode("utf-8", "replace").rstrip("\n")
        finally:
            alarm.cancel()
            process.kill()


def memory_bytes(*, root: Path = ROOT) -> dict[str, int]:
    """Entries of ``/proc/meminfo``, such as ``MemTotal``; none where there is no such file."""
    found = re.findall(r"^(\w+):\s+(\d+) kB", text(root / "proc/meminfo"), re.MULTILINE)
    return {name: int(value) * 1024 for name, value in found}


def l4t_release(*, root: Path = ROOT) -> str | None:
    """Release of a Jetson's Linux for Tegra, such as ``36.4.3``; ``None`` on other machines."""
    found = re.search(
        r"R(\d+) \(release\), REVISION: ([\d.]+)", text(root / "etc/nv_tegra_release")
    )
    return f"{found.group(1)}.{found.group(2)}" if found else None


def power_mode() -> str | None:
    """A Jetson's power mode, such as ``MAXN_SUPER``; ``None`` where nothing tells."""
    match = re.search(r"NV Power Mode: (\S+)", command("nvpmodel", "-q"))
    return match.group(1) if match else None
