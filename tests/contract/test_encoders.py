"""Every encoder that discovery finds keeps its promises, and a broken one is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from samedge.errors import UnknownNameError
from samedge.models.base import encoder, encoder_names
from tests.contract import encoder_checks as checks
from tests.contract.broken_encoders import BREAKS, SoundEncoder

every_check = pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)


@every_check
@pytest.mark.parametrize("name", encoder_names())
def test_it_keeps_its_promises(name: str, check: Any, tmp_path: Path) -> None:
    check(encoder(name), tmp_path)


@pytest.mark.parametrize("name", encoder_names())
def test_its_name_is_the_files(name: str) -> None:
    assert encoder(name).name == name
    assert type(encoder(name)).__module__ == f"samedge.models._{name}"


@every_check
def test_a_broken_encoder_is_found(check: Any, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
        check(BREAKS[check.__name__](), tmp_path)


@every_check
def test_a_sound_encoder_is_not(check: Any, tmp_path: Path) -> None:
    check(SoundEncoder(), tmp_path)


def test_unknown_encoder_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'tinyvit'"):
        encoder("tinyvitt")


def test_a_room_of_plug_ins_is_no_plug_in() -> None:
    assert "decoders" not in encoder_names()


def test_listing_imports_no_plug_in() -> None:
    code = (
        "import sys; from samedge._discovery import names; "
        "names('samedge.models'), names('samedge.models._decoders'); "
        "print([m for m in sys.modules if m.startswith('samedge.models._') or m == 'torch'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert result.stdout.strip() == "[]"
