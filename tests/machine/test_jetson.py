"""A Jetson's state from a file system that looks like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from samedge.machine import jetson


def pretend(root: Path, *, available_kb: int = 6_000_000, clock: int = 1_020_000_000) -> Path:
    files = {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n",
        "proc/meminfo": f"MemTotal: 7802136 kB\nMemAvailable: {available_kb} kB\n"
        "SwapTotal: 3901056 kB\n",
        "sys/class/devfreq/17000000.gpu/cur_freq": f"{clock}\n",
        "sys/class/devfreq/17000000.gpu/max_freq": "1020000000\n",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_another_machine_is_none(tmp_path: Path) -> None:
    assert jetson.jetson_state(tmp_path) is None


def test_the_state_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetson, "power_mode", lambda: "MAXN_SUPER")
    state = jetson.jetson_state(pretend(tmp_path))
    assert state is not None
    assert (state.l4t, state.jetpack, state.power_mode) == ("36.4.3", "6", "MAXN_SUPER")
    assert (state.gpu_mhz, state.gpu_max_mhz) == (1020, 1020)
    assert state.memory_bytes == 7802136 * 1024
    assert state.advice == []
    assert jetson.lines(state) == [
        "NVIDIA Jetson Orin Nano Developer Kit: L4T 36.4.3, JetPack 6",
        "power mode MAXN_SUPER, GPU at 1020 of 1020 MHz",
        "5859 of 7619 MiB free, 3809 MiB swap",
    ]


def test_what_slows_it_down_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetson, "power_mode", lambda: "15W")
    state = jetson.jetson_state(pretend(tmp_path, available_kb=900_000, clock=306_000_000))
    assert state is not None
    mode, clock, memory = state.advice
    assert "MAXN mode in /etc/nvpmodel.conf" in mode
    assert "306 of 1020 MHz" in clock
    assert "878 MiB are free" in memory


def test_what_cannot_be_read_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetson, "power_mode", lambda: None)
    release = tmp_path / "etc/nv_tegra_release"
    release.parent.mkdir()
    release.write_text("# R38 (release), REVISION: 2.0")
    state = jetson.jetson_state(tmp_path)
    assert state is not None
    assert (state.gpu_mhz, state.memory_bytes, state.power_mode) == (None, None, None)
    assert jetson.lines(state)[1] == "power mode unknown, GPU at unknown of unknown MHz"


def test_thors_clock_is_found_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetson, "power_mode", lambda: "MAXN")
    files = {
        "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
        "etc/nv_tegra_release": "# R39 (release), REVISION: 2.1, GCID: 1\n",
        "sys/class/devfreq/gpu-nvd-0/cur_freq": "1692000000\n",
        "sys/class/devfreq/gpu-nvd-0/max_freq": "1692000000\n",
        "sys/class/devfreq/gpu-gpc-0/cur_freq": "315000000\n",
        "sys/class/devfreq/gpu-gpc-0/max_freq": "1575000000\n",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    state = jetson.jetson_state(tmp_path)
    assert state is not None
    assert (state.jetpack, state.gpu_mhz, state.gpu_max_mhz) == ("7", 315, 1575)
    assert any("315 of 1575 MHz" in line for line in state.advice)
