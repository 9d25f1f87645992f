"""Ways to damage what a program reads: bytes of files, and values in documents."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

ODD_NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from(
        [0, -1, 1, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32, 2**62, 2**63, 2**64, 10**400]
    ),
    st.floats(),
    st.sampled_from([1e308, -1e308, 1e-320, 0.1, float("nan"), float("inf"), float("-inf")]),
)
ODD_TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "\0", "../x", "/etc/passwd", "a" * 5000, "\ud800", "x/1", "C:\\x", "0", "NaN", "é"]
    ),
)
ODD_LEAVES = st.one_of(st.none(), st.booleans(), ODD_NUMBERS, ODD_TEXTS)
ODD_VALUES = st.recursive(
    ODD_LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(ODD_TEXTS, inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def damaged_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """A few bits flipped, bytes cut out, put in, or repeated; sometimes the end is missing."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(changed) - 1, 0)))
        kind = draw(st.sampled_from(["flip", "flip", "set", "cut", "insert", "repeat", "end"]))
        if kind == "flip" and changed:
            changed[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set" and changed:
            changed[place] = draw(st.sampled_from([0, 1, 0x22, 0x5B, 0x7F, 0x80, 0xFF]))
        elif kind == "cut":
            del changed[place : place + draw(st.integers(1, 40))]
        elif kind == "insert":
            changed[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "repeat":
            changed[place:place] = changed[place : place + 16] * draw(st.integers(1, 50))
        else:
            del changed[place:]
    return bytes(changed)


@st.composite
def damaged_document(draw: st.DrawFn, document: Any) -> Any:
    """A copy with some of its values exchanged, removed, or put in twice."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        holder, key = _place(draw, changed)
        if holder is None:
            return draw(ODD_VALUES)
        kind = draw(st.sampled_from(["odd", "odd", "odd", "remove", "twice", "other"]))
        if kind == "remove":
            del holder[key]
        elif kind == "twice" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif kind == "other" and isinstance(holder, dict):
            holder[draw(ODD_TEXTS)] = draw(ODD_LEAVES)
        else:
            holder[key] = draw(ODD_VALUES)
    return changed


def _place(draw: st.DrawFn, document: Any) -> tuple[Any, Any]:
    """A container inside of a document and one of its keys."""
    holder, key = None, None
    value = document
    while isinstance(value, dict | list) and value:
        holder = value
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw(st.sampled_from(keys))
        value = value[key]
        if draw(st.integers(0, 3)) == 0:
            break
    return holder, key


def as_json(document: Any) -> bytes:
    """JSON as careless tools write it: with NaN, and with lone surrogates escaped."""
    return json.dumps(document).encode()
