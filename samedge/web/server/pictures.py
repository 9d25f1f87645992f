"""Images inside of JSON: base64, with or without ``data:image/...;base64,`` before it."""

from __future__ import annotations

import base64
import binascii

from samedge.web.server.failures import MalformedError


def bytes_from_uri(text: str) -> bytes:
    """The file in a data URI or in plain base64.

    Raises:
        MalformedError: neither.
    """
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise MalformedError("A data URI has to be base64: data:image/png;base64,...")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(f"The image is no base64 ({error}): encode its file.") from error
