"""Coverage-guided fuzzing of what reads files, by atheris, where that installs.

    python -m tests.fuzz.coverage_guided manifest -max_total_time=60

``make fuzz`` runs every reader for ten seconds. Whatever is no ``SamedgeError``, takes ten seconds
or a gigabyte ends the run, with the input in a ``crash-*`` file, which goes into the tests. Options
after the name are libFuzzer's. atheris has wheels for CPython 3.11 to 3.13 on Linux x86-64.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

import samedge

with atheris.instrument_imports(include=["samedge"]):
    from samedge.bundle.bundle import Bundle, embedded_path
    from samedge.bundle.reading import decode_manifest
    from samedge.errors import SamedgeError
    from samedge.formats.annotation_file import read_annotations
    from samedge.pixels.images import load_image
    from samedge.pixels.rle import mask_from_rle
    from samedge.records import read as read_record

_FOLDER = Path(tempfile.mkdtemp(prefix="samedge-fuzz-"))


def _of_file(read: Callable[[Path], object], name: str) -> Callable[[bytes], object]:
    path = _FOLDER / name

    def reader(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return reader


def _rle(data: bytes) -> object:
    height, width = data[0:1].hex() or "1", data[1:2].hex() or "1"
    size = [int(height, 16), int(width, 16)]
    return mask_from_rle({"size": size, "counts": data[2:].decode("latin-1")})


READERS: dict[str, Callable[[bytes], object]] = {
    "manifest": lambda data: decode_manifest(data, Path("bundle.json")),
    "archive": _of_file(Bundle.open, "x.samedge"),
    "annotations": _of_file(read_annotations, "x.json"),
    "record": _of_file(read_record, "x.json"),
    "image": load_image,
    "rle": _rle,
}


def _seeds(reader: str) -> list[bytes]:
    """Sound inputs to begin from."""
    photos = Path(samedge.__file__).parent / "data" / "photos"
    sound = {
        "manifest": (embedded_path() / "bundle.json").read_bytes(),
        "annotations": (photos / "instances.json").read_bytes()[:20_000],
        "record": json.dumps({"schema": "samedge.eval/1", "results": []}).encode(),
        "rle": b"\x08\x08" + b"0@",
    }
    return [sound[reader]] if reader in sound else []


def main() -> None:
    """Fuzz the reader that the command line names."""
    name = sys.argv.pop(1)
    read = READERS[name]
    corpus = _FOLDER / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(_seeds(name)):
        (corpus / str(number)).write_bytes(seed)

    def one(data: bytes) -> None:
        with contextlib.suppress(SamedgeError):
            read(data)

    atheris.Setup([*sys.argv, "-timeout=10", "-rss_limit_mb=1024", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
