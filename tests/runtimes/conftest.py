"""Fixtures of the backends' tests."""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import Any

import pytest


@pytest.fixture(scope="session")
def coremltools() -> Any:
    """The coremltools module; skips without it. What it says about the host is kept quiet."""
    pytest.importorskip("torch")
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("coremltools")
        except ImportError as error:
            pytest.skip(f"coremltools is not installed: {error}")
