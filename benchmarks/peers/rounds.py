"""Turns in fresh processes, in rounds whose order rotates; every result is one line of a file."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from subjects import PeerSubject

HERE = Path(__file__).parent
PHOTO_SIZE = (1920, 1080)  # width, height
LONGEST_S = 560

GRID = (4, 4)


def points() -> list[tuple[float, float]]:
    """Sixteen clicks spread over the photo; the first is the single prompt."""
    width, height = PHOTO_SIZE
    columns, rows = GRID
    return [
        ((x + 0.5) * width / columns, (y + 0.5) * height / rows)
        for y in range(rows)
        for x in range(columns)
    ]


def turn(
    subject: PeerSubject,
    work: Path,
    *,
    counts: dict[str, int],
    clock: str = "wall",
    cold: bool = False,
    embedding: Path | None = None,
) -> dict[str, Any]:
    """One fresh process; ``{"error": ...}`` where it failed.

    Args:
        counts: repetitions of each stage after the first mask.
        clock: ``wall``, or ``cpu`` for the processor time of the process on one thread.
        cold: with an empty cache of samedge's compiled graphs, as at the very first start.
        embedding: where to write the image embedding, for the check that all compute the same.
    """
    with tempfile.TemporaryDirectory() as scratch:
        plan = {
            "module": subject.module,
            "files": str(work / "files" / subject.files),
            "options": {**subject.options, "threads": 1 if clock == "cpu" else None},
            "clock": clock,
            "photo": str(work / "photo.jpg"),
            "points": points(),
            "counts": counts,
            "embedding": str(embedding) if embedding else None,
        }
        cache = Path(scratch, "cache") if cold else work / "cache"
        variables = {**os.environ, "SAMEDGE_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
        variables |= {"OMP_NUM_THREADS": "1"} if clock == "cpu" else {}
        path = Path(scratch, "plan.json")
        command = [str(python_of(subject, work)), str(HERE / "worker.py"), str(path)]
        path.write_text(json.dumps({**plan, "started": time.monotonic()}))
        try:
            done = subprocess.run(
                command, env=variables, capture_output=True, text=True, timeout=LONGEST_S
            )
        except subprocess.TimeoutExpired:
            return {"error": f"took longer than {LONGEST_S} s"}
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][-300:]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def python_of(subject: PeerSubject, work: Path) -> Path:
    if subject.is_ours:
        return Path(sys.executable)
    return work / subject.environment / "bin" / "python"


def present(subjects: Sequence[PeerSubject], work: Path) -> list[PeerSubject]:
    """Those whose files were prepared."""
    return [row for row in subjects if all(path.exists() for path in _needed(row, work))]


def _needed(row: PeerSubject, work: Path) -> list[Path]:
    folder = work / "files" / row.files
    names = [value for key, value in row.options.items() if key in ("encoder", "decoder")]
    return [folder, *(folder / name for name in names)]


def warm(subjects: Sequence[PeerSubject], work: Path, *, clock: str) -> None:
    """One turn of each of ours: graphs are compiled and canaries run once for all rounds."""
    for row in subjects:
        if row.is_ours:
            turn(row, work, counts={}, clock=clock)


def one_round(
    subjects: Sequence[PeerSubject],
    work: Path,
    *,
    index: int,
    counts: dict[str, int],
    clock: str,
    cold_too: bool,
) -> list[dict[str, Any]]:
    """One turn of each subject, beginning with another one in each round."""
    found = []
    shift = (index * 3) % len(subjects)
    for row in [*subjects[shift:], *subjects[:shift]]:
        result = turn(row, work, counts=counts, clock=clock)
        if cold_too and row.is_ours and "error" not in result:
            first = turn(row, work, counts={}, clock=clock, cold=True)
            result["first_mask_cold_ms"] = first.get("first_mask_ms")
            result["peak_rss_cold_bytes"] = first.get("peak_rss_bytes")
        found.append({"name": row.name, **result})
        print(f"round {index + 1}: {row.name}: {brief(result)}", flush=True)
    return found


def brief(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"failed: {result['error']}"
    shown = [f"first mask {result['first_mask_ms']:.0f} ms"]
    shown += [
        f"{stage[:-3]} {statistics.median(result[stage]):.1f} ms"
        for stage in ("encoder_ms", "decode_ms", "everything_ms")
        if stage in result
    ]
    return ", ".join(shown)
