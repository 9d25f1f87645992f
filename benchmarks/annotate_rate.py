"""Images an hour of ``samedge annotate --auto``, by processes and threads.

    python benchmarks/annotate_rate.py --settings 1x1,1x2,2x1 --rounds 3

Every setting annotates the photos of the package (``--images`` names others) with the embedded
model (``--bundle``), in rounds whose order turns, and prints seconds an image and images an hour:
medians over rounds, with the least and the most. A setting is PROCESSESxTHREADS. What a process
takes to start is in the figures: give more images than a few where that is not what is asked.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from samedge.machine.environment import usable_cores
from samedge.pixels.folder_listing import image_files
from samedge.pixels.image_files import PHOTOS


@click.command()
@click.option("--images", type=click.Path(path_type=Path, exists=True), default=PHOTOS)
@click.option("--bundle", default="samedge-nano", show_default=True)
@click.option("--settings", default="1x1,1x2,2x1", show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(images: Path, *, bundle: str, settings: str, rounds: int) -> None:
    """Measure, and print a table."""
    pairs = [(int(one.split("x")[0]), int(one.split("x")[1])) for one in settings.split(",")]
    took: dict[tuple[int, int], list[float]] = {pair: [] for pair in pairs}
    count = len(list(image_files(images)))
    for number in range(rounds):
        for place in range(len(pairs)):
            pair = pairs[(place + number) % len(pairs)]
            took[pair].append(seconds(images, bundle, *pair))
    click.echo(f"{count} images, {bundle}, {usable_cores()} cores, {rounds} rounds")
    click.echo("processes  threads  seconds an image (least to most)  images an hour")
    for (processes, threads), values in took.items():
        each = [value / count for value in values]
        middle = statistics.median(each)
        click.echo(
            f"{processes:9d}  {threads:7d}  {middle:16.2f} ({min(each):.2f} to {max(each):.2f})"
            f"  {3600 / middle:14.0f}"
        )


def seconds(images: Path, bundle: str, processes: int, threads: int) -> float:
    """How long one run takes, from the start of the command to its end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "samedge", "annotate", str(images), "--auto", "--json"]
        command += ["--bundle", bundle, "-o", folder]
        command += ["--workers", str(processes), "--threads", str(threads)]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        elapsed = time.perf_counter() - start
    if done.returncode:
        raise click.ClickException(done.stderr)
    assert not json.loads(done.stdout)["failures"]
    return elapsed


if __name__ == "__main__":
    main()
