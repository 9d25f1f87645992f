"""What a report of a fault needs, in one zip: no photos, no homes, no secrets."""

from __future__ import annotations

import importlib.metadata
import io
import os
import platform
import sys
import zipfile
from pathlib import Path

from samedge import _cache
from samedge._version import __version__
from samedge.bundle.bundle import Bundle, bundle_path
from samedge.bundle.manifest import MANIFEST_NAME
from samedge.errors import SamedgeError
from samedge.files.json_text import json_text
from samedge.files.writing import write_bytes
from samedge.inspection.scrubbing import is_secret, scrub
from samedge.machine.environment import environment

LOG_NAME = "debug.log"
_LOG_BYTES = 4 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_VARIABLES = ("SAMEDGE_", "OMP_", "MKL_", "ORT_", "OV_", "CUDA_VISIBLE", "LANG", "LC_", "TMPDIR")
_README = """What `samedge doctor --bundle-report` found here. Attach it to the report of a fault.

doctor.json       which backends and devices work, with a small graph run on each
environment.json  processor, memory, system, Python, versions of everything installed
manifest.json     of the bundle that was named with --bundle, and what is wrong with it
debug.log         of the last command that was run with --debug

No pictures are in it. Homes, the names of user and machine, addresses and secrets were taken out;
look through it all the same before you send it.
"""


def log_path() -> Path:
    """Where ``--debug`` writes its log, and the report takes it from."""
    return _cache.cache_file("log", LOG_NAME)


def write_bug_report(path: Path, *, doctor: object, bundle: Path | None = None) -> list[str]:
    """Write the zip.

    Args:
        path: of the zip.
        doctor: the document of ``samedge doctor``.
        bundle: one that fails, if any: its manifest and the state of its files go along, and
            nothing else of it.

    Returns:
        Names of the files in it.

    Raises:
        WriteError: it cannot be written.
    """
    parts = {
        "README.txt": _README,
        "doctor.json": json_text(doctor, indent=2),
        "environment.json": json_text(_environment(), indent=2),
        "manifest.json": None if bundle is None else json_text(_manifest(bundle), indent=2),
        LOG_NAME: _log(),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            if text is not None:
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), scrub(text))
        names = archive.namelist()
    write_bytes(path, stream.getvalue())
    return names


def _environment() -> dict[str, object]:
    installed = {
        str(found.metadata["Name"]): found.version for found in importlib.metadata.distributions()
    }
    return {
        "samedge": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "machine": environment(),
        "variables": {
            name: "[hidden]" if is_secret(name) else value
            for name, value in os.environ.items()
            if name.startswith(_VARIABLES)
        },
        "installed": dict(sorted(installed.items(), key=lambda pair: pair[0].lower())),
    }


def _manifest(bundle: Path) -> dict[str, object]:
    """The manifest as it stands there, and whether the bundle opens."""
    try:
        bundle = bundle_path(str(bundle))
        opened = Bundle.open(bundle)
    except SamedgeError as error:
        return {"path": str(bundle), "opens": False, "error": str(error), "text": _text(bundle)}
    return {"path": str(bundle), "opens": True, "manifest": opened.manifest}


def _text(bundle: Path) -> str | None:
    """A manifest that cannot be understood, as it is; ``None`` where there is none to read."""
    try:
        data = (bundle / MANIFEST_NAME).read_bytes()[:_LOG_BYTES]
    except OSError:
        return None
    return data.decode("utf-8", "backslashreplace")


def _log() -> str | None:
    """The end of the last debug log."""
    try:
        with log_path().open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_BYTES))
            return file.read().decode("utf-8", "backslashreplace")
    except OSError:
        return None
