"""``samedge camera``: follow objects live; the newest frame wins."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from samedge.cli import output
from samedge.cli.follow_options import (
    ASK_EVERY,
    FollowRun,
    follow_options,
    progress_remark,
    report,
    tracker,
)

if TYPE_CHECKING:
    from samedge.live.recording import Watcher

EPILOG = """\b
Examples:
  samedge camera 0 --box 200,120,440,400
  samedge camera rtsp://camera/stream --point 320,240 --page 8080 -o seen.jsonl
  samedge camera 'gst:nvarguscamerasrc ! nvvidconv ! video/x-raw,width=1280' --point 640,360
  samedge camera drive.mp4 --box 410,180,520,260 --max-age 100ms --seconds 30 --json
"""


@click.command("camera", epilog=EPILOG)
@click.argument("source")
@follow_options
@click.option(
    "--page",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Show the overlay on a page at this port of 127.0.0.1; 0 takes a free one.",
)
@click.option(
    "--window/--no-window",
    default=None,
    help="Show the overlay in a window. [default: where there is a display, no page and no output]",
)
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), metavar="S", help="Stop after so long."
)
@ASK_EVERY
@output.standard_options
def camera(
    out: output.Output,
    *,
    run: FollowRun,
    page: int | None,
    window: bool | None,
    seconds: float | None,
    ask_every: int,
) -> None:
    """Follow objects in a camera, a stream, or a recording at its own pace.

    SOURCE is a camera's number, an address, a GStreamer pipeline, a file or a folder. Frames that
    come while one is worked on are dropped and counted. A source that fails is opened again.
    Closing the window or Ctrl-C ends it, and finishes the files.
    """
    from samedge.live.camera import Camera
    from samedge.live.recording import record
    from samedge.tracking.settings import TrackerSettings

    prompts, outputs = run.prompts(), run.outputs()
    with contextlib.ExitStack() as stack:
        predictor = stack.enter_context(run.open())
        predictor.load()  # before the first frame, which would wait for it
        watchers = _watchers(stack, out, run, page=page, window=window)
        source = stack.enter_context(
            Camera(
                run.source,
                drop=True,
                every=run.every,
                max_age_ms=run.max_age,
                target_fps=run.target_fps,
                on_event=lambda event: out.note(f"{event.message}."),
            )
        )
        advance = stack.enter_context(out.progress("Following"))
        result = record(
            source,
            tracker(predictor, settings=TrackerSettings(ask_every=ask_every)),
            prompts=prompts,
            outputs=outputs,
            watchers=watchers,
            seconds=seconds,
            on_frame=lambda followed: advance(note=progress_remark(source, followed)),
        )
        report(out, predictor, record=result, is_unseen=not (outputs or watchers))


def _watchers(
    stack: contextlib.ExitStack,
    out: output.Output,
    run: FollowRun,
    *,
    page: int | None,
    window: bool | None,
) -> list[Watcher]:
    """The page and the window, where they are wanted."""
    from samedge.live.page import serving
    from samedge.live.window import has_display, showing

    watchers: list[Watcher] = []
    if page is not None:
        shown = stack.enter_context(serving(page))
        out.note(f"the overlay is at {shown.address}")
        watchers.append(shown.show)
    lone = page is None and not run.output_paths and not out.json
    if window or (window is None and lone and has_display()):
        watchers.append(stack.enter_context(showing(f"samedge: {run.source}")).show)
    return watchers


COMMAND = camera
