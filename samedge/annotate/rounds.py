"""The history of an annotation folder: what each round of the data engine made, and its price."""

from __future__ import annotations

import datetime
from pathlib import Path

import msgspec

from samedge.annotate.tasks import decoded
from samedge.errors import DatasetError
from samedge.files.json_text import json_text
from samedge.files.reading import read_bytes
from samedge.files.writing import write_text

SCHEMA = "samedge.annotate-rounds/1"
FILE = "rounds.json"


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One round.

    Attributes:
        stage: ``auto``, the model alone.
        ended: UTC.
        bundle_id, model: what proposed the masks.
        images: that have their masks.
        masks: in them.
        seconds_per_mask: of the processes; ``None`` where there is no mask.
    """

    stage: str
    ended: str
    bundle_id: str
    model: str
    images: int
    masks: int
    seconds_per_mask: float | None


class _Rounds(msgspec.Struct, kw_only=True):
    schema: str = SCHEMA
    rounds: list[Round] = msgspec.field(default_factory=list)


def read_rounds(folder: Path) -> list[Round]:
    """The rounds of a folder, the oldest first.

    Raises:
        DatasetError: the file is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return []
    data = read_bytes(file, limit="document_bytes", expected="a list of rounds", error=DatasetError)
    try:
        return decoded(data, _Rounds).rounds
    except ValueError as error:
        raise DatasetError(f"{file} is no list of rounds ({error}): move it away.") from error


def add_round(folder: Path, made: Round) -> list[Round]:
    """Append a round; one that says the same as the last but for its time is not repeated.

    Raises:
        DatasetError: the file is damaged.
        WriteError: it cannot be written.
    """
    rounds = read_rounds(folder)
    if rounds and msgspec.structs.replace(rounds[-1], ended=made.ended) == made:
        return rounds
    rounds.append(made)
    write_text(folder / FILE, json_text(_Rounds(rounds=rounds), indent=2) + "\n")
    return rounds


def now() -> str:
    """The time of the end of a round."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
