"""Where samedge keeps what it can make again: downloads, compiled graphs, remembered checks."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

VARIABLE = "SAMEDGE_CACHE"
"""Environment variable that moves the whole cache."""


def cache_folder(kind: str) -> Path:
    """Folder of the user's cache for one kind of thing; it need not exist yet.

    Args:
        kind: name of the subfolder, such as ``"openvino"``.
    """
    root = os.environ.get(VARIABLE)
    return (Path(root) if root else platformdirs.user_cache_path("samedge")) / kind
