"""samedge against its peers on this machine: one command, its own environments.

    python benchmarks/peers/compare.py -o benchmarks/results/peers.json

makes the environments and files under ``build/peers``, runs every subject in fresh processes and
interleaved rounds, and writes the document. ``--only`` runs single steps, so that a long comparison
can be done in pieces; every piece is interleaved over all its subjects, and the document is made
of all pieces:

    ... --only prepare                        environments, weights, graphs, bundles
    ... --only check                          do all compute the same embedding?
    ... --only rounds --family mobile-sam     latency, start and memory of one family (and ours)
    ... --only everything --family mobile-sam the 1,024 clicks
    ... --only limits                         our encoders against matrix products
    ... --only sizes                          installed bytes
    ... --only document

On a machine that is busy with other things, ``--clock cpu`` runs every subject on one thread and
counts the processor time of its process, which is what the wall clock would show were it alone.

``--forget`` drops earlier measurements. ``--match`` takes only subjects whose name has the text.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parent))

import prepare
import rounds
import sizes
import summary
from subjects import FAMILIES, SUBJECTS, PeerSubject

from samedge._version import __version__
from samedge.files.lines import created_now
from samedge.machine.disturbance import Watch
from samedge.machine.environment import environment

STEPS = ("prepare", "check", "rounds", "everything", "limits", "sizes", "document")
COUNTS = {
    "mobile-sam": {"encode": 2, "decode": 6, "decode16": 1},
    "vit-b": {"encode": 1, "decode": 4, "decode16": 1},
}
ROUNDS = {
    "rounds": {"mobile-sam": 6, "vit-b": 5},
    "everything": {"mobile-sam": 3, "vit-b": 3},
}
LIMITS_S = 120


def main() -> None:
    arguments = options()
    arguments.work.mkdir(parents=True, exist_ok=True)
    notes = Notes(arguments.work / "measured")
    if arguments.forget:
        notes.forget()
    for step in [arguments.only] if arguments.only else STEPS:
        STEP[step](arguments, notes)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--work", type=Path, default=Path("build/peers"))
    parser.add_argument("--only", choices=STEPS)
    parser.add_argument("--family", choices=FAMILIES)
    parser.add_argument("--match", default="")
    parser.add_argument("--rounds", type=int, help="instead of the family's own number")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--note", action="append", default=[], help="kept in the document")
    parser.add_argument("--forget", action="store_true")
    arguments = parser.parse_args()
    arguments.work = arguments.work.resolve()
    return arguments


class Notes:
    """What the steps measured, one JSON file a step or block, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def forget(self) -> None:
        for path in self._folder.glob("*.json"):
            path.unlink()

    def write(self, kind: str, content: Any) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        entry = {"created": stamp, "command": shlex.join(sys.argv), "content": content}
        (self._folder / f"{kind}-{stamp}.json").write_text(json.dumps(entry))

    def read(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(p.read_text()) for p in sorted(self._folder.glob(f"{kind}-*.json"))]

    def last(self, kind: str) -> Any:
        found = self.read(kind)
        return found[-1]["content"] if found else None


def do_prepare(arguments: argparse.Namespace, _notes: Notes) -> None:
    prepare.environments(arguments.work)
    prepare.files(arguments.work)


def selected(arguments: argparse.Namespace, family: str) -> list[PeerSubject]:
    """A family with our own models beside MobileSAM, as far as their files are there."""
    families = {family, "nano", "pico"} if family == "mobile-sam" else {family}
    rows = [r for r in SUBJECTS if r.family in families and arguments.match in r.name]
    return rounds.present(rows, arguments.work)


def do_check(arguments: argparse.Namespace, notes: Notes) -> None:
    import numpy as np

    found: dict[str, Any] = {}
    for family in FAMILIES:
        arrays = {}
        for row in (r for r in selected(arguments, family) if r.family == family):
            path = arguments.work / "embedding.npy"
            result = rounds.turn(row, arguments.work, counts={}, embedding=path)
            arrays[row.name] = None if "error" in result else np.load(path).ravel()
            print(f"check: {row.name}: {result.get('error', 'done')}", flush=True)
        reference = next((a for n, a in arrays.items() if a is not None and "torch" in n), None)
        for name, array in arrays.items():
            if array is not None and reference is not None:
                norms = np.linalg.norm(array) * np.linalg.norm(reference)
                found[name] = round(float(array @ reference / norms), 5)
                print(f"check: {name}: cosine with torch {found[name]}", flush=True)
    notes.write("check", found)


def do_rounds(arguments: argparse.Namespace, notes: Notes) -> None:
    measure(arguments, notes, "rounds", {})


def do_everything(arguments: argparse.Namespace, notes: Notes) -> None:
    measure(arguments, notes, "everything", {"everything": 1})


def measure(arguments: argparse.Namespace, notes: Notes, kind: str, counts: dict[str, int]) -> None:
    for family in [arguments.family] if arguments.family else FAMILIES:
        subjects = selected(arguments, family)
        rounds.warm(subjects, arguments.work, clock=arguments.clock)
        done = len(notes.read(f"{kind}-{arguments.clock}"))
        for index in range(done, done + (arguments.rounds or ROUNDS[kind][family])):
            watch = Watch()
            turns = rounds.one_round(
                subjects,
                arguments.work,
                index=index,
                counts=counts or COUNTS[family],
                clock=arguments.clock,
                cold_too=not counts,
            )
            found = {"family": family, "turns": turns, "warnings": watch.warnings([])}
            notes.write(f"{kind}-{arguments.clock}", found)


def do_limits(arguments: argparse.Namespace, notes: Notes) -> None:
    command = [sys.executable, str(Path(__file__).parents[1] / "limits.py"), "peers"]
    done = subprocess.run(
        [*command, str(arguments.work), str(LIMITS_S)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    notes.write("limits", json.loads(done.stdout.splitlines()[-1]))


def do_sizes(arguments: argparse.Namespace, notes: Notes) -> None:
    found = sizes.measured(arguments.work)
    for name, row in found.items():
        print(f"{name}: {row['bytes']} bytes", flush=True)
    notes.write("sizes", found)


def do_document(arguments: argparse.Namespace, notes: Notes) -> None:
    blocks = [
        block
        for kind in ("rounds", "everything")
        for block in notes.read(f"{kind}-{arguments.clock}")
    ]
    turns = [
        {**counted(turn), "round": f"{block['content']['family']} {block['created']}"}
        for block in blocks
        for turn in block["content"]["turns"]
    ]
    installed = notes.last("sizes")
    document = {
        "benchmark": "peers",
        "created": created_now(),
        "samedge_version": __version__,
        "environment": msgspec.to_builtins(environment()),
        "packages": prepare.versions(arguments.work),
        "notes": arguments.note,
        "clock": arguments.clock,
        "threads": 1 if arguments.clock == "cpu" else "default",
        "photo": {"width": 1920, "height": 1080, "format": "JPEG"},
        "rounds": [
            {
                "created": block["created"],
                "command": block["command"],
                "family": block["content"]["family"],
                "warnings": block["content"]["warnings"],
            }
            for block in blocks
        ],
        "embedding_cosine_to_torch": notes.last("check"),
        "subjects": [{**row, **files_of(row["name"], arguments)} for row in summary.rows(turns)],
        "limits": notes.last("limits"),
        "installed": installed,
        "bars": summary.bars(turns, installed or {}),
    }
    print(json.dumps(document["bars"], indent=1))
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


def counted(turn: dict[str, Any]) -> dict[str, Any]:
    """What counts of a turn: starts in the minutes between the grids of clicks are no round."""
    if "everything_ms" not in turn:
        return turn
    return {key: turn[key] for key in ("name", "everything_ms")}


def files_of(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Bytes of a subject's own files, and the bundle's identity."""
    row = next(row for row in SUBJECTS if row.name == name)
    folder = arguments.work / "files" / row.files
    if row.options.get("encoder"):
        return {"model_bytes": sum((folder / row.options[r]).stat().st_size for r in row.options)}
    found: dict[str, Any] = {"model_bytes": sizes.bytes_of(folder.resolve())}
    if row.is_ours:
        found["bundle"] = json.loads((folder / "bundle.json").read_text())["id"]
    return found


STEP = {
    "prepare": do_prepare,
    "check": do_check,
    "rounds": do_rounds,
    "everything": do_everything,
    "limits": do_limits,
    "sizes": do_sizes,
    "document": do_document,
}

if __name__ == "__main__":
    main()
