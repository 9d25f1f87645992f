"""A comparison's folder: what is finished stays, so that an interrupted comparison goes on.

DIR/request.json        what is compared; another request needs another folder
DIR/bundles/NAME        one bundle a subject
DIR/records/*.json      one record an export, an evaluation and a round
DIR/compare.json        the result
DIR/report.html         the page
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from samedge import records
from samedge.comparison.losses import Score
from samedge.errors import DatasetError
from samedge.files.writing import write_bytes
from samedge.records import BenchRecord, EvalRecord, ExportRecord

REQUEST, LOCK = "request.json", ".lock"

R = TypeVar("R", BenchRecord, EvalRecord, ExportRecord)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What makes two comparisons the same, so that parts of one serve the other.

    Attributes:
        model: name or file of the model.
        photos: names and sizes of the photos, or of the dataset's file.
        prompts: the protocols.
        calibration: what INT8 is calibrated on; empty for the default.
        weights_sha256: of the model's file; empty for a model that is named.
        contents_sha256: over what the photos, the dataset, its images and the calibration set
            hold; empty in a folder of an earlier samedge.
    """

    model: str
    photos: list[str]
    prompts: str
    calibration: str = ""
    weights_sha256: str = ""
    contents_sha256: str = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a subject has no bundle.

    Attributes:
        why: what the export said.
        versions: of samedge and of the libraries that it failed with; with others it may not.
    """

    why: str
    versions: dict[str, str] = {}


class Agreed(msgspec.Struct, frozen=True, kw_only=True):
    """How far a bundle's masks agree with another's.

    Attributes:
        bundle_id, baseline_id: the two; of other files it says nothing.
        scores: of every prompt.
    """

    bundle_id: str
    baseline_id: str
    scores: list[Score]


class Store:
    """Reads and writes a comparison's folder.

    Args:
        folder: made when it is not there.
        identity: of the comparison.

    Raises:
        DatasetError: the folder holds a comparison of other things, or something else.
    """

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.folder = folder
        self.records = folder / "records"
        self.bundles = folder / "bundles"
        known = _read(folder / REQUEST, Identity)
        if known is None and folder.is_dir() and any(folder.iterdir()):
            raise DatasetError(
                f"{folder} holds something else than a comparison: give another folder by -o."
            )
        if known is not None and known != identity:
            raise DatasetError(
                f"{folder} holds a comparison of other things ({_differing(known, identity)} "
                "differs): give another folder by -o, or remove it."
            )
        for part in (self.records, self.bundles):
            part.mkdir(parents=True, exist_ok=True)
        if known is None:
            write_bytes(folder / REQUEST, msgspec.json.encode(identity))

    def path(self, kind: str, name: str) -> Path:
        """Where a record of a subject or a round lies."""
        return self.records / f"{kind}-{name}.json"

    def record(self, kind: str, name: str, *, of: type[R]) -> R | None:
        """A record that an earlier sitting finished; ``None`` where there is none."""
        path = self.path(kind, name)
        if not path.is_file():
            return None
        found = records.read(path)
        return found if isinstance(found, of) else None

    def failure(self, name: str) -> Failure | None:
        """How an earlier sitting could not export a subject; ``None`` where it did not fail."""
        return _read(self.path("failed", name), Failure)

    def keep_failure(self, name: str, failure: Failure) -> None:
        """Remember that a subject cannot be exported."""
        write_bytes(self.path("failed", name), msgspec.json.encode(failure))

    def forget_failure(self, name: str) -> None:
        """A subject has a bundle now."""
        self.path("failed", name).unlink(missing_ok=True)

    def scores(self, name: str, *, bundle_id: str, baseline_id: str) -> list[Score] | None:
        """A subject's agreement from an earlier sitting, where it is of these two bundles."""
        try:
            found = _read(self.path("agreement", name), Agreed)
        except DatasetError:  # as an earlier samedge kept it, without the bundles: drawn again
            return None
        if found is None or (found.bundle_id, found.baseline_id) != (bundle_id, baseline_id):
            return None
        return found.scores

    def keep_scores(self, name: str, agreed: Agreed) -> None:
        """Remember a subject's agreement."""
        write_bytes(self.path("agreement", name), msgspec.json.encode(agreed))


T = TypeVar("T")


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.MsgspecError as error:
        raise DatasetError(
            f"{path} is damaged ({error}): remove the comparison's folder and compare again."
        ) from error


def _differing(known: Identity, asked: Identity) -> str:
    names = Identity.__struct_fields__
    found = [name for name in names if getattr(known, name) != getattr(asked, name)]
    if found == ["contents_sha256"] and not known.contents_sha256:
        return "an earlier samedge began it, and did not keep what the photos hold: contents_sha256"
    return ", ".join(found)
