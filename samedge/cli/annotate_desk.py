"""The page of ``samedge annotate DIR``: what the command does without ``--auto`` and ``--rank``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from samedge.annotate.desk.messages import FilesAnswer
    from samedge.annotate.desk.serving import DeskOptions
    from samedge.annotate.rounds import Accuracy
    from samedge.annotate.tasks import AutoSettings
    from samedge.cli.annotate_options import AnnotateRun
    from samedge.cli.desk_options import DeskRun
    from samedge.cli.output import Output
    from samedge.predict.predictor import Predictor


def sit_down(
    out: Output, images: Path, *, run: AnnotateRun, desk: DeskRun, settings: AutoSettings
) -> None:
    """Serve the page until it is stopped.

    Args:
        out: says where it is, and what was written.
        images: the folder of photos.
        run: the options of all ways to annotate.
        desk: those of the page.
        settings: which masks are proposed, and by whom.
    """
    from samedge.annotate.desk.serving import OpenDesk, serve_desk
    from samedge.web.server.settings import ServeSettings

    with opened(settings, threads=run.threads) as predictor:
        options = _options(out, predictor, run, desk)
        sat = OpenDesk(
            images, run.output_path, predictor=predictor, settings=settings, options=options
        )

        for note in sat.results.answer().notes:
            out.note(note)

        def started(address: str) -> None:
            document = {**_document(address, predictor, run), "skipped_files": sat.skipped}
            out.result(document, _line(address, desk))
            if desk.opens:
                click.launch(address)

        server = ServeSettings(port=desk.port)
        _report(out, serve_desk(sat, server, predictor=predictor, on_start=started))


def opened(settings: AutoSettings, *, threads: int | None) -> contextlib.closing[Predictor]:
    """The predictor of some settings, which is closed at the end.

    Args:
        settings: name the bundle.
        threads: ``None`` leaves them to the backend.
    """
    from samedge.predict.subjects import open_predictor

    predictor, _ = open_predictor(
        settings.bundle, backend=settings.backend, device=settings.device, threads=threads
    )
    return contextlib.closing(predictor)


def accuracy(
    out: Output, predictor: Predictor, *, run: AnnotateRun, desk: DeskRun
) -> Accuracy | None:
    """Measure the model on ``--truth``; ``None`` without one."""
    from samedge.annotate.accuracy import measured_accuracy

    if desk.truth is None:
        return None
    with out.progress("Measuring the model") as bar:
        found = measured_accuracy(
            predictor,
            desk.truth,
            images=desk.truth_images,
            limit=desk.truth_limit,
            sample_range=run.sample_range,
            progress=bar.progress,
        )
    shown = "none" if found.miou is None else f"{found.miou:.3f}"
    out.note(f"mean IoU with boxes on {found.n} objects of {desk.truth}: {shown}")
    return found


def _options(out: Output, predictor: Predictor, run: AnnotateRun, desk: DeskRun) -> DeskOptions:
    from samedge.annotate.desk.serving import DeskOptions

    return DeskOptions(
        annotator=desk.who,
        categories=desk.category_names,
        most_proposals=desk.most_proposals,
        order=desk.order,
        file_format=run.file_format,
        accuracy=accuracy(out, predictor, run=run, desk=desk),
    )


def _document(address: str, predictor: Predictor, run: AnnotateRun) -> dict[str, object]:
    manifest = predictor.manifest
    return {
        "address": address,
        "bundle": {"id": manifest.id, "model": manifest.model.name},
        "backend": predictor.active_backend(),
        "output": str(run.output_path),
    }


def _line(address: str, desk: DeskRun) -> str:
    return f"{desk.who} annotates at {address}, Ctrl-C ends it; every change is saved at once"


def _report(out: Output, made: FilesAnswer) -> None:
    from samedge.errors import ImageError

    for path in made.files:
        out.note(f"wrote {path}: {made.masks} masks of {made.images} finished photos")
    if not made.files:
        out.note("no photo is finished; what was decided is kept")
    out.failed([(name, ImageError(why)) for name, why in made.left_out])
