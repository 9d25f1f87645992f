"""``samedge eval``: accuracy of bundles against COCO-format ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli import output
from samedge.cli.image_options import focus_option, range_option, refine_option
from samedge.cli.refusing import refuse_given, refuse_output

if TYPE_CHECKING:
    from samedge.pixels.sample_range import SampleRange
    from samedge.predict.focus import FocusMode

EPILOG = """\b
Examples:
  samedge eval --dataset instances.json --images photos/
  samedge eval --dataset instances.json --images photos/ --bundle out/intel --bundle baseline:box
  samedge eval --dataset instances.json --images photos/ --prompts text
  samedge eval --video DAVIS/ --bundle out/intel --bundle baseline:still --prompts box
  samedge eval --dataset instances.json --images photos/ --bundle out/cpu --backend onnxruntime \\
      --backend torch --prompts box,center,clicks:3 -o accuracy.json
  samedge eval --dataset instances.json --images photos/ --prompts box,center --focus auto
  samedge eval --dataset instances.json --images photos/ --prompts everything
"""


@click.command("eval", epilog=EPILOG)
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    metavar="JSON",
    help="Ground truth in COCO's instances format.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of its images.",
)
@click.option(
    "--video",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Videos in DAVIS's layout instead: how well objects are followed.",
)
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    metavar="DIR",
    help="A bundle, baseline:box or baseline:grabcut, or with --video baseline:still or "
    "baseline:flow; again for more. [default: embedded model]",
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="B",
    help="Library that runs the bundles; again for more. [default: each bundle's own]",
)
@click.option("--device", metavar="D", help="Device of that library, such as cpu, GPU or NPU.")
@click.option(
    "--prompts",
    metavar="LIST",
    help="Any of box, center, clicks:N and everything, or with --video of mask, box and click, "
    "separated by commas; or text alone. [default: box,center; mask,box,click]",
)
@click.option(
    "--ask-every",
    type=click.IntRange(1),
    metavar="N",
    help="With --video: ask the model in one frame of N. [default: 1]",
)
@focus_option(
    "never",
    "Give small things a second look; the figures are then those of box+focus and so on, never of "
    "box.",
)
@refine_option("0 with --focus never, else 1")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Only the first N images or videos."
)
@range_option
@click.option("--instances", is_flag=True, help="Put every instance's scores into the record.")
@output.record_option("-o", "--output", "output_path")
@output.standard_options
def eval_(
    out: output.Output,
    *,
    dataset: Path | None,
    images: Path | None,
    video: Path | None,
    bundles: tuple[str, ...],
    backends: tuple[str, ...],
    device: str | None,
    prompts: str | None,
    ask_every: int | None,
    focus: FocusMode,
    refine: int | None,
    sample_range: SampleRange,
    limit: int | None,
    instances: bool,
    output_path: Path | None,
) -> None:
    """Measure how well masks fit the ground truth, by the protocol of docs/accuracy-protocol.md.

    One prompt an instance, class-agnostic, masks at the images' original size; several bundles and
    backends are compared on the very same prompts. An image that cannot be read is listed at the
    end, and does not count.
    """
    _refuse_lost(video, prompts or "box,center")
    refuse_output(output_path)
    if video is not None:
        from samedge.cli.eval_video import eval_video

        eval_video(
            out,
            video,
            bundles=bundles,
            backends=backends,
            device=device,
            prompts=prompts,
            ask_every=ask_every or 1,
            refine=refine or 0,
            limit=limit,
            output_path=output_path,
        )
        return
    if dataset is None or images is None:
        raise click.UsageError("Give --dataset and --images, or --video.")
    from samedge.cli.eval_photos import EvalRequest, eval_photos
    from samedge.cli.eval_words import eval_words

    request = EvalRequest(
        dataset=dataset,
        images=images,
        bundles=bundles,
        backends=backends,
        device=device,
        prompts=prompts or "box,center",
        focus=focus,
        refine=refine,
        sample_range=sample_range,
        limit=limit,
        instances=instances,
        output_path=output_path,
    )
    if prompts == "text":
        eval_words(out, request)
    else:
        eval_photos(out, request)


def _refuse_lost(video: Path | None, prompts: str) -> None:
    """Say which options mean nothing with what is measured, instead of losing them."""
    if video is not None:
        refuse_given("--video", *("dataset", "images", "instances", "focus", "sample_range"))
        return
    refuse_given("A dataset of photos", "ask_every")
    kinds = {name.strip() for name in prompts.split(",")}
    if "text" in kinds and len(kinds) > 1:
        raise click.UsageError(
            f"--prompts {prompts}: words are measured alone; give text in a run of its own."
        )
    if kinds <= {"text", "everything"}:
        refuse_given(f"--prompts {prompts}", "instances")
    if "box" not in kinds or "everything" in kinds:
        refuse_given(f"--prompts {prompts}", "refine")


COMMAND = eval_
