"""Errors of listening on an address of this machine, which the system does not name by itself."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from samedge.errors import OptionError


@contextlib.contextmanager
def address_named(host: str, port: int) -> Iterator[None]:
    """Say of what the system refuses which address it is, and what to do.

    Args:
        host: that is listened on.
        port: of it.

    Raises:
        OptionError: the port is taken or forbidden, or the address is none of this machine's.
    """
    try:
        yield
    except OSError as error:
        told = f"{error.strerror or error}"
        if error.errno == errno.EADDRNOTAVAIL:
            raise OptionError(
                f"{host} cannot be listened on ({told}): name an address of this machine."
            ) from error
        raise OptionError(
            f"Port {port} of {host} cannot be used ({told}): give another port; 0 takes a free one."
        ) from error
