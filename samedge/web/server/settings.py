"""What a server is told when it starts: where it listens, whom it answers, how much it takes."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec

from samedge.errors import OptionError

MIB = 1 << 20
DEFAULT_PORT = 8188


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one server; every limit has a default that suits one machine and a few people.

    Attributes:
        host: address to listen on.
        port: 0 takes a free one.
        token: what callers must show; ``None`` on loopback only.
        roots: folders below which images may be named by path.
        allowed_hosts: further names of this machine in ``Host``.
        allowed_origins: further pages, as ``https://labels.example``, that may call from a browser.
        queue: jobs that may wait for the model.
        images: embeddings that are kept.
        kept_bytes: of all kept embeddings and their pictures.
        keep_s: how long an embedding is kept after it was last asked for.
        body_bytes: of one request.
        document_bytes: of one JSON request without a picture in it.
        in_flight_bytes: of all requests that are being read or worked on.
        request_s: until an answer has to be there.
        stream_s: until a stream has to be at its end.
        header_s: until a request's head has to be there.
        body_s: until its body has to be there.
        write_s: how long a client may leave an answer unread.
        stop_s: what is in flight has so long to finish after a stop.
        connections: open at one time.

    Raises:
        OptionError: a value out of its range, or an open address without a token.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = None
    roots: tuple[Path, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    queue: int = 64
    images: int = 64
    kept_bytes: int = 1024 * MIB
    keep_s: float = 900.0
    body_bytes: int = 64 * MIB
    document_bytes: int = 8 * MIB
    in_flight_bytes: int = 512 * MIB
    request_s: float = 120.0
    stream_s: float = 600.0
    header_s: float = 10.0
    body_s: float = 60.0
    write_s: float = 30.0
    stop_s: float = 30.0
    connections: int = 512

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name != "port" and isinstance(value, int | float) and value <= 0:
                raise OptionError(f"{name} is {value}, expected more than 0.")
        if self.token is not None and not (self.token.isascii() and self.token.strip()):
            raise OptionError("The token is empty or not plain ASCII: give letters and digits.")
        if self.token is None and not is_loopback(self.host):
            raise OptionError(
                f"Other machines can reach {self.host}, so callers must show a token: give one by "
                "--token or SAMEDGE_TOKEN, or listen on 127.0.0.1."
            )
        # As browsers name a page: what a person types may end in a slash.
        origins = tuple(origin.rstrip("/").lower() for origin in self.allowed_origins)
        msgspec.structs.force_setattr(self, "allowed_origins", origins)
        for root in self.roots:
            if not root.is_dir():
                raise OptionError(f"The root {root} is not a folder: name one that exists.")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; names other than ``localhost`` do not count."""
    if host.rstrip(".").lower() == "localhost":
        return True
    address = ip_address(host)
    return address is not None and address.is_loopback


def ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address written as numbers, in brackets or not; ``None`` for a name."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
