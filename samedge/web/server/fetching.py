"""Images that lie on one other server, which the operator named; no other address is asked."""

from __future__ import annotations

import http.client
from urllib.parse import SplitResult, urljoin, urlsplit

from samedge.web.server.failures import ForbiddenError, NotFoundError, TooLargeError


def fetched(source: str, *, home: str, key: str | None, limit: int, seconds: float) -> bytes:
    """An image of that server. Redirections are not followed.

    Args:
        source: address of the image, or its path there.
        home: address of the server.
        key: is sent as ``Authorization: Token``.
        limit: most bytes.
        seconds: for each step of it.

    Raises:
        ForbiddenError: it lies somewhere else.
        NotFoundError: the server does not have it, or cannot be reached.
        TooLargeError: it is larger.
    """
    base = urlsplit(home)
    try:
        address = urlsplit(urljoin(f"{home.rstrip('/')}/", source))
    except ValueError as error:
        raise NotFoundError(f"{source!r:.200} is no address: {error!s:.100}.") from error
    if _place(address) != _place(base) or base.scheme not in ("http", "https"):
        raise ForbiddenError(
            f"The image {source!r:.200} does not lie on {base.netloc:.100}: only images of that "
            "server are fetched."
        )
    kind = http.client.HTTPSConnection if base.scheme == "https" else http.client.HTTPConnection
    assert base.hostname is not None
    connection = kind(base.hostname, base.port, timeout=seconds)
    path = address.path + (f"?{address.query}" if address.query else "")
    try:
        connection.request("GET", path, headers={"Authorization": f"Token {key}"} if key else {})
        answer = connection.getresponse()
        if answer.status != 200:
            raise NotFoundError(f"{source!r:.200} was answered with {answer.status}: is it there?")
        data = answer.read(limit + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotFoundError(f"{source!r:.200} cannot be fetched: {error!s:.200}.") from error
    finally:
        connection.close()
    if len(data) > limit:
        raise TooLargeError(f"The image {source!r:.200} is larger than {limit} bytes.")
    return data


def _place(address: SplitResult) -> tuple[str, str | None, int | None]:
    default = 443 if address.scheme == "https" else 80
    try:
        port = address.port
    except ValueError:
        port = -1
    return address.scheme, address.hostname, default if port is None else port
