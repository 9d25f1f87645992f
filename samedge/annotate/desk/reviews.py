"""What people decided about each photo, as it lies on disk: one file a photo, written at once."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from samedge.annotate.tasks import Task, decoded, part_name
from samedge.errors import DatasetError, WriteError
from samedge.files.json_text import json_text
from samedge.files.writing import write_text
from samedge.formats.masks import MaskRecord

SCHEMA = "samedge.annotate-review/1"

Decision = Literal["proposed", "accepted", "rejected"]
Origin = Literal["proposal", "mended", "drawn"]
Status = Literal["open", "done", "skipped"]

_FileState = tuple[int, int, int] | None


class ReviewedMask(msgspec.Struct, frozen=True, kw_only=True):
    """A mask and what was decided about it.

    Attributes:
        id: within the photo; never used again for another mask.
        record: the mask.
        decision: ``proposed`` until somebody decides.
        origin: ``proposal`` as the model made it, ``mended`` by clicks or a box, ``drawn`` anew.
    """

    id: int
    record: MaskRecord
    decision: Decision = "proposed"
    origin: Origin = "proposal"


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many masks of a photo were decided how.

    Attributes:
        accepted: masks that count, mended and drawn ones among them.
        mended, drawn: of the accepted ones.
        rejected: proposals that are none.
        undecided: proposals that nobody looked at; they are left out like rejected ones.
    """

    accepted: int = 0
    mended: int = 0
    drawn: int = 0
    rejected: int = 0
    undecided: int = 0


class ReviewHead(msgspec.Struct, frozen=True, kw_only=True):
    """A review without its masks.

    Attributes:
        name: of the photo, its path below the folder.
        file_bytes, modified_ns: of the photo's file when it was opened.
        size: of the photo, ``(height, width)``.
        status: ``open``, ``done``, or ``skipped``, which is left out of the result.
        revision: counts the changes.
        saved_as: the page's name for its last change, so that one that it sends again is known.
        seconds: that people worked on the photo, idle time left out.
        saved: when, s since 1970.
        annotators: who worked on it, in the order of their first change.
        bundle_id, model: what made the proposals and answered the clicks.
        tally: of its masks.
    """

    schema: str = SCHEMA
    name: str
    file_bytes: int
    modified_ns: int
    size: tuple[int, int]
    status: Status = "open"
    revision: int = 0
    saved_as: str = ""
    seconds: float = 0.0
    saved: float = 0.0
    annotators: tuple[str, ...] = ()
    bundle_id: str
    model: str
    tally: Tally = Tally()


class Review(ReviewHead, frozen=True, kw_only=True):
    """What was decided about one photo."""

    masks: tuple[ReviewedMask, ...] = ()

    @property
    def accepted(self) -> tuple[ReviewedMask, ...]:
        """The masks that count."""
        return tuple(mask for mask in self.masks if mask.decision == "accepted")

    def counted(self) -> Review:
        """The same with its tally."""
        origins = [mask.origin for mask in self.accepted]
        decisions = [mask.decision for mask in self.masks]
        tally = Tally(
            accepted=len(origins),
            mended=origins.count("mended"),
            drawn=origins.count("drawn"),
            rejected=decisions.count("rejected"),
            undecided=decisions.count("proposed"),
        )
        return msgspec.structs.replace(self, tally=tally)

    @property
    def is_untouched(self) -> bool:
        """Whether nobody has decided anything."""
        return self.status == "open" and all(mask.decision == "proposed" for mask in self.masks)


H = TypeVar("H", bound=ReviewHead)


class DamagedReviewError(DatasetError):
    """A file of decisions whose content is none: it is set aside, never overwritten."""


class Reviews:
    """A folder of reviews. Who writes holds the photo's claim; reading needs nothing.

    Args:
        folder: need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._heads: dict[str, tuple[_FileState, ReviewHead | None]] = {}

    def path(self, name: str) -> Path:
        """The file of a photo's review."""
        return self.folder / part_name(name)

    def read(self, name: str) -> Review | None:
        """The review of a photo; ``None`` where there is none.

        Raises:
            DamagedReviewError: its content is none.
            DatasetError: another version of samedge wrote it.
            WriteError: it cannot be read now, so that nothing can be put in its place.
        """
        return self._read(name, Review)

    def head(self, name: str) -> ReviewHead | None:
        """A review without its masks, from memory while its file is the same.

        A damaged file counts as none here: it is set aside when the photo is opened.
        """
        state = _state(self.path(name))
        known = self._heads.get(name)
        if known is not None and known[0] == state:
            return known[1]
        try:
            found = self._read(name, ReviewHead)
        except (DatasetError, WriteError):
            return None
        self._heads[name] = (state, found)
        return found

    def write(self, review: Review) -> None:
        """Keep a review in the place of the one before, with its tally.

        Raises:
            WriteError: it cannot be written; the one before is untouched.
        """
        write_text(self.path(review.name), json_text(review.counted()))
        self._heads.pop(review.name, None)

    def set_aside(self, name: str, *, because: str) -> Path:
        """Move a photo's review out of the way; nothing that people did is deleted.

        Args:
            name: of the photo.
            because: a word for the file's ending.

        Raises:
            OSError: it cannot be moved.
        """
        aside = self._aside(name, because)
        self.path(name).replace(aside)
        return aside

    def keep_beside(self, review: Review, *, because: str) -> Path:
        """Keep a review that is not to take the place of the one that is there.

        Args:
            review: what to keep.
            because: a word for the file's ending.

        Raises:
            WriteError: it cannot be written.
        """
        return write_text(self._aside(review.name, because), json_text(review.counted()))

    def strangers(self, names: Collection[str]) -> list[str]:
        """Photos that have a review and are not among those of some names."""
        known = {self.path(name) for name in names}
        heads = (
            _decoded(path, ReviewHead)
            for path in sorted(self.folder.glob("*/*.json"))
            if path not in known
        )
        return sorted(head.name for head in heads if head is not None)

    def _aside(self, name: str, because: str) -> Path:
        path = self.path(name)
        number = 1
        while (aside := path.with_name(f"{path.stem}.{because}-{number}")).exists():
            number += 1
        return aside

    def _read(self, name: str, kind: type[H]) -> H | None:
        path = self.path(name)
        try:
            found = decoded(path.read_bytes(), kind)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise WriteError(
                f"{path}, the review of {name}, cannot be read ({error.strerror}): it stays as it "
                "is. Check the disk, and try again.",
                errno=error.errno,
            ) from error
        except ValueError as error:
            raise DamagedReviewError(
                f"{path}, the review of {name}, is damaged: {error}."
            ) from error
        if found.name != name or found.schema != SCHEMA:
            raise DatasetError(
                f"{path} is no review of {name} that this samedge reads: move it away, or upgrade."
            )
        return found


def _decoded(path: Path, kind: type[H]) -> H | None:
    """A review, or ``None`` where it cannot be read."""
    try:
        return decoded(path.read_bytes(), kind)
    except (OSError, ValueError):
        return None


def _state(path: Path) -> _FileState:
    """What changes when a file is replaced, whatever the clock says."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def photo_id(task: Task) -> str:
    """The name of a photo in addresses."""
    return part_name(task.name).replace("/", "").removesuffix(".json")
