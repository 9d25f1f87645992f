"""Copies of the toy bundle with another manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import with_id
from samedge.types import Prompt

CLICK = Prompt(points=[[64, 48]])


def rewritten(folder: Path, **changes: Any) -> Bundle:
    """A bundle with other values in its manifest, and the id that goes with them."""
    manifest = msgspec.structs.replace(Bundle.open(folder).manifest, **changes)
    (folder / "bundle.json").write_bytes(msgspec.json.encode(with_id(manifest)))
    return Bundle.open(folder)
