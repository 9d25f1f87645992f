"""XML, read as what others wrote: bounded, one element at a time, and without entities.

A document type with entities can ask for any file or all memory, and no annotation file needs one:
it is refused before anything in it is looked at.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from samedge.errors import DatasetError, SamedgeError
from samedge.files import reading

_CHUNK = 1 << 20
_DEEPEST = 100


def elements(path: Path, tag: str) -> Iterator[ET.Element]:
    """Elements of one name, each with all that is in it, in the order of the file.

    Args:
        path: the file; its size is bounded.
        tag: of the elements, without a namespace; what is around them is not kept.

    Raises:
        DatasetError: missing, too large, not XML, or with a document type.
    """
    handler = _Handler(path, tag)
    with reading.opened(
        path, limit="annotation_bytes", expected="an XML file", error=DatasetError
    ) as file:
        while chunk := file.read(_CHUNK):
            yield from handler.feed(chunk, final=False)
    yield from handler.feed(b"", final=True)


class _Handler:
    def __init__(self, path: Path, tag: str) -> None:
        self._path, self._tag = path, tag
        self._depth = 0
        self._builder: ET.TreeBuilder | None = None
        self._inside = 0
        self._found: list[ET.Element] = []
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._parser.StartDoctypeDeclHandler = self._refuse

    def feed(self, chunk: bytes, *, final: bool) -> list[ET.Element]:
        try:
            self._parser.Parse(chunk, final)
        except (expat.ExpatError, LookupError) as error:  # LookupError: an unknown encoding
            raise DatasetError(
                f"{self._path} is not XML ({error}): save or fetch the file again."
            ) from error
        found, self._found = self._found, []
        return found

    def _refuse(self, *_: object) -> None:
        raise DatasetError(
            f"{self._path} has a document type (<!DOCTYPE>), which may hold entities that take all "
            "memory: remove that line."
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise DatasetError(f"{self._path} nests more than {_DEEPEST} elements: it is damaged.")
        plain = name.rpartition(":")[2]
        if self._builder is None and plain == self._tag:
            self._builder, self._inside = ET.TreeBuilder(), 0
        if self._builder is not None:
            self._inside += 1
            self._builder.start(plain, attributes)

    def _end(self, name: str) -> None:
        self._depth -= 1
        if self._builder is not None:
            self._inside -= 1
            self._builder.end(name.rpartition(":")[2])
            if not self._inside:
                self._found.append(self._builder.close())
                self._builder = None

    def _data(self, text: str) -> None:
        if self._builder is not None:
            self._builder.data(text)


def attributes_text(**values: object) -> str:
    """Attributes of an element: ``a="1" b="2"``, safely quoted."""
    return " ".join(f"{key}={quoteattr(clean_text(str(value)))}" for key, value in values.items())


def clean_text(text: str) -> str:
    """Text without what XML cannot hold: control characters, and bytes of no encoding escaped."""
    known = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() or c in "\t\n\r" else f"\\x{ord(c):02x}" for c in known)


def number(element: ET.Element, name: str) -> float:
    """An attribute as a number.

    Raises:
        DatasetError: it is absent or no number.
    """
    value = element.get(name)
    try:
        found = float(value or "")
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise DatasetError(
            f"<{element.tag}> has {name}={value!r:.60}, expected a number: mend the file."
        )
    return found


def element_from_text(text: str, *, error: type[SamedgeError]) -> ET.Element:
    """A short document that came in a message.

    Args:
        text: the document.
        error: what to raise.

    Raises:
        SamedgeError: of the class ``error``: not XML, nested too deep, or with a document type.
    """
    builder, depth = ET.TreeBuilder(), 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise error(f"The XML is nested deeper than {_DEEPEST}: flatten it.")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(*_: object) -> None:
        raise error("The XML has a document type, which is not read: leave it out.")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError) as problem:
        raise error(f"This is no XML ({problem}): send the labelling configuration.") from problem
    return builder.close()
