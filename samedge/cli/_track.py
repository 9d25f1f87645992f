"""``samedge track``: follow objects through a video, from prompts in its first frame."""

from __future__ import annotations

import click

from samedge.cli import output
from samedge.cli.follow_options import FollowRun, follow_options, progress_remark, report, tracker

EPILOG = """\b
Examples:
  samedge track drive.mp4 --box 410,180,520,260 -o followed.mp4
  samedge track drive.mp4 --box 410,180,520,260 --box 80,90,200,300 -o masks/ -o masks.jsonl
  samedge track frames/ --point 320,240 -o objects.json --format coco
  samedge track drive.mp4 --point 320,240 --every 2 --json
  samedge track drive.mp4 --text car -o followed.mp4
"""


@click.command("track", epilog=EPILOG)
@click.argument("source", metavar="VIDEO")
@follow_options
@output.standard_options
def track(out: output.Output, *, run: FollowRun) -> None:
    """Follow objects through a recording, every frame of it.

    VIDEO is a video file or a folder of pictures. Boxes are one object each, all points together
    are one, in pixels of the first frame. Ctrl-C finishes the files.
    """
    from samedge.live.camera import Camera
    from samedge.live.recording import record

    prompts, outputs = run.prompts(), run.outputs()
    with (
        Camera(
            run.source,
            drop=False,
            every=run.every,
            max_age_ms=run.max_age,
            target_fps=run.target_fps,
        ) as camera,
        run.open() as predictor,
        out.progress("Following") as advance,
    ):
        result = record(
            camera,
            tracker(predictor),
            prompts=prompts,
            outputs=outputs,
            on_frame=lambda followed: advance(note=progress_remark(camera, followed)),
        )
        report(out, predictor, record=result, is_unseen=not outputs)


COMMAND = track
