"""What ``samedge annotate`` is given."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge import _discovery
from samedge.cli.gathering import gathered
from samedge.cli.image_options import (
    FORMATS,
    backend_option,
    bundle_option,
    device_option,
    range_option,
)
from samedge.cli.name_types import OneOf
from samedge.cli.number_options import count_option, seconds_option, share_option
from samedge.cli.tile_options import overlap_option, tiles_option

if TYPE_CHECKING:
    from samedge.annotate.engines import EngineOptions
    from samedge.annotate.tasks import AutoSettings
    from samedge.pixels.sample_range import SampleRange

ENGINES = _discovery.names("samedge.annotate")


@dataclasses.dataclass(frozen=True)
class AnnotateRun:
    """The folder of a command, which masks are wanted, who makes them, and where they go.

    The fields are the options of the command line, in their words.
    """

    bundle: str | None
    model: str | None
    backend: str | None
    device: str | None
    sample_range: SampleRange
    output_path: Path
    file_format: str
    points_per_side: int | None
    predicted_iou: float | None
    stability: float | None
    crop_layers: int | None
    tiles: int | None
    tile_overlap: int | None
    min_area: int
    every: int | None
    engine: str
    workers: int | None
    image_seconds: float
    threads: int | None
    gpus_per_worker: float
    shard_images: int
    restart: bool

    def settings(self) -> AutoSettings:
        """All that decides on the masks."""
        from samedge.annotate.tasks import AutoSettings

        return AutoSettings(
            bundle=self.bundle,
            backend=self.backend,
            device=self.device,
            threads=self.threads or 1,
            sample_range=self.sample_range,
            points_per_side=self.points_per_side,
            crop_layers=self.crop_layers,
            pred_iou_threshold=self.predicted_iou,
            stability_threshold=self.stability,
            tiles=self.tiles,
            tile_overlap=self.tile_overlap,
            min_area=self.min_area,
        )

    @property
    def asks_for_masks(self) -> bool:
        """Whether any option says which masks are wanted, or who makes them."""
        wanted = (
            *(self.bundle, self.model, self.backend, self.device, self.points_per_side),
            *(self.predicted_iou, self.stability, self.crop_layers),
        )
        is_chosen = any(value is not None for value in wanted)
        return is_chosen or self.min_area > 0 or self.sample_range != "auto"

    def engine_options(self) -> EngineOptions:
        """How many workers: one a core, or one for a device that all would share."""
        from samedge.annotate.engines import EngineOptions
        from samedge.machine.environment import usable_cores

        is_cpu = (self.device or "cpu").lower().startswith("cpu")
        own = (usable_cores() if is_cpu else None) or 1
        return EngineOptions(
            workers=self.workers or own,
            gpus_per_worker=self.gpus_per_worker,
            image_s=self.image_seconds,
        )


_OPTIONS = (
    bundle_option,
    click.option(
        "--model",
        metavar="M",
        help="Instead of --bundle: a model's name, a checkpoint, or a folder of `samedge distill`, "
        "exported for this machine first.",
    ),
    backend_option,
    device_option,
    range_option,
    click.option(
        "-o",
        "--output",
        "output_path",
        type=click.Path(path_type=Path),
        metavar="PATH",
        default=Path("annotations"),
        show_default=True,
        help="Folder for the annotations, and for what is needed to go on after an interruption.",
    ),
    click.option(
        "--format",
        "file_format",
        type=OneOf("format", FORMATS),
        metavar="FORMAT",
        default="coco",
        show_default=True,
        help="What to write; any format of annotations.",
    ),
    count_option(
        "--points-per-side",
        most=256,
        text="Clicks along each side of the grid.  [default: the bundle's]",
    ),
    share_option("--predicted-iou", text="Leave out masks that the model rates lower."),
    share_option("--stability", text="Leave out masks that change more with the threshold."),
    click.option(
        "--crop-layers", type=click.IntRange(0, 4), metavar="N", help="Look at crops too."
    ),
    tiles_option,
    overlap_option,
    click.option(
        "--min-area",
        type=click.IntRange(0),
        default=0,
        metavar="PX",
        help="Leave out smaller masks.",
    ),
    count_option(
        "--every", text="Take every Nth frame of the videos in DIR instead of the photos."
    ),
    click.option(
        "--engine",
        type=OneOf("engine", ENGINES),
        metavar="local|ray",
        default="local",
        show_default=True,
        help="Processes of this machine, or actors of a Ray cluster.",
    ),
    count_option("--workers", text="Processes or actors.  [default: one a core; one on a GPU]"),
    seconds_option(
        "--image-seconds",
        default=600,
        text="Stop a process that takes longer for one image, or tile, and list the image.",
    ),
    count_option(
        "--threads",
        text="Of each worker, or of the page's model.  [default: 1; on the page all cores]",
    ),
    click.option(
        "--gpus-per-worker",
        type=click.FloatRange(0),
        default=0.0,
        metavar="SHARE",
        help="That a cluster reserves for each actor.",
    ),
    count_option("--shard-images", default=20_000, text="Most images of one annotation file."),
    click.option(
        "--restart",
        is_flag=True,
        help="Forget what an earlier run left in the folder.",
    ),
)


annotate_options = gathered(AnnotateRun, _OPTIONS)
"""What ``samedge annotate`` is given, as its argument ``run``."""
