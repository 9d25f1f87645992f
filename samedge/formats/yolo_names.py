"""Names of YOLO's classes, out of the YAML that its tools and people write."""

from __future__ import annotations

import json
import re

_QUOTED = r"\"(?:\\.|[^\"\\])*\"|'(?:''|[^'])*'"
_LISTED = re.compile(rf"\s*({_QUOTED}|[^,]*?)\s*(?:,|$)")
_MAPPED = re.compile(rf"\s*({_QUOTED}|[^,:]*?)\s*:\s*({_QUOTED}|[^,]*?)\s*(?:,|$)")
_BLOCK_LISTED = re.compile(r"\s*-\s+(.+)")
_BLOCK_MAPPED = re.compile(rf"\s+({_QUOTED}|\d+)\s*:\s*(.+)")
_KEY = re.compile(r"names\s*:(?:\s*&\w+)?\s*(.*)")


def class_names(text: str) -> dict[int, str]:
    """Names by number, of a list or a mapping, in lines or in brackets; empty where there is none.

    Args:
        text: of a ``data.yaml``.
    """
    lines = [_uncommented(line) for line in text.splitlines()]
    starts = [(place, found) for place, line in enumerate(lines) if (found := _KEY.match(line))]
    if not starts:
        return {}
    place, found = starts[0]
    block = _block(lines[place + 1 :])
    first = found.group(1).strip()
    if first[:1] in ("[", "{"):
        return _in_brackets(" ".join([first, *block]))
    mapped = [entry for line in block if (entry := _BLOCK_MAPPED.fullmatch(line))]
    if mapped:
        return _numbered([(entry.group(1), entry.group(2)) for entry in mapped])
    listed = [entry for line in block if (entry := _BLOCK_LISTED.fullmatch(line))]
    return {number: bare(entry.group(1)) for number, entry in enumerate(listed)}


def bare(text: str) -> str:
    """A scalar without its quotes."""
    stripped = text.strip()
    if len(stripped) > 1 and stripped[0] == stripped[-1] == '"':
        try:
            return str(json.loads(stripped))
        except ValueError:
            pass
    if len(stripped) > 1 and stripped[0] == stripped[-1] == "'":
        return stripped[1:-1].replace("''", "'")
    return stripped.strip("'\"")


def _uncommented(line: str) -> str:
    """A line without its comment; a ``#`` in quotes is none."""
    head = re.split(r"(?:^|\s)#", line, maxsplit=1)[0]
    is_quoted = head.count('"') % 2 or head.count("'") % 2
    return line if is_quoted else head.rstrip()


def _block(lines: list[str]) -> list[str]:
    """The lines up to the next key of the document."""
    end = next((place for place, line in enumerate(lines) if line[:1].isalpha()), len(lines))
    return lines[:end]


def _in_brackets(text: str) -> dict[int, str]:
    opening, closing = text[0], {"[": "]", "{": "}"}[text[0]]
    body = text[1:].rpartition(closing)[0] or text[1:]
    if opening == "{":
        return _numbered(_MAPPED.findall(body))
    names = [name for name in _LISTED.findall(body) if name]
    return {number: bare(name) for number, name in enumerate(names)}


def _numbered(entries: list[tuple[str, str]]) -> dict[int, str]:
    keys = [(bare(key), bare(name)) for key, name in entries]
    return {int(key): name for key, name in keys if key.isdecimal()}
