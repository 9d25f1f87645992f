"""A data set of known masks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.evaluation.squares import SIZE, TRUTHS, annotation


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three squares on two images, beside one crowd that does not count."""
    names = ["a.png", "b.png"]
    for name in names:
        Image.new("RGB", SIZE[::-1], (90, 120, 30)).save(tmp_path / name)
    annotations = [annotation(i + 1, names.index(n) + 1, m) for i, (n, m) in enumerate(TRUTHS)]
    crowd = {**annotation(9, 1, TRUTHS[0][1]), "iscrowd": 1}
    images = [
        {"id": i + 1, "file_name": n, "height": SIZE[0], "width": SIZE[1]}
        for i, n in enumerate(names)
    ]
    document = {
        "images": images,
        "annotations": [*annotations, crowd],
        "categories": [{"id": 1, "name": "object"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(document))
    return tmp_path
