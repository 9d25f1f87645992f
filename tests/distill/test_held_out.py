"""tools/held_out.py: what training holds out, as a file that ``samedge eval`` reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from samedge.evaluation.ground_truth import load_ground_truth
from samedge.pixels.rle import rle_from_mask

TOOL = Path(__file__).resolve().parents[2] / "tools" / "held_out.py"
SOURCES = ["coco", "coco_other", "animals", "facades", "vehicles", "nuclei", "mandarins", "dense"]
PHOTOS = 20


def _source(folder: Path) -> None:
    folder.mkdir(parents=True)
    mask = np.zeros((8, 12), np.bool_)
    mask[2:5, 3:9] = True
    document = {
        "images": [{"id": i, "file_name": f"{i:02}.jpg"} for i in range(PHOTOS)],
        "annotations": [
            {"id": i, "image_id": i, "segmentation": rle_from_mask(mask)} for i in range(PHOTOS)
        ],
    }
    (folder / "instances.json").write_text(json.dumps(document))


def test_the_file_has_the_held_out_photos_of_the_sources_asked_for(tmp_path: Path) -> None:
    for name in SOURCES:
        _source(tmp_path / "data" / "train" / name)
    written = tmp_path / "held-out.json"
    command = [sys.executable, str(TOOL), str(tmp_path / "data"), "-o", str(written)]
    subprocess.run([*command, "--sources", "coco", "facades"], check=True, capture_output=True)
    truth = load_ground_truth(written, tmp_path / "data" / "train")
    named = [image.name.split("/") for image in truth.images]
    assert [source for source, *_ in named] == ["coco"] * 16 + ["facades"] * 4
    assert len({"/".join(parts) for parts in named}) == 20
    assert {next(image.instances()).area for image in truth.images} == {18.0}
