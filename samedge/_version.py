"""The version, in one place: the build reads this file, and so do manifests and records."""

from __future__ import annotations

__version__ = "0.1.0"
