"""Options of the page of ``samedge annotate``, and of what its rounds are measured on."""

from __future__ import annotations

import dataclasses
import getpass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli.gathering import gathered
from samedge.cli.name_types import OneOf
from samedge.cli.number_options import count_option

if TYPE_CHECKING:
    from samedge.annotate.desk.queue import Order

_ORDERS: tuple[Order, ...] = ("rank", "name")


@dataclasses.dataclass(frozen=True)
class DeskRun:
    """The page that was asked for; the fields are the options."""

    port: int
    opens: bool
    annotator: str | None
    categories: str
    most_proposals: int
    order: Order
    truth: Path | None
    truth_images: Path | None
    truth_limit: int

    @property
    def who(self) -> str:
        """Who works here: as told, or the name that the system knows."""
        if self.annotator:
            return self.annotator
        try:
            return getpass.getuser()
        except (KeyError, OSError, ImportError):  # a container without a name for its user
            return "somebody"

    @property
    def category_names(self) -> tuple[str, ...]:
        """The categories, in the order of their keys."""
        return tuple(name.strip() for name in self.categories.split(",") if name.strip())


_OPTIONS = (
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=8189,
        show_default=True,
        metavar="PORT",
        help="Of the page, on 127.0.0.1; 0 takes a free one.",
    ),
    click.option("--open", "opens", is_flag=True, help="Open the page in the browser."),
    click.option(
        "--annotator", metavar="NAME", help="Who works at the page. [default: your login name]"
    ),
    click.option(
        "--categories",
        metavar="A,B,...",
        default="",
        help="Categories of the page, for the keys 1 to 9; the page can add more.",
    ),
    count_option(
        "--most-proposals",
        default=40,
        text="Masks that the page proposes in a photo, the best ranked ones.",
    ),
    click.option(
        "--order",
        type=OneOf("order", _ORDERS),
        metavar="rank|name",
        default="rank",
        show_default=True,
        help="Photos of the page: those first that the model is least sure of, or by name.",
    ),
    click.option(
        "--truth",
        type=click.Path(path_type=Path),
        metavar="JSON",
        help="COCO ground truth of other photos: the model's accuracy on it goes into the rounds.",
    ),
    click.option(
        "--truth-images",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Photos of --truth.  [default: its folder]",
    ),
    count_option("--truth-limit", default=50, text="Take the first N photos of --truth."),
)


desk_options = gathered(DeskRun, _OPTIONS, argument="desk")
"""The options of the page, as a command's argument ``desk``."""
