"""Records as files: written with their head, read by their schema."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from samedge._version import __version__
from samedge.errors import DatasetError
from samedge.files.json_text import builtins_from, json_text
from samedge.files.lines import created_now
from samedge.files.reading import read_bytes
from samedge.files.writing import write_text
from samedge.records.accuracy import EVAL_SCHEMA, EvalRecord
from samedge.records.export import EXPORT_SCHEMA, ExportFigures, ExportRecord
from samedge.records.latency import BENCH_SCHEMA, BenchRecord

Record = EvalRecord | BenchRecord | ExportRecord

_STRUCTS: dict[str, type[EvalRecord] | type[BenchRecord] | type[ExportRecord]] = {
    EVAL_SCHEMA: EvalRecord,
    BENCH_SCHEMA: BenchRecord,
    EXPORT_SCHEMA: ExportRecord,
}
_HEAD = ("schema", "samedge_version", "created")


def fields(record: Record) -> dict[str, object]:
    """A record's JSON fields without its head, as the command line's output takes them."""
    document: dict[str, object] = builtins_from(record)
    return {name: value for name, value in document.items() if name not in _HEAD}


def write(record: Record, path: Path) -> None:
    """Write a record as JSON, with its head.

    Raises:
        WriteError: the file cannot be written.
    """
    head = {"schema": record.schema, "samedge_version": __version__, "created": created_now()}
    write_text(path, json_text(head | fields(record), indent=1) + "\n")


def read(path: Path) -> Record:
    """Read a record of any kind.

    Raises:
        DatasetError: not a record, or one of an unknown schema.
    """
    data = read_bytes(path, limit="document_bytes", expected="a record", error=DatasetError)
    try:
        document = json.loads(data)  # msgspec refuses the escapes of names that are no UTF-8
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{path} is not JSON ({error}): give files written by samedge."
        ) from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, str) or schema not in _STRUCTS:
        raise DatasetError(
            f"{path} has schema {schema!r}, expected one of {', '.join(_STRUCTS)}: give what "
            "`samedge eval`, `bench` or `export` wrote with --json or -o."
        )
    try:
        if schema == EXPORT_SCHEMA:
            msgspec.convert(document, ExportFigures)
        return msgspec.convert(document, _STRUCTS[schema])
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # a key of no characters
        raise DatasetError(
            f"{path} is not a whole {schema} record: {error}. Measure it again."
        ) from error
