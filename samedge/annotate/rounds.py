"""The history of an annotation folder: what each round of the data engine made, and its price."""

from __future__ import annotations

from pathlib import Path

import msgspec

from samedge.annotate.layout import ROUNDS_FILE
from samedge.annotate.one_writer import one_writer
from samedge.annotate.tasks import decoded
from samedge.errors import DatasetError
from samedge.files.json_text import json_text
from samedge.files.reading import read_bytes
from samedge.files.writing import write_text

SCHEMA = "samedge.annotate-rounds/1"
_LOCK = ".rounds.lock"


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """How good a round's model was on photos with ground truth that it was not taught.

    Attributes:
        truth: the file of the ground truth.
        truth_sha256: of its content.
        prompts: ``box``: the protocol of ``samedge eval``.
        images, n: photos and objects.
        miou: mean IoU over the objects.
        ci95: bootstrap interval over the photos; ``None`` with fewer than two.
    """

    truth: str
    truth_sha256: str
    prompts: str
    images: int
    n: int
    miou: float | None
    ci95: tuple[float, float] | None


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One round.

    Attributes:
        stage: ``auto``, the model alone; ``assisted``, a person with the model's proposals.
        ended: UTC.
        bundle_id, model: what proposed the masks.
        images: that have their masks.
        masks: in them.
        seconds_per_mask: of the processes, or of the people without their idle time; ``None``
            where there is no mask.
        mended, drawn, rejected, undecided: masks of an assisted round; see
            :class:`samedge.annotate.desk.reviews.Tally`.
        accuracy: of the model; ``None`` where no ground truth was given.
    """

    stage: str
    ended: str
    bundle_id: str
    model: str
    images: int
    masks: int
    seconds_per_mask: float | None
    mended: int | None = None
    drawn: int | None = None
    rejected: int | None = None
    undecided: int | None = None
    accuracy: Accuracy | None = None


class _Rounds(msgspec.Struct, kw_only=True):
    schema: str = SCHEMA
    rounds: list[Round] = msgspec.field(default_factory=list)


def read_rounds(folder: Path) -> list[Round]:
    """The rounds of a folder, the oldest first.

    Raises:
        DatasetError: the file is damaged.
    """
    file = folder / ROUNDS_FILE
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
    with one_writer(folder, _LOCK):
        rounds = read_rounds(folder)
        if rounds and _same_but_for_time(rounds[-1], made):
            return rounds
        return _written(folder, [*rounds, made])


def _same_but_for_time(before: Round, made: Round) -> bool:
    accuracy = made.accuracy or before.accuracy
    again = msgspec.structs.replace(made, ended=before.ended, accuracy=accuracy)
    return again == before


def keep_round(folder: Path, made: Round) -> list[Round]:
    """Put a round in the place of the one of the same stage and bundle, or behind the others.

    An accuracy that was measured before is kept where the new round has none.

    Raises:
        DatasetError: the file is damaged.
        WriteError: it cannot be written.
    """
    with one_writer(folder, _LOCK):
        rounds = read_rounds(folder)
        for index, one in enumerate(rounds):
            if (one.stage, one.bundle_id) == (made.stage, made.bundle_id):
                kept = msgspec.structs.replace(made, accuracy=made.accuracy or one.accuracy)
                if _same_but_for_time(one, kept):
                    return rounds
                rounds[index] = kept
                return _written(folder, rounds)
        return _written(folder, [*rounds, made])


def put_accuracy(folder: Path, accuracy: Accuracy, *, bundle_id: str) -> list[Round]:
    """Note a model's accuracy at its newest round.

    Raises:
        DatasetError: the file is damaged.
        WriteError: it cannot be written.
    """
    with one_writer(folder, _LOCK):
        rounds = read_rounds(folder)
        own = [index for index, one in enumerate(rounds) if one.bundle_id == bundle_id]
        if own:
            rounds[own[-1]] = msgspec.structs.replace(rounds[own[-1]], accuracy=accuracy)
        return _written(folder, rounds)


def _written(folder: Path, rounds: list[Round]) -> list[Round]:
    write_text(folder / ROUNDS_FILE, json_text(_Rounds(rounds=rounds), indent=2) + "\n")
    return rounds
