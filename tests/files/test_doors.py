"""Files of others are opened, and files of ours written, by the functions made for it alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tools import house

PLAIN_WRITERS = {
    "samedge._cache": "what `replacing` gave",
    "samedge.bundle._archive": "unpacked into a private folder, which is committed whole",
    "samedge.bundle.writer": "a bundle's folder before it is committed",
    "samedge.cli.output": "standard output",
    "samedge.distill.run_log": "a row of a log at its end",
    "samedge.export._pt2": "a bundle's folder before it is committed",
    "samedge.export._tensorrt": "a bundle's folder before it is committed",
    "samedge.export.base": "a bundle's folder before it is committed",
    "samedge.export.staging": "a bundle's folder before it is committed",
    "samedge.formats._npz": "what `replacing` gave",
    "samedge.formats.documents": "what `replacing` gave",
    "samedge.live.sinks._jsonl": "lines that are read while they are written",
    "samedge.live.sinks._video": "what `replacing` gave",
    "samedge.live.sources._file": "an example, in a temporary folder",
    "samedge.live.sources._folder": "an example, in a temporary folder",
    "samedge.models.download": "a part that is hashed before it is put in place",
    "samedge.runtimes._null": "an example, in a temporary folder",
    "samedge.runtimes.tensorrt.build": "the job of a child, in a temporary folder",
    "samedge.runtimes.tensorrt.builder": "the child's answer, in the same folder",
    "samedge.web.runtime": "a package, unpacked into a private folder",
    "samedge.web.site": "a bundle's folder before it is committed",
}
"""Modules outside `samedge.files` that write a file themselves, and why it cannot be torn there."""

OPENERS_OF_PICTURES = {
    "samedge.distill.resident.store": "bytes of a store that it made",
    "samedge.pixels.deep_colours": "bytes that the door has let in",
    "samedge.pixels.picture_files": "the door: bounded, no pipes, its errors ours",
    "samedge.pixels.tiff_directories": "the same, of a TIFF described anew",
}
"""Modules that call Pillow's `Image.open`."""

_WRITING = re.compile(r"(?:[wxa][bt+]{0,2}|r[bt]?\+[bt]?)$")


def _calls(package: Path) -> Iterator[tuple[str, ast.Call]]:
    for module in house.modules(package):
        for node in house.walk(module.tree):
            if isinstance(node, ast.Call):
                yield module.name, node


def plain_writers(package: Path) -> set[str]:
    """Modules that write by `Path.write_text`, `Path.write_bytes` or an open file."""
    return {
        name
        for name, call in _calls(package)
        if _writes(call) and not name.startswith("samedge.files.")
    }


def _writes(call: ast.Call) -> bool:
    called = call.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    if name in ("write_text", "write_bytes"):
        return isinstance(called, ast.Attribute)
    words = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    found = (part for word in words for part in ast.walk(word) if isinstance(part, ast.Constant))
    modes = [constant.value for constant in found if isinstance(constant.value, str)]
    return name == "open" and any(_WRITING.match(mode) for mode in modes)


def openers_of_pictures(package: Path) -> set[str]:
    """Modules that call `Image.open`."""
    return {
        name
        for name, call in _calls(package)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "open"
        and ast.unparse(call.func) == "Image.open"
    }


def test_files_are_written_by_one_function() -> None:
    assert plain_writers(house.PACKAGE) == set(PLAIN_WRITERS)


def test_pictures_are_opened_by_one_function() -> None:
    assert openers_of_pictures(house.PACKAGE) == set(OPENERS_OF_PICTURES)


def test_another_door_would_be_found(tmp_path: Path) -> None:
    """Positive control."""
    package = tmp_path / "samedge"
    package.mkdir()
    for number, line in enumerate(
        (
            "path.write_text('x')",
            "path.write_bytes(b'')",
            "path.open('w', newline='')",
            "open(path, mode='ab')",
            "path.open('r+b' if start else 'wb')",
            "write_text(path, 'x')",  # the shared one
            "path.open()",
            "open(path, 'rb')",
        )
    ):
        (package / f"m{number}.py").write_text(line)
    (package / "p.py").write_text("from PIL import Image\nImage.open(path)")
    assert plain_writers(package) == {f"samedge.m{number}" for number in range(5)}
    assert openers_of_pictures(package) == {"samedge.p"}
