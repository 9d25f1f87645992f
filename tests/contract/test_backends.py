"""Every backend that discovery finds keeps its promises, and a broken one is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from samedge import runtimes
from samedge.errors import UnknownNameError
from samedge.runtimes.base import Backend
from tests.contract import backend_checks as checks
from tests.contract.broken_backends import BREAKS, SoundBackend

Opened = tuple[Backend, Path]
EVERY = [*checks.ALWAYS, *checks.OPENED]


@pytest.mark.parametrize("check", checks.ALWAYS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", runtimes.names())
def test_whether_here_or_not(name: str, check: Any) -> None:
    check(runtimes.get(name))


@pytest.mark.parametrize("check", checks.OPENED, ids=lambda check: check.__name__)
def test_where_it_is_here(opened: Opened, check: Any) -> None:
    check(*opened)


@pytest.mark.parametrize("name", runtimes.names())
def test_its_name_is_the_files(name: str) -> None:
    backend = runtimes.get(name)
    assert backend.name == name
    assert type(backend).__module__ == f"samedge.runtimes._{name}"


# ---- the checks must be able to fail


def apply(check: Any, backend: Backend, folder: Path) -> None:
    if check in checks.ALWAYS:
        check(backend)
    else:
        check(backend, backend.write_example(folder, "null"))


@pytest.mark.parametrize("check", EVERY, ids=lambda c: c.__name__)
def test_a_broken_backend_is_found(check: Any, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, Exception, pytest.fail.Exception)) as caught:
        apply(check, BREAKS[check.__name__](), tmp_path)
    assert not isinstance(caught.value, (OSError, KeyError, AttributeError, NotImplementedError))


@pytest.mark.parametrize("check", EVERY, ids=lambda c: c.__name__)
def test_a_sound_backend_is_not(check: Any, tmp_path: Path) -> None:
    apply(check, SoundBackend(), tmp_path)


# ---- the room


def test_available_lists_what_probes_find() -> None:
    found = runtimes.available()
    assert found == tuple(n for n in runtimes.names() if runtimes.get(n).probe().available)
    assert "null" in runtimes.available("null")
    assert "null" not in runtimes.available("onnx")


def test_unknown_backend_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'onnxruntime'"):
        runtimes.get("onnxruntim")


def test_listing_imports_no_library() -> None:
    code = (
        "import sys, samedge.runtimes as r; [r.get(n) for n in r.names()]; "
        "print(sorted({'torch', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert result.stdout.strip() == "[]"
