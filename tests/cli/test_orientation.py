"""One frame of reference: ``eval`` reads what ``segment`` writes for a photo of any orientation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from samedge.pixels.orientation import STORED, UPRIGHT, load_in_frame
from samedge.pixels.rle import mask_from_rle
from tests.cli.conftest import invoke

ORIENTATION = 0x0112
SIZES = [(40, 60), (48, 48)]  # the second cannot tell which way up it is


def save_photo(path: Path, size: tuple[int, int], orientation: int) -> np.ndarray:
    """A photo as a phone stores it; its upright pixels."""
    rng = np.random.default_rng(7)
    stored = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(path, exif=exif)
    with Image.open(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["coco", "coco_polygons"])
def test_eval_against_itself_is_one(
    toy_bundle: Path, tmp_path: Path, orientation: int, size: tuple[int, int], kind: str
) -> None:
    pytest.importorskip("pycocotools")
    photo = tmp_path / "photo.png"
    upright = save_photo(photo, size, orientation)
    common = ("--bundle", toy_bundle, "--json")
    plain = (*common, "--focus", "never")  # as eval asks
    asked = ("--box", "4,6,30,20", "-o", "masks.json", "--format", kind)
    found = json.loads(invoke("segment", photo, *asked, *plain).stdout)
    assert (found["image"]["height"], found["image"]["width"]) == upright.shape[:2]
    result = invoke(
        *("eval", "--dataset", "masks.json", "--images", tmp_path, *common),
        *("--prompts", "box", "--instances"),
    )
    assert result.exit_code == 0, result.stderr
    (instance,) = json.loads(result.stdout)["instances"]
    x, y, width, height = found["masks"][0]["bbox"]
    # The same box on the same pixels: what was written is what is asked, to the pixel.
    again = json.loads(
        invoke("segment", photo, "--box", f"{x},{y},{x + width},{y + height}", *plain).stdout
    )
    assert instance["rle"] == again["masks"][0]["rle"]
    truth = mask_from_rle(found["masks"][0]["rle"])
    answer = mask_from_rle(instance["rle"])
    assert instance["iou"] == pytest.approx((truth & answer).sum() / (truth | answer).sum())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_in_each_frame(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    photo = tmp_path / "photo.png"
    upright = save_photo(photo, size, orientation)
    with Image.open(photo) as picture:
        picture.getexif().pop(ORIENTATION, None)
        stored = np.asarray(picture.convert("RGB"))
    up = (upright.shape[0], upright.shape[1])
    assert (load_in_frame(photo, up, frame=UPRIGHT) == upright).all()
    assert (load_in_frame(photo, size, frame=STORED) == stored).all()
    assert (load_in_frame(photo, up) == upright).all(), "the upright picture, where both fit"
    if stored.shape != upright.shape:
        assert (load_in_frame(photo, size) == stored).all(), "only the stored pixels fit"


def test_an_orientation_in_xmp_counts_like_one_in_exif(tmp_path: Path) -> None:
    """Lightroom's PNG and WebP have no EXIF; the stored frame is the stored one all the same."""
    photo = tmp_path / "photo.webp"
    pixels = np.random.default_rng(7).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    Image.fromarray(pixels).save(photo, lossless=True, xmp=xmp)
    assert (load_in_frame(photo, (40, 60), frame=STORED) == pixels).all()
    assert (load_in_frame(photo, (60, 40), frame=UPRIGHT) == np.rot90(pixels, -1)).all()


def test_the_frame_is_in_the_file(toy_bundle: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    save_photo(photo, (40, 60), 6)
    for kind in ("coco", "sam"):
        asked = ("--box", "4,6,30,20", "-o", "x.json", "--format", kind)
        assert invoke("segment", photo, *asked, "--bundle", toy_bundle).exit_code == 0
        document: Any = json.loads(Path("x.json").read_text())
        image = document["images"][0] if kind == "coco" else document["image"]
        assert (image["frame"], image["height"], image["width"]) == ("upright", 60, 40)


def test_a_foreign_file_may_say_that_its_frame_is_the_stored_one(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    from samedge.evaluation.ground_truth import load_ground_truth

    upright = save_photo(tmp_path / "photo.png", (40, 60), 3)
    annotation = {"id": 1, "image_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}
    for frame, expected in ((None, upright), ("stored", upright[::-1, ::-1])):
        image = {"id": 1, "file_name": "photo.png", "height": 40, "width": 60, "frame": frame}
        document = {"images": [image], "annotations": [annotation]}
        (tmp_path / "x.json").write_text(json.dumps(document))
        (found,) = load_ground_truth(tmp_path / "x.json", tmp_path).images
        assert (found.pixels() == expected).all()
