"""The JSON between the page and the desk."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from samedge.annotate.desk.reviews import Decision, Origin, Status
from samedge.types import Rle
from samedge.web.server.messages import Answer, RleMessage

Page = Annotated[str, Meta(min_length=8, max_length=64, pattern="^[A-Za-z0-9-]+$")]
"""A page's own name, by chance: it tells the tabs of a browser apart."""

Category = Annotated[str, Meta(min_length=1, max_length=80)]
MOST_CATEGORIES = 200


class PageRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something about a page: which one asks."""

    page: Page


class NextRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asks for the next photo.

    Attributes:
        page: that asks.
        after: the photo that it leaves, which is not the next one.
    """

    page: Page
    after: str | None = None


class MaskChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mask of a photo as the page has it now.

    Attributes:
        id: of the mask; the page gives new ones to what it draws.
        decision: about it.
        origin: of it.
        category: what it shows; ``None`` where nobody said.
        rle: the mask itself; ``None`` where the desk has it.
        predicted_iou: the model's own estimate of a mask that comes along.
    """

    id: Annotated[int, Meta(ge=1, le=1_000_000)]
    decision: Decision
    origin: Origin
    category: Category | None = None
    rle: RleMessage | None = None
    predicted_iou: float | None = None


class SaveRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole state of a photo after a change.

    Attributes:
        page: that works on it.
        revision: that the change was made on.
        save_id: by chance, the same when a request is sent again.
        unanswered: of the page's changes to this revision that it had no answer to.
        status: of the photo.
        seconds: of work on the photo so far, idle time left out.
        masks: all that are left, in the page's order.
    """

    page: Page
    revision: Annotated[int, Meta(ge=0)]
    save_id: Page
    unanswered: Annotated[list[Page], Meta(max_length=1000)] = []
    status: Status
    seconds: Annotated[float, Meta(ge=0, le=1e7)]
    masks: Annotated[list[MaskChange], Meta(max_length=10_000)]


class CategoriesRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Categories to add, behind those that are there."""

    page: Page
    add: Annotated[list[Category], Meta(max_length=MOST_CATEGORIES)]


class MaskMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A mask of a photo."""

    id: int
    decision: Decision
    origin: Origin
    category: str | None
    rle: Rle
    area: int
    predicted_iou: float | None


class PhotoMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A photo that a page has opened.

    Attributes:
        id: in addresses.
        name: its path below the folder.
        height, width: in px.
        status, revision, seconds: of its review.
        has_proposals: whether the model has been asked for masks already.
        masks: those of the review.
        notes: what people should know about it.
    """

    id: str
    name: str
    height: int
    width: int
    status: Status
    revision: int
    seconds: float
    has_proposals: bool
    masks: list[MaskMessage]
    notes: list[str]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How far the folder is.

    Attributes:
        photos: in the folder.
        done, skipped: of them.
        unreadable: of them, which nobody can annotate.
        masks: accepted in the photos that are done.
        seconds_per_mask: of people's time, over those photos; ``None`` before the first mask.
        ranked: photos that the model was asked about; all of them when the order is complete.
        order: ``rank`` or ``name``.
    """

    photos: int
    done: int
    skipped: int
    unreadable: int
    masks: int
    seconds_per_mask: float | None
    ranked: int
    order: Literal["rank", "name"]


class DeskAnswer(Answer, frozen=True, kw_only=True):
    """What the page begins with.

    Attributes:
        folder: name of the folder of photos.
        output: where the results go.
        annotator: who works here, as the command was told.
        model: that makes proposals.
        categories: in the order of their keys.
        figures: how far the folder is.
        idle_s: the longest pause between two actions that counts as work.
        notes: what people should know.
    """

    schema: str = "samedge.annotate-desk/1"
    folder: str
    output: str
    annotator: str
    model: str
    categories: list[str]
    figures: Figures
    idle_s: float
    notes: list[str]


class PhotoAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A photo, or none where all that is free is done; and how far the folder is."""

    photo: PhotoMessage | None
    figures: Figures


class SavedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A change that is on disk."""

    revision: int
    seconds: float
    figures: Figures


class BeatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How far the folder is, and its categories, which others may add to."""

    categories: list[str]
    figures: Figures


class PhotoRow(msgspec.Struct, frozen=True, kw_only=True):
    """A photo in the list of all.

    Attributes:
        state: its status, ``taken`` where a page of this server works on it, or ``unreadable``.
        masks: accepted so far.
    """

    id: str
    name: str
    state: Literal["open", "done", "skipped", "taken", "unreadable"]
    masks: int


class PhotosAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The photos in the order in which they come up."""

    photos: list[PhotoRow]


class FilesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The annotation files that were written.

    Attributes:
        files: their paths.
        images: finished photos in them.
        masks: in those.
        left_out: finished photos that are not in them, ``[name, why]``.
    """

    files: list[str]
    images: int
    masks: int
    left_out: list[tuple[str, str]] = []
