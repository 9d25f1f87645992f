"""``samedge annotate DIR``: the server, the desk behind it, and what is written at its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from samedge.annotate.desk import PAGE
from samedge.annotate.desk.api import operations
from samedge.annotate.desk.asking import Asking
from samedge.annotate.desk.desk import Desk
from samedge.annotate.desk.folder import DeskFolder
from samedge.annotate.desk.messages import FilesAnswer
from samedge.annotate.desk.proposals import Proposals
from samedge.annotate.desk.queue import Order, PhotoQueue
from samedge.annotate.desk.results import Results
from samedge.annotate.merging import check_format
from samedge.annotate.rounds import Accuracy
from samedge.annotate.run import absolute, photos_listed, tasks_of
from samedge.annotate.tasks import AutoSettings
from samedge.predict.predictor import Predictor
from samedge.web.server import running
from samedge.web.server.extension import Extension
from samedge.web.server.service import Service
from samedge.web.server.settings import ServeSettings

MOST_PROPOSALS = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeskOptions:
    """How a desk is to be.

    Attributes:
        annotator: who works at it.
        categories: to be there from the start.
        most_proposals: of a photo, the best ranked ones.
        order: ``rank``: those photos first that the model is least sure of; or ``name``.
        file_format: of the annotation files.
        accuracy: of the bundle on ground truth that it was not taught, for the record of rounds.
    """

    annotator: str
    categories: tuple[str, ...] = ()
    most_proposals: int = MOST_PROPOSALS
    order: Order = "rank"
    file_format: str = "coco"
    accuracy: Accuracy | None = None


class OpenDesk:
    """A desk over a folder and all that works for it.

    Args:
        images: the folder of photos.
        output: of the results; other desks may work in it, too.
        predictor: an open one.
        settings: which masks are proposed.
        options: how it is to be.

    Attributes:
        results: what comes out of it.
        skipped: files among the photos that are none, by reason.

    Raises:
        DatasetError: the folder is missing or holds no pictures, or ``output`` has a damaged file.
        OptionError: ``output`` belongs to other photos.
        UnknownNameError: no such format.
        WriteError: ``output`` cannot be written.
    """

    def __init__(
        self,
        images: Path,
        output: Path,
        *,
        predictor: Predictor,
        settings: AutoSettings,
        options: DeskOptions,
    ) -> None:
        check_format(options.file_format)
        images, output = absolute(images), absolute(output)
        listing = photos_listed(images, results=output).tell()
        tasks, self.skipped = tasks_of(listing), listing.skipped
        manifest = predictor.manifest
        folder = DeskFolder(images, output, settings=settings, bundle_id=manifest.id)
        folder.add_categories(options.categories)
        queue = PhotoQueue(tasks, output, bundle_id=manifest.id, order=options.order)
        self._settings, self._queue = settings, queue
        self._asking: Asking | None = None
        self._desk = Desk(
            folder,
            queue,
            Proposals(folder, settings, most=options.most_proposals),
            manifest=manifest,
            annotator=options.annotator,
        )
        self.results = Results(
            self._desk,
            images=images,
            tasks=tasks,
            file_format=options.file_format,
            accuracy=options.accuracy,
            bundle_id=manifest.id,
            model=manifest.model.name,
        )

    def extend(self, service: Service) -> Extension:
        """The desk as a part of a server."""
        self._asking = Asking(self._queue, service, self._settings)
        return Extension(
            operations=operations(service, desk=self._desk, results=self.results),
            files=desk_files(),
        )

    def close(self) -> FilesAnswer:
        """End everything, and write the annotation files.

        Raises:
            WriteError: one cannot be written; what people decided is on disk all the same.
            DatasetError: the list of rounds is damaged.
        """
        if self._asking is not None:
            self._asking.close()
        self._desk.close()
        return self.results.close()


def desk_files() -> dict[str, Path]:
    """Files of the desk's page by their place in the site; its index takes the server's place."""
    found = [path for path in sorted(PAGE.rglob("*")) if path.is_file()]
    return {path.relative_to(PAGE).as_posix(): path for path in found}


def serve_desk(
    desk: OpenDesk,
    settings: ServeSettings,
    *,
    predictor: Predictor,
    on_start: Callable[[str], None],
) -> FilesAnswer:
    """Serve a desk until SIGTERM or SIGINT; what is in flight then is finished.

    Args:
        desk: an open one; it is closed at the end.
        settings: of the server.
        predictor: that the desk was opened with.
        on_start: is called with the address when it listens.

    Returns:
        What was written at the end.

    Raises:
        OSError: the port is taken.
        WriteError, DatasetError: as :meth:`OpenDesk.close`.
    """
    try:
        running.serve(predictor, settings, protocols=(), extend=desk.extend, on_start=on_start)
    finally:
        made = desk.close()
    return made
