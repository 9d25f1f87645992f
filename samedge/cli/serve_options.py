"""Options of ``samedge serve``: where it listens, whom it answers and how much it takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli.gathering import gathered
from samedge.cli.number_options import count_option, seconds_option

if TYPE_CHECKING:
    from samedge.web.server.settings import ServeSettings

_MIB = 1 << 20
_LEAST_IN_FLIGHT_MIB = 512


@dataclasses.dataclass(frozen=True)
class ServerRun:
    """The server that was asked for; the fields are the options."""

    host: str
    port: int
    token: str | None
    roots: tuple[Path, ...]
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    queue: int
    images: int
    keep_mib: int
    keep_seconds: float
    max_body: int
    request_seconds: float

    def settings(self) -> ServeSettings:
        """The settings of the server.

        Raises:
            OptionError: they contradict one another.
        """
        from samedge.web.server.settings import ServeSettings

        return ServeSettings(
            host=self.host,
            port=self.port,
            token=self.token,
            roots=self.roots,
            allowed_hosts=self.allowed_hosts,
            allowed_origins=self.allowed_origins,
            queue=self.queue,
            images=self.images,
            kept_bytes=self.keep_mib * _MIB,
            keep_s=self.keep_seconds,
            body_bytes=self.max_body * _MIB,
            in_flight_bytes=max(_LEAST_IN_FLIGHT_MIB, 2 * self.max_body) * _MIB,
            request_s=self.request_seconds,
        )


_OPTIONS = (
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        metavar="ADDRESS",
        help="Listen at this address of the machine; 0.0.0.0 is all of them.",
    ),
    click.option(
        "--port",
        metavar="PORT",
        type=click.IntRange(0, 65535),
        default=8188,
        show_default=True,
        help="0 takes a free one.",
    ),
    click.option(
        "--token",
        metavar="WORD",
        envvar="SAMEDGE_TOKEN",
        show_envvar=True,
        help="What callers must show; other addresses than loopback need one.",
    ),
    click.option(
        "--root",
        "roots",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Images below it may be named by path. Repeats.",
    ),
    click.option(
        "--allow-host",
        "allowed_hosts",
        multiple=True,
        metavar="NAME",
        help="Also answer as NAME. Repeats.",
    ),
    click.option(
        "--allow-origin",
        "allowed_origins",
        multiple=True,
        metavar="URL",
        help="Let pages of this address call. Repeats.",
    ),
    count_option(
        "--queue",
        default=64,
        text="Requests that may wait for the model; more are answered with 429.",
    ),
    count_option(
        "--keep",
        "images",
        default=64,
        text="Encoded images that are kept for further prompts.",
    ),
    count_option("--keep-mib", default=1024, unit="MIB", text="Memory that they may take."),
    seconds_option("--keep-seconds", default=900, text="How long they are kept unused."),
    count_option("--max-body", default=64, unit="MIB", text="Most of one request."),
    seconds_option("--request-seconds", default=120, text="Until an answer has to be there."),
)


serve_options = gathered(ServerRun, _OPTIONS)
"""The options of a server, as a command's argument ``run``."""
