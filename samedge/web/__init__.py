"""In a browser and over HTTP: the page, what computes in it, servers for it and for programs."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).with_name("page")
"""Folder of the page: plain ES modules, without a build step."""
