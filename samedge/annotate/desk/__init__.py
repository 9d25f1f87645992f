"""A desk to annotate at: the page, and a folder of reviews that several people may work on."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parent / "page"
"""The desk's own files; what is not among them is the page of :mod:`samedge.web`."""
