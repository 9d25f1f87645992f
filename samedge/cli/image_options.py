"""What the commands that segment images are given: the images, and what runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

_OPTIONS = (
    click.argument(
        "images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path)
    ),
    click.option(
        "--bundle",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="An exported bundle. [default: the embedded model]",
    ),
    click.option(
        "--backend", metavar="B", help="Library that runs it. [default: the best one here]"
    ),
    click.option("--device", metavar="D", help="Device of that library, such as cpu, GPU or NPU."),
)


def images_and_bundle(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the argument ``IMAGE...`` and ``--bundle``, ``--backend``, ``--device``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
