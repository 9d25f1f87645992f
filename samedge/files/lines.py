"""Words of documents and messages: one line of text, and the time."""

from __future__ import annotations

import time

_DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # turn what follows around
_ORDERS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_ORDERS |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029, *_DIRECTIONS)}
_LINE = {**_ORDERS, ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_LAYOUT = {code: told for code, told in _ORDERS.items() if chr(code) not in "\t\n"}


def created_now() -> str:
    """The time for the head of a document, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def one_line(text: str) -> str:
    """Text without line breaks, as names of files may have them."""
    return " ".join(text.split())


def printable(text: str) -> str:
    """Text that a terminal only shows, on the lines that it has.

    Control characters, such as begin orders to the terminal, those that turn the direction of
    writing, and bytes of no encoding are escaped: names of files may have them, and the texts of a
    stranger's bundle.
    """
    return _encodable(text).translate(_LAYOUT)


def printable_line(text: str) -> str:
    """As :func:`printable`, on one line: a line break of a file's name is escaped, too."""
    return _encodable(text).translate(_LINE)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
