"""What comes out of a desk: the annotation file of the finished photos, and the round they were."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from samedge.annotate.desk.desk import Desk
from samedge.annotate.desk.finished import FinishedPhotos
from samedge.annotate.desk.messages import DeskAnswer, FilesAnswer
from samedge.annotate.desk.reviews import ReviewHead
from samedge.annotate.layout import REVIEWED
from samedge.annotate.merging import Merged, Merger
from samedge.annotate.one_writer import one_writer
from samedge.annotate.rounds import Accuracy, Round, keep_round
from samedge.annotate.run import SHARD_IMAGES
from samedge.annotate.tasks import Task
from samedge.errors import SamedgeError
from samedge.files.lines import created_now

logger = logging.getLogger(__name__)

STAGE = "assisted"
IDLE_S = 20.0
"""The longest pause between two actions of a person that counts as work."""

_LOCK = ".reviewed.lock"
_FEW = 3  # names of what there may be thousands of
_PAUSE_S = 10.0  # between two writings of the files while people work


class Results:
    """Writes the annotation files and the rounds of a folder, beside the work at the desk.

    Args:
        desk: whose photos they are.
        images: the folder of photos.
        tasks: all photos, sorted by name.
        file_format: of the annotation files.
        accuracy: of the bundle, where it was measured.
        bundle_id, model: of the bundle.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        images: Path,
        tasks: Sequence[Task],
        file_format: str,
        accuracy: Accuracy | None,
        bundle_id: str,
        model: str,
    ) -> None:
        self._desk, self._images, self._tasks = desk, images, tasks
        self._format, self._accuracy = file_format, accuracy
        self._bundle_id, self._model = bundle_id, model
        self._finished = FinishedPhotos(desk.folder.reviews, tasks, desk.proposals)
        self._notes = _notes_on_strangers(desk, tasks)
        self._writing = threading.Lock()
        self._wanted, self._ends = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name="samedge-results", daemon=True)
        self._thread.start()

    def answer(self) -> DeskAnswer:
        """What a page begins with."""
        desk = self._desk
        return DeskAnswer(
            folder=self._images.name or str(self._images),
            output=str(desk.folder.output),
            annotator=desk.annotator,
            model=self._model,
            categories=desk.folder.categories(),
            figures=desk.figures(),
            idle_s=IDLE_S,
            notes=[*desk.queue.notes, *self._notes],
        )

    def ask(self) -> None:
        """Have the files written soon."""
        self._wanted.set()

    def write(self) -> FilesAnswer:
        """Write the files and the rounds now.

        Raises:
            WriteError: one cannot be written.
            DatasetError: the list of rounds is damaged.
        """
        # One desk at a time: the last to write has seen what all the others saved.
        with self._writing, one_writer(self._desk.folder.output, _LOCK):
            merged = self._merged()
            for made in self._rounds():
                keep_round(self._desk.folder.output, made)
        return FilesAnswer(
            files=[str(path) for path in merged.files],
            images=merged.images,
            masks=merged.masks,
            left_out=[(name, error.message) for name, error in merged.failures],
        )

    def close(self) -> FilesAnswer:
        """Write everything a last time; the errors are those of :meth:`write`."""
        self._ends.set()
        self._wanted.set()
        self._thread.join()
        return self.write()

    def _loop(self) -> None:
        while not self._ends.is_set():
            self._wanted.wait()
            self._wanted.clear()
            if self._ends.is_set():
                return
            try:
                self.write()
            except (SamedgeError, OSError) as error:
                logger.error("The annotation files were not written, the reviews are: %s", error)
            self._ends.wait(_PAUSE_S)

    def _merged(self) -> Merged:
        merger = Merger(
            self._finished,
            self._desk.folder.output / REVIEWED,
            file_format=self._format,
            shard_images=SHARD_IMAGES,
        )
        return merger.merge(self._tasks)

    def _rounds(self) -> list[Round]:
        """A round a bundle: all photos that were finished with its proposals."""
        heads = (self._desk.folder.reviews.head(task.name) for task in self._tasks)
        done = [head for head in heads if head is not None and head.status == "done"]
        bundles = dict.fromkeys((head.bundle_id, head.model) for head in done)
        bundles.setdefault((self._bundle_id, self._model))
        made = []
        for bundle_id, model in bundles:
            own = [head for head in done if head.bundle_id == bundle_id]
            is_mine = bundle_id == self._bundle_id
            accuracy = self._accuracy if is_mine else None
            if own or accuracy is not None:
                made.append(_round(own, bundle_id=bundle_id, model=model, accuracy=accuracy))
        return made


def _notes_on_strangers(desk: Desk, tasks: Sequence[Task]) -> list[str]:
    """What to say of photos that were annotated, and are not in the folder any more."""
    gone = desk.folder.reviews.strangers([task.name for task in tasks])
    if not gone:
        return []
    shown = ", ".join(gone[:_FEW]) + (", ..." if len(gone) > _FEW else "")
    return [
        f"{len(gone)} annotated photos are not in the folder any more ({shown}): their masks stay "
        f"in {desk.folder.reviews.folder}, but not in the result. Put the photos back under these "
        "names to have them again."
    ]


def _round(
    heads: Sequence[ReviewHead], *, bundle_id: str, model: str, accuracy: Accuracy | None
) -> Round:
    masks = sum(head.tally.accepted for head in heads)
    seconds = sum(head.seconds for head in heads)
    return Round(
        stage=STAGE,
        ended=created_now(),
        bundle_id=bundle_id,
        model=model,
        images=len(heads),
        masks=masks,
        seconds_per_mask=round(seconds / masks, 4) if masks else None,
        mended=sum(head.tally.mended for head in heads),
        drawn=sum(head.tally.drawn for head in heads),
        rejected=sum(head.tally.rejected for head in heads),
        undecided=sum(head.tally.undecided for head in heads),
        accuracy=accuracy,
    )
