"""How much samedge takes from a file or a caller before it refuses, and how to raise that by name.

A limit is checked before memory is taken. Every message about one names it; to raise it, set

    SAMEDGE_LIMITS=image_pixels=200000000,prompt_points=5000

for a command, a service or, through ``os.environ``, a Python program.
"""

from __future__ import annotations

import os

from samedge.errors import OptionError, SamedgeError, UnknownNameError

VARIABLE = "SAMEDGE_LIMITS"

DEFAULTS: dict[str, int] = {
    "image_pixels": 89_478_485,  # of one picture or mask; where Pillow suspects an attack
    "tiled_pixels": 1 << 32,  # of one that is read by tiles; COCO's run lengths have 32 bits
    "image_bytes": 1 << 30,  # of one picture's file
    "annotation_bytes": 512 << 20,  # of one annotation file; COCO's largest has 448 MiB
    "document_bytes": 256 << 20,  # of one manifest, record, precision plan or recipe
    "embedding_bytes": 256 << 20,  # of one saved image embedding; SAM's own have 4 MiB
    "prompt_points": 1_000,  # of one prompt; people and detectors give a handful
    "prompts": 100_000,  # of one call
    "batch_pixels": 4 << 30,  # of all masks that one call gives
}
"""Every limit and its default; the last word of a name is its unit."""


def limit(name: str) -> int:
    """The limit in force.

    Args:
        name: one of ``DEFAULTS``.

    Raises:
        OptionError: ``SAMEDGE_LIMITS`` is not ``name=count,...``.
        UnknownNameError: it names a limit that does not exist.
    """
    return _raised().get(name, DEFAULTS[name])


def check(
    found: int, name: str, *, what: str, error: type[SamedgeError], otherwise: str = ""
) -> None:
    """Refuse more than a limit allows.

    Args:
        found: how much there is.
        name: one of ``DEFAULTS``.
        what: what has it, such as the file's name.
        error: what to raise.
        otherwise: what else to do than to give less or to raise the limit.

    Raises:
        SamedgeError: of the class ``error``; the message names the limit and how to raise it.
    """
    allowed = limit(name)
    if found > allowed:
        found = min(found, 10**18)  # Python refuses to print numbers of thousands of digits
        raise error(
            f"{what} has {found} {name.rpartition('_')[2]}, limit {allowed}: give less, or raise "
            f"it by {VARIABLE}={name}={found}{otherwise}."
        )


def _raised() -> dict[str, int]:
    text = os.environ.get(VARIABLE, "")
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        if name not in DEFAULTS:
            raise UnknownNameError(f"limit in {VARIABLE}", name, DEFAULTS)
        if not (value.isascii() and value.isdecimal() and len(value) < 19 and int(value) > 0):
            raise OptionError(
                f"{VARIABLE} has {part!r}, expected NAME=COUNT with a whole number above 0, such "
                f"as {name}={DEFAULTS[name]}."
            )
        found[name] = int(value)
    return found
