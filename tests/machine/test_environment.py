"""What a machine is, and what disturbs it while it measures."""

from __future__ import annotations

import functools
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from samedge.machine import disturbance, environment, power, system
from samedge.machine.disturbance import Watch, processor_times
from samedge.records import Power


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


Tools = Callable[[str, str], None]
"""Puts a shell script on the path in the place of a tool of another system."""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def add(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return add


def test_a_tool_that_prints_no_utf8_is_read_all_the_same(tools: Tools) -> None:
    tools("oddly", "printf 'NVIDIA \\377 x\\n'")
    assert system.command("oddly") == "NVIDIA \ufffd x\n"
    assert system.first_line("oddly") == "NVIDIA \ufffd x"


class TestEnvironment:
    def test_this_machine(self) -> None:
        found = environment.environment(threads=3)
        assert found.threads == 3
        assert found.cores
        assert found.python == ".".join(map(str, sys.version_info[:3]))
        assert found.packages["numpy"] == np.__version__

    def test_what_cannot_be_read_is_null(self, tmp_path: Path) -> None:
        found = environment.environment(root=tmp_path)
        assert (found.board, found.cuda, found.jetpack) == (None, None, None)
        assert found.power.governor is None
        if sys.platform == "linux":
            assert found.memory_bytes is None
            assert found.isa is None
            assert found.power == Power()

    @pytest.mark.skipif(sys.platform == "darwin", reason="reads Linux's files")
    def test_a_jetson(self, tmp_path: Path) -> None:
        cpu = "sys/devices/system/cpu"
        hwmon = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
        _write(
            tmp_path,
            {
                "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp crc32\n"
                "CPU part\t: 0xd42\n",
                "proc/meminfo": "MemTotal:       15000000 kB\nMemFree: 1 kB\n",
                "proc/device-tree/model": "NVIDIA Jetson Orin NX\0",
                "etc/os-release": 'NAME=x\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
                "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1\n",
                "usr/local/cuda/version.json": '{"cuda": {"name": "x", "version": "12.6.68"}}',
                f"{cpu}/cpu0/cpufreq/scaling_governor": "schedutil\n",
                f"{cpu}/cpu1/cpufreq/scaling_governor": "schedutil\n",
                f"{cpu}/cpu0/cpufreq/cpuinfo_max_freq": "1984000\n",
                f"{cpu}/cpu0/topology/core_id": "0\n",
                f"{cpu}/cpu0/topology/physical_package_id": "0\n",
                f"{hwmon}/in1_label": "VDD_IN\n",
                f"{hwmon}/in1_input": "5000\n",
                f"{hwmon}/curr1_input": "1200\n",
                "sys/class/thermal/thermal_zone0/temp": "48500\n",
                "sys/class/thermal/thermal_zone1/temp": "51250\n",
            },
        )
        found = environment.environment(root=tmp_path)
        assert found.cpu == "Cortex-A78AE"
        assert found.isa == ["asimd", "asimdhp", "asimddp"]
        assert found.memory_bytes == 15_360_000_000
        assert found.board == "NVIDIA Jetson Orin NX"
        assert found.os is not None
        assert found.os.startswith("Ubuntu 22.04.5 LTS")
        assert (found.jetpack, found.cuda, found.cores_physical) == ("L4T 36.4.3", "12.6.68", 1)
        assert found.power.governor == "schedutil"
        assert found.power.frequency_max_mhz == 1984
        assert found.power.rails_mw == {"VDD_IN": 6000}
        assert found.power.temperature_c == 51.25

    def test_jetpack_itself_is_preferred(self, tmp_path: Path) -> None:
        status = "Package: a\nVersion: 1\n\nPackage: nvidia-jetpack\nStatus: ok\nVersion: 6.2-b77\n"
        _write(tmp_path, {"var/lib/dpkg/status": status, "etc/nv_tegra_release": ""})
        assert environment.environment(root=tmp_path).jetpack == "6.2-b77"

    def test_a_laptop(self, tmp_path: Path) -> None:
        cpu = "sys/devices/system/cpu"
        _write(
            tmp_path,
            {
                f"{cpu}/intel_pstate/no_turbo": "1\n",
                "sys/class/power_supply/AC/online": "0\n",
                "sys/fs/cgroup/cpu.max": "150000 100000\n",
                f"{cpu}/cpu0/thermal_throttle/core_throttle_count": "3\n",
                f"{cpu}/cpu1/thermal_throttle/core_throttle_count": "4\n",
            },
        )
        found = power.power(root=tmp_path)
        assert found.boost is False
        assert found.cpu_quota == 1.5
        assert power.throttle_count(root=tmp_path) == 7
        if sys.platform == "linux":
            assert found.on_battery is True

    def test_a_jetson_without_monitors_asks_tegrastats(
        self, tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _write(tmp_path, {"etc/nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 1\n"})
        line = "RAM 2448/7620MB (lfb 3x4MB) CPU [1%@729] VDD_IN 4971mW/4890mW VDD_SOC 1418mW/1400mW"
        tools("tegrastats", f"echo '{line}'; exec sleep 60")
        tools("nvpmodel", "echo 'NV Power Mode: MAXN_SUPER'; echo 2")
        monkeypatch.setattr(
            power, "first_line", functools.partial(system.first_line, timeout_s=600)
        )
        found = power.power(root=tmp_path)
        assert found.rails_mw == {"VDD_IN": 4971, "VDD_SOC": 1418}
        assert found.nvpmodel == "MAXN_SUPER"

    def test_a_mac(self, tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
        """What Apple's tools print, on a machine that has none of Linux's files."""
        tools(
            "sysctl",
            """case "$*" in
            "-n machdep.cpu.brand_string") echo "Apple M2 Pro";;
            "-n hw.memsize") echo 17179869184;;
            "-n hw.physicalcpu") echo 10;;
            hw.optional) echo "hw.optional.arm.FEAT_BF16: 1"; echo "hw.optional.arm.FEAT_SME: 0"
                echo "hw.optional.floatingpoint: 1";;
            esac""",
        )
        tools(
            "pmset",
            """case "$*" in
            "-g batt") echo "Now drawing from 'Battery Power'";;
            "-g therm") echo " CPU_Speed_Limit         = 62";;
            esac""",
        )
        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setattr(platform, "mac_ver", lambda: ("15.5", ("", "", ""), "arm64"))
        found = environment.environment(root=tmp_path)
        assert (found.cpu, found.isa) == ("Apple M2 Pro", ["FEAT_BF16"])
        assert (found.memory_bytes, found.cores_physical) == (2**34, 10)
        assert (found.os, found.container) == ("macOS 15.5", None)
        assert found.power.on_battery is True
        assert power.throttled_now(root=tmp_path) == ["processor, at 62% of its speed"]

    def test_an_nvidia_gpu(self, tools: Tools, tmp_path: Path) -> None:
        tools(
            "nvidia-smi",
            """case "$*" in
            "") echo "| NVIDIA-SMI 570.1   Driver Version: 570.1   CUDA Version: 12.8  |";;
            *throttle*) echo "0, Not Active, Active, Not Active, Active"
                echo "1, Not Active, Not Active, Not Active, Not Active";;
            *) echo "NVIDIA H200, 570.1, 143771, 9.0, 700.00";;
            esac""",
        )
        found = environment.environment(root=tmp_path)
        assert found.cuda_driver == "12.8"
        assert found.gpus is not None
        assert (found.gpus[0].name, found.gpus[0].driver) == ("NVIDIA H200", "570.1")
        assert power.gpu_slowdowns() == ["GPU 0 for heat and its power limit"]

    @pytest.mark.skipif(sys.platform == "darwin", reason="reads Linux's files")
    def test_what_the_thermal_governor_holds_back(self, tmp_path: Path) -> None:
        folder = "sys/class/thermal"
        devices = [("cpufreq-cpu0", 3), ("devfreq-17000000.gpu", 0), ("pwm-fan", 2)]
        for index, (kind, state) in enumerate(devices):
            files = {"type": f"{kind}\n", "cur_state": f"{state}\n"}
            _write(tmp_path, {f"{folder}/cooling_device{index}/{k}": v for k, v in files.items()})
        assert power.throttled_now(root=tmp_path) == ["cpufreq-cpu0"]

    @pytest.mark.parametrize(
        ("line", "memory", "capability"),
        [
            ("NVIDIA H200, 570.1, 143771, 9.0, 700.00", 143771 * 2**20, "9.0"),
            ("Orin (nvgpu), 540.4.0, [N/A], 8.7, [N/A]", None, "8.7"),
        ],
    )
    def test_a_line_of_nvidia_smi(self, line: str, memory: int | None, capability: str) -> None:
        found = environment._gpu(line)
        assert (found.memory_bytes, found.compute_capability) == (memory, capability)


class TestDisturbance:
    def _stat(self, root: Path, user: int, idle: int, steal: int = 0) -> None:
        _write(root, {"proc/stat": f"cpu  {user} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu0 1\n"})

    def test_processor_times(self, tmp_path: Path) -> None:
        self._stat(tmp_path, 300, 600, 100)
        times = processor_times(root=tmp_path)
        assert times is not None
        assert (times.busy, times.stolen, times.total) == (3.0, 1.0, 10.0)
        assert processor_times(root=tmp_path / "none") is None

    def test_psutil_tells_where_there_is_no_proc(self) -> None:
        pytest.importorskip("psutil")
        times = disturbance._times_from_psutil()
        assert times is not None
        assert 0 < times.busy < times.total

    def test_a_busy_machine_is_reported(self, tmp_path: Path) -> None:
        self._stat(tmp_path, 1000, 1000)
        watch = Watch(root=tmp_path)
        self._stat(tmp_path, 51_000, 51_000, 4000)
        found = watch.warnings([])
        assert any(message.startswith("Other processes used 4") for message in found)
        assert any("hypervisor gave 4%" in message for message in found)

    def test_heat_frequency_and_battery(self, tmp_path: Path) -> None:
        self._stat(tmp_path, 1000, 1000)
        counter = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
        _write(tmp_path, {counter: "3", "sys/class/power_supply/AC/online": "0"})
        watch = Watch(root=tmp_path)
        _write(tmp_path, {counter: "5"})
        throttled = {"GPU 0 for heat", "cpufreq-cpu0"}
        found = "\n".join(watch.warnings([3000.0] * 6 + [2000.0] * 6, throttled=throttled))
        assert "Held below full speed during the run: GPU 0 for heat, cpufreq-cpu0." in found
        assert "slowed down for heat 2 times" in found
        assert "fell from 3000 to 2000 MHz" in found
        if sys.platform == "linux":
            assert "runs on battery" in found

    def test_a_quiet_machine_says_nothing(self, tmp_path: Path) -> None:
        self._stat(tmp_path, 1000, 1000)
        watch = Watch(root=tmp_path)
        self._stat(tmp_path, 1000, 91_000)
        assert watch.warnings([3000.0] * 12) == []
