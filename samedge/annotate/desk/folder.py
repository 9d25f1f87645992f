"""The folder of results that desks share: whose proposals lie where, and the list of categories."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from samedge.annotate.desk.messages import MOST_CATEGORIES
from samedge.annotate.desk.reviews import Reviews
from samedge.annotate.layout import CLAIMS, DESK_FILE, PARTS, PROPOSALS, REVIEWS, RUN_FILE
from samedge.annotate.one_writer import one_writer
from samedge.annotate.parts import Parts
from samedge.annotate.run import absolute, read_record
from samedge.annotate.tasks import RUN_SCHEMA, AutoSettings, RunRecord, decoded
from samedge.errors import DatasetError, OptionError
from samedge.files.json_text import json_text
from samedge.files.writing import write_text

_SCHEMA = "samedge.annotate-desk-folder/1"
_LOCK = ".desk.lock"


class _DeskRecord(msgspec.Struct, kw_only=True):
    """What a folder of reviews belongs to."""

    schema: str = _SCHEMA
    images: str
    categories: list[str] = msgspec.field(default_factory=list)


def settings_of_run(output: Path) -> AutoSettings | None:
    """What ``annotate --auto`` was asked for in a folder; ``None`` where it did not run there.

    Raises:
        DatasetError: the record is damaged.
    """
    file = output / RUN_FILE
    return read_record(file).settings if file.exists() else None


def _as_masks_know(settings: AutoSettings) -> AutoSettings:
    """Settings without how the bundle, whose id stands beside them, was named and shared out."""
    return msgspec.structs.replace(settings, threads=1, bundle=None)


class DeskFolder:
    """A folder that several desks may work in at the same time.

    Args:
        images: the folder of photos.
        output: need not exist yet.
        settings: which proposals are wanted.
        bundle_id: whose.

    Attributes:
        reviews: what people decided.
        found: proposals of ``annotate --auto`` with the same settings; ``None`` without such.
        made: proposals that desks asked for.

    Raises:
        OptionError: the folder belongs to other photos.
        DatasetError: one of its files is damaged.
        WriteError: it cannot be written.
    """

    def __init__(
        self, images: Path, output: Path, *, settings: AutoSettings, bundle_id: str
    ) -> None:
        self.output = output
        self.reviews = Reviews(output / REVIEWS)
        wanted = RunRecord(
            schema=RUN_SCHEMA,
            images=str(absolute(images)),
            bundle_id=bundle_id,
            settings=_as_masks_know(settings),
        )
        self.found = Parts(output / PARTS) if self._is_of_auto(wanted) else None
        digest = hashlib.sha256(json_text(wanted).encode("utf-8", "backslashreplace")).hexdigest()
        self.made = Parts(output / PROPOSALS / digest[:16])
        with one_writer(self.output, _LOCK):
            self._belongs(wanted.images)

    @property
    def claims(self) -> Path:
        """The folder of the photos' locks."""
        return self.output / CLAIMS

    def categories(self) -> list[str]:
        """The categories so far, in the order of their keys.

        Raises:
            DatasetError: the file is damaged.
        """
        return self._read().categories

    def add_categories(self, names: Sequence[str]) -> list[str]:
        """Put categories behind those that are there, and return all.

        Raises:
            OptionError: there would be too many.
            DatasetError: the file is damaged.
            WriteError: it cannot be written.
        """
        with one_writer(self.output, _LOCK):
            record = self._read()
            wanted = [" ".join(name.split()) for name in names]
            all_names = list(dict.fromkeys((*record.categories, *filter(None, wanted))))
            if len(all_names) > MOST_CATEGORIES:
                raise OptionError(
                    f"{len(all_names)} categories, expected at most {MOST_CATEGORIES}: give fewer."
                )
            if all_names != record.categories:
                self._write(msgspec.structs.replace(record, categories=all_names))
        return all_names

    def _is_of_auto(self, wanted: RunRecord) -> bool:
        file = self.output / RUN_FILE
        if not file.exists():
            return False
        found = read_record(file)
        settings = _as_masks_know(found.settings)
        return msgspec.structs.replace(found, settings=settings) == wanted

    def _belongs(self, images: str) -> None:
        if not (self.output / DESK_FILE).exists():
            self._write(_DeskRecord(images=images))
        elif (found := self._read().images) != images:
            raise OptionError(
                f"{self.output} holds reviews of the photos in {found}, not of {images}: name "
                "another folder with -o."
            )

    def _read(self) -> _DeskRecord:
        file = self.output / DESK_FILE
        try:
            return decoded(file.read_bytes(), _DeskRecord)
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"{file} is no record of a desk ({error}): move it away; the reviews beside it "
                "stay."
            ) from error

    def _write(self, record: _DeskRecord) -> None:
        write_text(self.output / DESK_FILE, json_text(record, indent=2) + "\n")
