"""The desk: gives photos to pages, takes what people decide, and keeps it, one writer a photo."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from samedge.annotate.desk.changes import OutdatedError, applied, mask_message
from samedge.annotate.desk.claims import ClaimedError, Claims
from samedge.annotate.desk.folder import DeskFolder
from samedge.annotate.desk.messages import (
    BeatAnswer,
    Figures,
    PhotoAnswer,
    PhotoMessage,
    PhotoRow,
    SavedAnswer,
    SaveRequest,
)
from samedge.annotate.desk.proposals import Proposals
from samedge.annotate.desk.queue import PhotoQueue
from samedge.annotate.desk.reviews import DamagedReviewError, Review, ReviewedMask, photo_id
from samedge.annotate.tasks import Part, Task, file_state
from samedge.annotate.worker import Loaded
from samedge.bundle.manifest import Manifest
from samedge.errors import DatasetError, ImageError
from samedge.web.server.failures import NotFoundError


class Desk:
    """What the pages of one server work at. Safe to share between threads.

    Args:
        folder: of the results; other desks may work in it, too.
        queue: the photos in their order.
        proposals: where masks come from that nobody drew.
        manifest: of the bundle that makes them.
        annotator: who works here.

    Attributes:
        annotator: who works here.
        folder: of the results.
        queue: the photos in their order.
        proposals: where masks come from.
    """

    def __init__(
        self,
        folder: DeskFolder,
        queue: PhotoQueue,
        proposals: Proposals,
        *,
        manifest: Manifest,
        annotator: str,
    ) -> None:
        self.folder, self.queue, self.proposals = folder, queue, proposals
        self.annotator = annotator
        self._manifest, self._reviews = manifest, folder.reviews
        self._tasks = {photo_id(task): task for task in queue.tasks()}
        self._claims = Claims(folder.claims)
        self._left: set[str] = set()  # pages that said goodbye; a change of theirs may come later
        self._unreadable: dict[str, tuple[tuple[int, int], str]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of all photos."""
        with self._lock:
            self._claims.close()

    def task(self, photo: str) -> Task:
        """The photo of an address.

        Raises:
            NotFoundError: there is none.
        """
        found = self._tasks.get(photo)
        if found is None:
            raise NotFoundError(f"There is no photo {photo!r:.80} in this folder.")
        return found

    def next_photo(self, page: str, *, after: str | None) -> PhotoAnswer:
        """Give a page the first photo that is open and free; the one that it leaves is not it.

        Raises:
            WriteError: the results' folder cannot be written.
        """
        with self._lock:
            self._left.discard(page)
            self._claims.release_others(None, page)
            for photo in self._open_photos():
                if photo == after:
                    continue
                try:
                    return self._answer(self._opened(photo, page))
                except (ClaimedError, DatasetError, ImageError, NotFoundError):
                    self._claims.release(photo, page)
            return self._answer(None)

    def open_photo(self, photo: str, page: str) -> PhotoAnswer:
        """Give a page a photo that it names, a finished one, too.

        Raises:
            NotFoundError: there is none, or it was removed.
            ClaimedError: another page has it.
            ImageError: it cannot be read.
            DatasetError: another version of samedge wrote its review.
            WriteError: the results' folder cannot be written, or the review not be read.
        """
        with self._lock:
            self._left.discard(page)
            try:
                opened = self._opened(photo, page, even_done=True)
            except (DatasetError, ImageError, NotFoundError):
                self._claims.release(photo, page)
                raise
            self._claims.release_others(photo, page)
            return self._answer(opened)

    def propose(self, photo: str, page: str, *, part: Part) -> PhotoAnswer:
        """Put the model's masks to those of a photo, as proposals.

        Raises:
            NotFoundError: its review has gone.
            ClaimedError: the page has it no more; the masks are kept for who opens it next.
        """
        with self._lock:
            task = self._check_held(photo, page)
            review = self._read(task, [])
            if review is None:
                raise NotFoundError(f"{task.name} has no review any more: open it again.")
            kept = tuple(mask for mask in review.masks if mask.decision != "proposed")
            first = 1 + max((mask.id for mask in review.masks), default=0)
            made = msgspec.structs.replace(
                review,
                masks=kept + _proposed(part, first=first),
                revision=review.revision + 1,
                bundle_id=self._manifest.id,
                model=self._manifest.model.name,
            )
            self._reviews.write(made)
            return self._answer(self._message(task, made, []))

    def save(self, photo: str, request: SaveRequest) -> SavedAnswer:
        """Keep a change; when this returns, it is on disk.

        Raises:
            NotFoundError: there is no such photo.
            ClaimedError: another page has it. What was sent is kept in a file of its own.
            OutdatedError: another page had it meanwhile, and changed it. The same.
            PromptError, DatasetError: a mask is none.
            WriteError: it cannot be written; the page should try again.
        """
        with self._lock:
            task = self.task(photo)
            review = self._read(task, [])
            if review is None:
                raise NotFoundError(f"{task.name} has no review any more: open it again.")
            try:
                saved = self._saved(photo, review, request)
            except (ClaimedError, OutdatedError) as error:
                raise type(error)(f"{error} {self._kept(review, request)}") from error
            finally:
                if request.page in self._left:
                    self._claims.release(photo, request.page)
            return SavedAnswer(
                revision=saved.revision, seconds=saved.seconds, figures=self._figures()
            )

    def leave(self, page: str) -> None:
        """A page has gone."""
        with self._lock:
            self._left.add(page)
            self._claims.release_others(None, page)

    def beat(self, page: str) -> BeatAnswer:
        """A page is still there."""
        with self._lock:
            self._claims.beat(page)
            return BeatAnswer(categories=self.folder.categories(), figures=self._figures())

    def figures(self) -> Figures:
        """How far the folder is."""
        with self._lock:
            return self._figures()

    def rows(self) -> list[PhotoRow]:
        """All photos in their order."""
        with self._lock:
            return [self._row(task) for task in self.queue.tasks()]

    def check_held(self, photo: str, page: str) -> None:
        """Check that a page has a photo.

        Raises:
            NotFoundError: there is no such photo.
            ClaimedError: it has not.
        """
        with self._lock:
            self._check_held(photo, page)

    # ---- under the lock

    def _check_held(self, photo: str, page: str) -> Task:
        task = self.task(photo)
        if self._claims.holder(photo) != page:
            raise ClaimedError(f"This page does not work on {task.name}: open it first.")
        return task

    def _saved(self, photo: str, review: Review, request: SaveRequest) -> Review:
        self._claims.take(photo, request.page)
        if review.saved_as == request.save_id:  # it is here already, and its answer was lost
            return review
        made = applied(review, request, annotator=self.annotator)
        self._reviews.write(made)
        return made

    def _kept(self, review: Review, request: SaveRequest) -> str:
        """Put a refused change beside the newest one, and say where."""
        wanted = msgspec.structs.replace(request, revision=review.revision)
        made = applied(review, wanted, annotator=self.annotator)
        aside = self._reviews.keep_beside(made, because="refused")
        return f"What this page had is kept as {aside}."

    def _open_photos(self) -> Iterator[str]:
        for task in self.queue.tasks():
            photo = photo_id(task)
            head = self._reviews.head(task.name)
            is_open = head is None or head.status == "open"
            if is_open and not self._is_unreadable(task) and self._claims.holder(photo) is None:
                yield photo

    def _opened(self, photo: str, page: str, *, even_done: bool = False) -> PhotoMessage:
        task = self.task(photo)
        self._claims.take(photo, page)
        if not Path(task.path).exists():
            raise NotFoundError(f"{task.name} is not in the folder any more: take another photo.")
        notes: list[str] = []
        review = self._review(task, notes)
        if review.status != "open" and not even_done:
            raise ClaimedError(f"{task.name} was done meanwhile: take another photo.")
        return self._message(task, review, notes)

    def _review(self, task: Task, notes: list[str]) -> Review:
        """The review of a photo, begun where there is none that still holds."""
        found = self._read(task, notes)
        if found is not None and self._holds(found, task, notes):
            return found
        begun = self._begun(task)
        if found is not None and found.is_untouched:
            begun = msgspec.structs.replace(
                begun, revision=found.revision + 1, seconds=found.seconds
            )
        self._reviews.write(begun)
        return begun

    def _read(self, task: Task, notes: list[str]) -> Review | None:
        try:
            return self._reviews.read(task.name)
        except DamagedReviewError:
            aside = self._reviews.set_aside(task.name, because="damaged")
            notes.append(f"What was saved of this photo is damaged; it was set aside as {aside}.")
            return None

    def _holds(self, review: Review, task: Task, notes: list[str]) -> bool:
        """Whether a review is still about the photo, and newer than the proposals."""
        if review.is_untouched and (review.bundle_id != self._manifest.id or not review.masks):
            return self.proposals.find(task) is None and review.bundle_id == self._manifest.id
        if (review.file_bytes, review.modified_ns) == file_state(Path(task.path)):
            return True
        size = self._size(self._loaded(task))
        if size == tuple(review.size):
            notes.append("The photo's file has changed since it was annotated: look again.")
            return True
        aside = self._reviews.set_aside(task.name, because="other-size")
        notes.append(f"The photo has another size than before; its old masks are in {aside}.")
        return False

    def _begun(self, task: Task) -> Review:
        state = file_state(Path(task.path))
        part = self.proposals.find(task)
        size = self._size(self._loaded(task)) if part is None else part.size
        return Review(
            name=task.name,
            file_bytes=state[0],
            modified_ns=state[1],
            size=size,
            saved=time.time(),
            bundle_id=self._manifest.id,
            model=self._manifest.model.name,
            masks=() if part is None else _proposed(part, first=1),
        )

    def _loaded(self, task: Task) -> Loaded:
        try:
            return self.proposals.load(task)
        except ImageError as error:
            self._unreadable[task.name] = (file_state(Path(task.path)), str(error))
            raise

    def _is_unreadable(self, task: Task) -> bool:
        known = self._unreadable.get(task.name)
        return known is not None and known[0] == file_state(Path(task.path))

    @staticmethod
    def _size(loaded: Loaded) -> tuple[int, int]:
        assert loaded.pixels is not None
        height, width = loaded.pixels.shape[:2]
        return height, width

    def _message(self, task: Task, review: Review, notes: list[str]) -> PhotoMessage:
        height, width = review.size
        return PhotoMessage(
            id=photo_id(task),
            name=task.name,
            height=height,
            width=width,
            status=review.status,
            revision=review.revision,
            seconds=review.seconds,
            has_proposals=self.proposals.find(task) is not None,
            masks=[mask_message(mask) for mask in review.masks],
            notes=notes,
        )

    def _answer(self, photo: PhotoMessage | None) -> PhotoAnswer:
        return PhotoAnswer(photo=photo, figures=self._figures())

    def _row(self, task: Task) -> PhotoRow:
        photo, head = photo_id(task), self._reviews.head(task.name)
        row = PhotoRow(id=photo, name=task.name, state="open", masks=0)
        if head is not None:
            row = msgspec.structs.replace(row, state=head.status, masks=head.tally.accepted)
        if self._is_unreadable(task):
            return msgspec.structs.replace(row, state="unreadable")
        is_taken = self._claims.holder(photo) is not None
        return msgspec.structs.replace(row, state="taken") if is_taken else row

    def _figures(self) -> Figures:
        tasks = self.queue.tasks()
        heads = [head for head in (self._reviews.head(task.name) for task in tasks) if head]
        done = [head for head in heads if head.status == "done"]
        masks = sum(head.tally.accepted for head in done)
        seconds = sum(head.seconds for head in done)
        return Figures(
            photos=len(tasks),
            done=len(done),
            skipped=sum(head.status == "skipped" for head in heads),
            unreadable=sum(self._is_unreadable(task) for task in tasks),
            masks=masks,
            seconds_per_mask=round(seconds / masks, 2) if masks else None,
            ranked=self.queue.ranked,
            order=self.queue.order,
        )


def _proposed(part: Part, *, first: int) -> tuple[ReviewedMask, ...]:
    return tuple(
        ReviewedMask(id=number, record=record) for number, record in enumerate(part.masks, first)
    )
