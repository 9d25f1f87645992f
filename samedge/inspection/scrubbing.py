"""Takes out of a text what is nobody's business: homes, names, addresses, secrets.

It errs on the side of taking too much: a report that lacks a word can be asked for it.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

_PRIVATE = (
    r"(?:api[_-]?key|secret|token|passw(?:or)?d|\bpwd|passphrase|credential|authorization"
    r"|signature|\bsig\b)"
)
_GROUP = "[0-9a-f]{1,4}"  # of an IPv6 address
_IS_SECRET = re.compile(_PRIVATE, re.IGNORECASE)
_HIDDEN = "[hidden]"
_SHORTEST = 4  # a user called `a` cannot be taken out of a text
_NO_SECRETS = frozenset(("true", "false", "null", "none"))  # TOKENIZERS_PARALLELISM=false

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [^-]+-----.*?(?:-----END [^-]+-----|\Z)", re.DOTALL), _HIDDEN),
    (re.compile(r"(?<=://)[^/\s@\"']+@"), f"{_HIDDEN}@"),  # user and password of an address
    (re.compile(r"\b(?:Bearer|Basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), _HIDDEN),
    (  # quoted, with whatever is in it; a quote before a comma or brace ends a string of JSON
        re.compile(
            rf"""([\w.-]*{_PRIVATE}[\w.-]*["']?\s*[=:]\s*)"(?![\s,:}}\]])(?:[^"\\]|\\.)+\"""",
            re.IGNORECASE,
        ),
        rf'\1"{_HIDDEN}"',
    ),
    (
        re.compile(rf"""([\w.-]*{_PRIVATE}[\w.-]*["']?\s*[=:]\s*)'[^'\n]+'""", re.IGNORECASE),
        rf"\1'{_HIDDEN}'",
    ),
    (  # an option of a command line and its value
        re.compile(
            rf"(--[\w-]*{_PRIVATE}[\w-]*\s+)(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s\"',}}\]]+)", re.I
        ),
        rf"\1{_HIDDEN}",
    ),
    (
        re.compile(
            rf"""([\w.-]*{_PRIVATE}[\w.-]*["']?\s*[=:]\s*["']?)[^\s"',;&}}\]]{{3,}}""",
            re.IGNORECASE,
        ),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"\b(?:hf|gh[pousr]|glpat|xox[abprs]|sk|pk|rk)[_-][\w-]{16,}"), _HIDDEN),
    (re.compile(r"\bgithub_pat_\w{16,}"), _HIDDEN),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), _HIDDEN),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), _HIDDEN),  # JSON web tokens
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "[address]"),
    (re.compile(r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b", re.IGNORECASE), "[address]"),
    (re.compile(r"(?<![\w.])(?!127\.)(?:\d{1,3}\.){3}\d{1,3}(?![\w.])"), "[address]"),
    (re.compile(rf"(?<![\w:.])(?:{_GROUP}:){{7}}{_GROUP}(?![\w:])", re.IGNORECASE), "[address]"),
    (
        re.compile(
            rf"(?<![\w:.])(?:{_GROUP}:){{1,6}}:(?:{_GROUP}:){{0,5}}{_GROUP}(?![\w:])",
            re.IGNORECASE,
        ),
        "[address]",
    ),
    (re.compile(r"(?:/home|/Users|/var/home)/[^/\s\"':;,]+"), "~"),
    (re.compile(r"[A-Za-z]:(?:\\\\?|/)Users(?:\\\\?|/)[^\\/\s\"':;,]+", re.IGNORECASE), "~"),
    (re.compile(r"(?<![\w.])/root(?![\w-])"), "~"),
)


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds what nobody else may read."""
    return _IS_SECRET.search(name) is not None


def scrub(text: str, *, environment: Mapping[str, str] | None = None) -> str:
    """Take out homes, the user's and the machine's name, addresses and secrets.

    JSON stays JSON: what is put in holds no quotes and no backslashes, and numbers stay numbers.

    Args:
        text: anything.
        environment: variables whose values may be secrets; ``None``: this process's.
    """
    variables = os.environ if environment is None else environment
    for value, word in _known(variables):
        text = text.replace(value, word)
    for pattern, word in _PATTERNS:
        text = pattern.sub(word, text)
    for name, word in ((_user(), "[user]"), (platform.node(), "[host]")):
        if len(name) >= _SHORTEST:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", word, text)
    return text


def _known(variables: Mapping[str, str]) -> list[tuple[str, str]]:
    """Values that are known to be private, the longest first, and what takes their place."""
    values = {
        value: "0" if value.isdigit() else _HIDDEN
        for name, value in variables.items()
        if is_secret(name) and len(value) >= _SHORTEST and value.lower() not in _NO_SECRETS
    }
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    if home not in ("~", "/", ""):
        values |= {home: "~", os.path.realpath(home): "~"}
    for value, word in tuple(values.items()):  # as JSON spells them
        values |= {json.dumps(value, ensure_ascii=way)[1:-1]: word for way in (True, False)}
    return sorted(values.items(), key=lambda pair: -len(pair[0]))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return Path(os.path.expanduser("~")).name  # noqa: PTH111 - as above
