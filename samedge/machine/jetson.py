"""What decides the speed of a Jetson beside its GPU: release, power mode, clocks, free memory.

Everything is read from files and from ``nvpmodel -q``, which needs no privileges. Not yet run on a
Jetson: the files' layouts are those of JetPack 6 (L4T 36) as NVIDIA's developer guide gives them,
with the names that others report of JetPack 7 (the GPU's clock on Thor is ``gpu-gpc-0``).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from samedge.machine.system import (
    ROOT,
    l4t_release,
    memory_bytes,
    number,
    power_mode,
    text,
)

_MIB = 2**20
_LOW_MEMORY = 2 * 2**30
JETPACK_OF_L4T = {35: 5, 36: 6, 38: 7, 39: 7}
"""Major number of the JetPack that brings a major number of L4T."""


class JetsonState(msgspec.Struct, frozen=True, kw_only=True):
    """A Jetson's state; ``None`` is what could not be read.

    Attributes:
        module: its name.
        l4t: release of the board support package, such as ``"36.4.3"``.
        jetpack: major number of the JetPack that brings it.
        power_mode: such as ``"MAXN_SUPER"``.
        gpu_mhz: clock of the GPU now.
        gpu_max_mhz: the highest that the power mode allows.
        memory_bytes: shared by processor and GPU.
        available_bytes: of it, now.
        swap_bytes: swap space, compressed memory included.
        advice: what would make it faster or safer.
    """

    module: str
    l4t: str | None
    jetpack: str | None
    power_mode: str | None
    gpu_mhz: int | None
    gpu_max_mhz: int | None
    memory_bytes: int | None
    available_bytes: int | None
    swap_bytes: int | None
    advice: list[str]


def jetson_state(root: Path = ROOT) -> JetsonState | None:
    """The state of this Jetson, or ``None`` on any other machine.

    Args:
        root: where the file system starts.
    """
    module = text(root / "proc/device-tree/model").strip("\0\n ")
    release = l4t_release(root=root)
    if release is None and "jetson" not in module.lower():
        return None
    jetpack = JETPACK_OF_L4T.get(int(release.partition(".")[0])) if release else None
    memory = memory_bytes(root=root)
    now, most = _gpu_clocks(root)
    mode = power_mode()
    return JetsonState(
        module=module or "Jetson",
        l4t=release,
        jetpack=None if jetpack is None else str(jetpack),
        power_mode=mode,
        gpu_mhz=now,
        gpu_max_mhz=most,
        memory_bytes=memory.get("MemTotal"),
        available_bytes=memory.get("MemAvailable"),
        swap_bytes=memory.get("SwapTotal"),
        advice=_advice(memory, now, most, mode),
    )


def _advice(
    memory: dict[str, int], now: int | None, most: int | None, mode: str | None
) -> list[str]:
    advice = []
    if mode is not None and not mode.startswith("MAXN"):
        advice.append(
            f"power mode is {mode}: sudo nvpmodel -m ID allows the highest clocks, with the ID of "
            "the MAXN mode in /etc/nvpmodel.conf"
        )
    if now is not None and most is not None and now < most:
        advice.append(
            f"the GPU runs at {now} of {most} MHz: sudo jetson_clocks holds it there for benchmarks"
        )
    if memory.get("MemAvailable", _LOW_MEMORY) < _LOW_MEMORY:
        free = memory["MemAvailable"] // _MIB
        advice.append(
            f"{free} MiB are free: sudo systemctl isolate multi-user.target closes the desktop "
            "before an engine is built"
        )
    return advice


def lines(state: JetsonState) -> list[str]:
    """A state in words."""
    clocks = f"{_shown(state.gpu_mhz)} of {_shown(state.gpu_max_mhz)} MHz"
    memory = f"{_mib(state.available_bytes)} of {_mib(state.memory_bytes)} MiB free"
    return [
        f"{state.module}: L4T {state.l4t or 'unknown'}, JetPack {state.jetpack or 'unknown'}",
        f"power mode {state.power_mode or 'unknown'}, GPU at {clocks}",
        f"{memory}, {_mib(state.swap_bytes)} MiB swap",
        *state.advice,
    ]


def _shown(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _mib(value: int | None) -> str:
    return "unknown" if value is None else str(value // _MIB)


def _gpu_clocks(root: Path) -> tuple[int | None, int | None]:
    """Current and highest clock of the GPU, MHz."""
    for folder in sorted((root / "sys/class/devfreq").glob("*gpu*")):
        now, most = number(folder / "cur_freq"), number(folder / "max_freq")
        if now is not None and most is not None:
            return now // 1_000_000, most // 1_000_000
    return None, None
