"""What stands around a report's figures: machines, commands, and what speaks against them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from samedge.report.overview import Overview


def warnings(overview: Overview) -> list[str]:
    """What speaks against the figures."""
    return [
        f"{source}: {warning}" for source, record in overview.benches for warning in record.warnings
    ]


def commands(overview: Overview) -> list[tuple[str, str]]:
    """The exact commands that made the records, each with its record's file."""
    found = [(source, record.command) for source, record in overview.exports]
    found += [(source, record.command) for source, record in overview.evaluations]
    found += [(source, record.command) for source, record in overview.benches]
    return [(source, command) for source, command in found if command]


def machine_facts(overview: Overview) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each machine's name with what is known of it."""
    return [(m.name, list(_facts(m.environment))) for m in overview.machines]


def _facts(env: object) -> Iterator[tuple[str, str]]:
    for field in getattr(env, "__struct_fields__", ()):
        value = getattr(env, field)
        if value in (None, [], {}):
            continue
        if field == "memory_bytes":
            yield "memory", f"{value / 2**30:.1f} GiB"
        elif field == "gpus":
            yield "gpus", "; ".join(f"{g.name}, driver {g.driver or '–'}" for g in value)
        elif field == "isa":
            yield "instruction sets", ", ".join(value)
        elif isinstance(value, dict | msgspec.Struct):
            plain = msgspec.to_builtins(value)
            known = {key: item for key, item in plain.items() if item is not None}
            if known:
                yield field, ", ".join(f"{key} {_plain(item)}" for key, item in known.items())
        elif isinstance(value, list):
            yield field, ", ".join(map(str, value))
        else:
            yield field.replace("_", " "), _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {item}" for key, item in value.items()) + ")"
    return str(value)
