"""A picture sent as a form (``multipart/form-data``), as ``curl -F`` and pages send it.

The form is in memory already, bounded and in time as every body: finding one file in it takes a
search for the boundary, and no parser that spools parts to the disk.

Source: RFC 7578, and RFC 2046, section 5.1.
"""

from __future__ import annotations

import re

from samedge.web.server.failures import MalformedError

FORM = "multipart/form-data"

_MOST_PARTS = 32
_HEAD_BYTES = 1 << 14
_LETTER = r"[0-9A-Za-z'()+_,./:=? -]"
_BOUNDARY = re.compile(rf';\s*boundary=(?:"({_LETTER}{{1,70}})"|([^\s;"]{{1,70}}))', re.IGNORECASE)
_FILE_NAME = re.compile(
    rb"^content-disposition:.*;[ \t]*filename\*?=", re.IGNORECASE | re.MULTILINE
)
_BLANK_LINE = b"\r\n\r\n"
_LINE = "curl -F image=@photo.jpg, or the file's bytes alone: curl --data-binary @photo.jpg"


def media_type(content_type: str) -> str:
    """The media type of a ``Content-Type``, without its parameters, in small letters."""
    return content_type.partition(";")[0].strip().lower()


def file_in_form(data: bytes, *, content_type: str) -> bytes:
    """The one file of a form, whatever its field is called; other fields are passed over.

    Args:
        data: the whole body.
        content_type: of the request, which names the boundary.

    Raises:
        MalformedError: it is no form, or holds no file, or several.
    """
    files = [part for part in _parts(data, _boundary(content_type)) if part is not None]
    if len(files) != 1:
        raise MalformedError(
            f"The form holds {len(files) or 'no'} file{'s' if files else ''}, expected one: send "
            f"{_LINE}."
        )
    return files[0]


def _boundary(content_type: str) -> bytes:
    found = _BOUNDARY.search(content_type)
    boundary = (found[1] or found[2]) if found else ""
    if not boundary.strip() or not boundary.isascii():
        raise MalformedError(
            f"Content-Type is {content_type!r:.120}, expected a boundary of 1 to 70 letters and "
            f"digits: leave it to what sends the form, or send {_LINE}."
        )
    return boundary.encode()


def _parts(data: bytes, boundary: bytes) -> list[bytes | None]:
    """Each part's file, ``None`` for a field that is none."""
    _, *parts = (b"\r\n" + data).split(b"\r\n--" + boundary, _MOST_PARTS + 1)
    if not parts or not parts[-1].startswith(b"--"):
        raise MalformedError(
            f"The form does not end within {_MOST_PARTS} parts with its boundary: send it whole, "
            f"or send {_LINE}."
        )
    return [_file(part) for part in parts[:-1]]


def _file(part: bytes) -> bytes | None:
    end = part.find(_BLANK_LINE, 0, _HEAD_BYTES)
    if end < 0:
        raise MalformedError(f"A part of the form has no head: send {_LINE}.")
    is_file = _FILE_NAME.search(part, 0, end)
    return part[end + len(_BLANK_LINE) :] if is_file else None
