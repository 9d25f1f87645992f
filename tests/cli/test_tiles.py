"""``samedge everything --tiles``: pictures too large to be held, from the file to the file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samedge.pixels.image_files import PHOTOS
from samedge.pixels.runs import runs_from_rle
from tests.cli.conftest import invoke

_FAST = ("--points-per-side", "4", "--crop-layers", "0", "--predicted-iou", "0", "--stability", "0")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.png"
    with Image.open(PHOTOS / "coffee.jpg") as photo:
        photo.crop((100, 0, 400, 200)).save(path)
    return path


def test_masks_by_tiles_are_written(toy_bundle: Path, large: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks.json"
    given = ("everything", large, "--bundle", toy_bundle, "--tiles", "128", *_FAST)
    found = invoke(*given, "-o", out, "--json")
    assert found.exit_code == 0, found.stderr
    document = json.loads(found.stdout)
    assert (document["image"]["height"], document["image"]["width"]) == (200, 300)
    written = json.loads(out.read_text())
    assert len(written["annotations"]) == len(document["masks"]) > 0
    assert invoke(*given, "-o", tmp_path / "o.jpg").exit_code == 0  # small enough to be drawn on


def test_a_picture_above_the_limit(
    toy_bundle: Path, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = invoke(
        "everything", large, "--bundle", toy_bundle, "--tiles", "128", *_FAST, "-o",
        tmp_path / "a.geojson",
    )  # fmt: skip
    assert small.exit_code == 0, small.stderr
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=50000")
    plain = invoke("everything", large, "--bundle", toy_bundle, *_FAST)
    assert plain.exit_code == 1
    assert "have it read by tiles" in plain.stderr
    given = ("everything", large, "--bundle", toy_bundle, "--tiles", "128", *_FAST)
    pytest.importorskip("pyvips")
    assert invoke(*given, "-o", tmp_path / "b.geojson").exit_code == 0
    one, two = (json.loads((tmp_path / f"{n}.geojson").read_text()) for n in "ab")
    assert one == two
    assert len(one["features"]) > 0
    refused = invoke(*given, "-o", tmp_path / "o.jpg")
    assert (refused.exit_code, "--format coco or geojson or sam" in refused.stderr) == (1, True)
    assert not (tmp_path / "o.jpg").exists()


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        (("--tiles", "63"), "63 is not in the range", 2),
        (("--tile-overlap", "9"), "give --tiles, too", 2),
        (("--bundle", "samedge-pico", "--label"), "No model in this bundle understands words", 1),
        (
            ("--bundle", "samedge-pico", "--label", "--tiles", "128"),
            "No model in this bundle understands words",
            1,
        ),
        (("--tiles", "128", "--tile-overlap", "65"), "expected 0 to 64", 1),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: tuple[str, ...], said: str, code: int, large: Path
) -> None:
    found = invoke("everything", large, *options)
    assert (found.exit_code, said in found.stderr) == (code, True), found.stderr


@pytest.mark.slow
def test_a_gigapixel(tmp_path: Path) -> None:
    """More than eleven times what an image may have; the process never grows to a third of it."""
    vips = pytest.importorskip("pyvips")
    with Image.open(PHOTOS / "coffee.jpg") as photo:
        block = np.asarray(photo.resize((1024, 1024)))
    path, out = tmp_path / "gigapixel.tif", tmp_path / "masks.json"
    image = vips.Image.new_from_array(block).replicate(32, 32)
    image.tiffsave(str(path), tile=True, compression="jpeg", bigtiff=True)
    code = (
        "import sys; from samedge.cli import cli; "
        "from samedge.benchmark.worker import peak_rss_bytes; "
        "cli(sys.argv[1:], standalone_mode=False); "
        "print('peak', peak_rss_bytes() // 1_000_000)"
    )
    options = ("--points-per-side", "2", "--crop-layers", "0", "--every-point")
    given = ("everything", str(path), "--bundle", "samedge-pico", "--tiles", "4096", *options)
    done = subprocess.run(
        [sys.executable, "-c", code, *given, "-o", str(out), "-q"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"peak (\d+)", done.stdout)
    assert found is not None
    assert int(found.group(1)) < 1000
    written = json.loads(out.read_text())
    (entry,) = written["images"]
    assert (entry["height"], entry["width"]) == (1 << 15, 1 << 15)
    boxes = np.array([a["bbox"] for a in written["annotations"]])
    assert len(boxes) > 40
    assert (boxes[:, :2] + boxes[:, 2:]).max() > 30_000  # in the picture's frame, not in a tile's
    for annotation in written["annotations"][:20]:
        runs = runs_from_rle(annotation["segmentation"])
        x0, y0, x1, y1 = runs.box
        assert [x0, y0, x1 - x0, y1 - y0] == annotation["bbox"]
        assert runs.area == annotation["area"]
