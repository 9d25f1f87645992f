"""``samedge annotate``: masks for a folder of images, to train and calibrate with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output
from samedge.cli.annotate_desk import accuracy, opened, sit_down
from samedge.cli.annotate_models import bundle_of
from samedge.cli.annotate_options import AnnotateRun, annotate_options
from samedge.cli.desk_options import DeskRun, desk_options
from samedge.cli.failures import error_record
from samedge.cli.refusing import refuse_given, refuse_output
from samedge.cli.tile_options import tiling_of

if TYPE_CHECKING:
    from samedge.annotate.merging import Merged
    from samedge.annotate.run import AutoResult
    from samedge.annotate.tasks import AutoSettings
    from samedge.errors import SourceError
    from samedge.pixels.folder_listing import SkippedFiles

    Videos = Sequence[tuple[Path, SourceError]]
    Skipped = tuple[SkippedFiles, ...]

EPILOG = """\b
Examples:
  samedge annotate photos -o masks --categories cup,plate --open
  samedge annotate photos --auto -o masks
  samedge annotate photos --auto --workers 8 --bundle out/intel -o masks
  samedge annotate photos --rank -o masks
  samedge annotate photos --model runs/own/last -o masks
  samedge annotate aerial --auto --tiles 2048 -o masks
  samedge annotate videos --auto --every 30 -o masks
  samedge annotate photos --auto --engine ray --workers 64 --gpus-per-worker 0.25 -o masks
"""
_FIRST = 20  # images of a ranking that people see
_FEW = 3  # examples of what there may be thousands of


@click.command("annotate", epilog=EPILOG)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--auto", "automatic", is_flag=True, help="Let the model annotate alone.")
@click.option(
    "--rank",
    "ranks",
    is_flag=True,
    help="Order the images: first those whose annotation teaches most.",
)
@annotate_options
@desk_options
@output.standard_options
def annotate(
    out: output.Output,
    *,
    folder: Path,
    automatic: bool,
    ranks: bool,
    run: AnnotateRun,
    desk: DeskRun,
) -> None:
    """Find the masks of every image of a folder, and write them as annotations.

    Without --auto a page comes up, on which people accept, reject and mend what the model
    proposes. With it the model works alone. An image that cannot be read is listed at the end and
    ends nothing else. A run that was interrupted, in whatever way, goes on when the same command
    is given again, and ends in the same files.
    """
    if automatic and ranks:
        raise click.UsageError("--auto and --rank are two commands: give one of them.")
    if run.bundle is not None and run.model is not None:
        raise click.UsageError("--bundle and --model both name the model: give one of them.")
    _refuse_lost(is_auto=automatic, is_rank=ranks)
    refuse_output(run.output_path, is_folder=True)
    tiling_of(run.tiles, run.tile_overlap)
    settings = _settings(out, run, is_auto=automatic)
    images, broken, beside = _images(out, folder, run)
    if ranks:
        _rank(out, images, run, settings, broken=broken, beside=beside)
        out.failed([(str(path), error) for path, error in broken])
        return
    if not automatic:
        out.failed([(str(path), error) for path, error in broken])
        sit_down(out, images, run=run, desk=desk, settings=settings)
        return
    result = _annotated(out, images, run, settings)
    _measure(out, run, desk, settings)
    _report(out, result, images=images, broken=broken, beside=beside)
    out.failed([(str(path), error) for path, error in broken])
    _list_failures(out, result.merged)


def _refuse_lost(*, is_auto: bool, is_rank: bool) -> None:
    """Say which options mean nothing for this way to annotate, instead of losing them."""
    page = ("port", "opens", "annotator", "categories", "most_proposals", "order")
    processes = ("engine", "workers", "image_seconds", "gpus_per_worker", "shard_images", "restart")
    tiles = ("tiles", "tile_overlap")
    masks = ("points_per_side", "predicted_iou", "stability", "crop_layers", "min_area", *tiles)
    if is_auto:
        refuse_given("--auto", *page)
    elif is_rank:
        truth = ("truth", "truth_images", "truth_limit")
        refuse_given("--rank", *page, *processes, *masks, *truth, "file_format")
    else:
        refuse_given("The page, without --auto,", *processes, *tiles)


def _settings(out: output.Output, run: AnnotateRun, *, is_auto: bool) -> AutoSettings:
    """Which masks, and by whom: as asked, or on the page as `--auto` was asked in the folder."""
    import msgspec

    from samedge.annotate.desk.folder import settings_of_run

    if not is_auto and not run.asks_for_masks:
        found = settings_of_run(run.output_path)
        if found is not None:
            return found
    settings = run.settings()
    if run.model is None:
        return settings
    bundle = bundle_of(out, run.model, output=run.output_path)
    return msgspec.structs.replace(settings, bundle=bundle)


def _measure(out: output.Output, run: AnnotateRun, desk: DeskRun, settings: AutoSettings) -> None:
    """Put the model's accuracy on `--truth` to the round that was just recorded."""
    from samedge.annotate.rounds import put_accuracy

    if desk.truth is None:
        return
    with opened(settings, threads=run.threads) as predictor:
        found = accuracy(out, predictor, run=run, desk=desk)
        assert found is not None
        put_accuracy(run.output_path, found, bundle_id=predictor.manifest.id)


def _images(out: output.Output, folder: Path, run: AnnotateRun) -> tuple[Path, Videos, Skipped]:
    """The folder of pictures to annotate, videos that broke off, and photos beside them."""
    from samedge.annotate.frames import extract_frames, photos_beside
    from samedge.annotate.layout import FRAMES

    if run.every is None:
        return folder, [], ()
    beside = photos_beside(folder, results=run.output_path)
    frames = run.output_path / FRAMES
    with out.progress("Reading videos") as bar:
        broken = extract_frames(folder, frames, every=run.every, progress=bar.progress)
    return frames, broken, beside


def _annotated(
    out: output.Output, images: Path, run: AnnotateRun, settings: AutoSettings
) -> AutoResult:
    from samedge.annotate.run import annotate_automatically

    with out.progress("Annotating") as bar:
        return annotate_automatically(
            images,
            run.output_path,
            settings=settings,
            engine=run.engine,
            options=run.engine_options(),
            file_format=run.file_format,
            shard_images=run.shard_images,
            restart=run.restart,
            progress=bar.progress,
        )


def _rank(
    out: output.Output,
    images: Path,
    run: AnnotateRun,
    settings: AutoSettings,
    *,
    broken: Videos,
    beside: Skipped,
) -> None:
    from samedge.annotate.ranking import rank_images, write_ranking
    from samedge.annotate.run import photos_listed, tasks_of
    from samedge.errors import ImageError

    listing = photos_listed(images, results=run.output_path).tell()
    with (
        opened(settings, threads=settings.threads) as predictor,
        out.progress("Ranking") as bar,
    ):
        ranking = rank_images(
            predictor,
            tasks_of(listing),
            sample_range=run.sample_range,
            progress=bar.progress,
        )
    file = write_ranking(run.output_path, ranking)
    table = output.table("Image", "Uncertainty", "Doubt", "Instability", "Disagreement", "Novelty")
    for one in ranking.images[:_FIRST]:
        figures = (one.uncertainty, one.doubt, one.instability, one.disagreement, one.novelty)
        table.add_row(one.name, *(f"{figure:.3f}" for figure in figures))
    document = {
        "bundle_id": ranking.bundle_id,
        "images": ranking.images,
        "failures": [{"image": name, "error": error} for name, error in ranking.failures],
        "broken_videos": _broken(broken),
        "skipped_files": (*beside, *listing.skipped),
        "files": [file],
    }
    out.result(document, table, f"wrote {file}, all {len(ranking.images)} images in their order")
    out.failed([(name, ImageError(error.message)) for name, error in ranking.failures])


def _broken(videos: Videos) -> list[dict[str, object]]:
    """Videos that broke off, for the document."""
    return [{"video": path, "error": error_record(error)} for path, error in videos]


def _report(
    out: output.Output, result: AutoResult, *, images: Path, broken: Videos, beside: Skipped
) -> None:
    merged = result.merged
    document = {
        "images": {"path": str(images), "count": merged.images, "failed": len(merged.failures)},
        "bundle_id": result.bundle_id,
        "masks": merged.masks,
        "seconds": merged.seconds,
        "done_before": result.done_before,
        "done_now": result.done_now,
        "duplicates": merged.duplicates,
        "failures": [{"image": name, "error": error} for name, error in merged.failures],
        "broken_videos": _broken(broken),
        "skipped_files": (*beside, *result.skipped),
        "files": merged.files,
    }
    out.result(document, _summary(result), *(f"wrote {path}" for path in merged.files))
    _list_duplicates(out, merged)


def _summary(result: AutoResult) -> str:
    merged = result.merged
    line = f"{merged.masks} masks in {merged.images} images"
    if merged.images:
        line += f", {merged.seconds / merged.images:.2f} s an image and process"
    return line + (f"; {result.done_before} were done before" if result.done_before else "")


def _list_duplicates(out: output.Output, merged: Merged) -> None:
    if not merged.duplicates:
        return
    shown = "; ".join(" = ".join(group) for group in merged.duplicates[:_FEW])
    more = f" and {len(merged.duplicates) - _FEW} more" if len(merged.duplicates) > _FEW else ""
    out.note(f"Images of the same content are all annotated: {shown}{more}.")


def _list_failures(out: output.Output, merged: Merged) -> None:
    from samedge.errors import ImageError

    out.failed([(name, ImageError(error.message)) for name, error in merged.failures])


COMMAND = annotate
