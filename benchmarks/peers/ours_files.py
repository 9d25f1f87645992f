"""Exports samedge's bundles of one family, those that are not there yet.

    python ours_files.py WORK FAMILY [TARGET-PRECISION...]

Gates are off: random weights draw nothing that accuracy could be measured on. Each export still
compares its files with the model in torch, and the manifest keeps what it found.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from subjects import SUBJECTS

from samedge.export import export
from samedge.export.sources import photo_paths

PHOTOS = 2
MODELS = {"nano": "samedge-nano", "pico": "samedge-pico"}


def missing(work: Path, family: str) -> list[Path]:
    """Folders of the family's bundles that are still to be written."""
    rows = (row for row in SUBJECTS if row.is_ours and row.family == family)
    return [path for path in (work / "files" / row.files for row in rows) if not path.exists()]


def main() -> None:
    work, family = Path(sys.argv[1]), sys.argv[2]
    wanted = sys.argv[3:]
    source = MODELS.get(family) or next((work / "files" / family).glob("weights.*"), None)
    if source is None:
        print(f"{family}: no weights, left out")
        return
    with tempfile.TemporaryDirectory() as name:
        for path in photo_paths(None)[:PHOTOS]:
            shutil.copy(path, name)
        for output in missing(work, family):
            _, target, precision = output.name.split("-")
            if wanted and f"{target}-{precision}" not in wanted:
                continue
            start = time.monotonic()
            export(source, target, precision=precision, output=output, images=name, gate=False)
            print(f"{family} {target} {precision}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
