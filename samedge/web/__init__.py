"""The page that segments in a browser: its files, what computes in it, a server for loopback."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).with_name("page")
"""Folder of the page: plain ES modules, without a build step."""
