"""Words of documents and messages: one line of text, and the time."""

from __future__ import annotations

import time


def created_now() -> str:
    """The time for the head of a document, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def one_line(text: str) -> str:
    """Text without line breaks, as names of files may have them."""
    return " ".join(text.split())
