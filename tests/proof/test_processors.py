"""The gates decide alike on processors with AMX and on those without.

oneDNN, which OpenVINO computes with, can be told to leave instruction sets alone; a machine with
AMX stands for one without.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from samedge import runtimes
from samedge.machine.environment import isa
from samedge.models import zoo

NEEDED = {
    "AVX512_CORE_VNNI": "avx512_vnni",
    "AVX512_CORE_BF16": "avx512_bf16",
    "AVX512_CORE_AMX": "amx_bf16",
}
"""What oneDNN may use at most, and the flag of a processor on which that says something."""


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("most", NEEDED)
def test_a_good_bundle_passes_on_every_kind(most: str, precision: str, tmp_path: Path) -> None:
    if NEEDED[most] not in (isa() or []):
        pytest.skip(f"this processor has no {NEEDED[most]}, which {most} leaves")
    if not runtimes.get("openvino").probe().available:
        pytest.skip(runtimes.get("openvino").probe().detail)
    if not zoo.model_entry("samedge-pico").is_present:
        pytest.skip("this package carries no samedge-pico")
    arguments = ["export", "--target", "intel", "--model", "samedge-pico", "--json", "-q"]
    arguments += ["--precision", precision, "-o", str(tmp_path / "bundle")]
    found = subprocess.run(
        [sys.executable, "-m", "samedge", *arguments],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": most},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    print(most, precision, document["accuracy"])
    assert document["parity"]["passed"]
    assert document["accuracy"]["verdict"] in ("passed", "undecided")
