"""``samedge segment``: which prompts become which masks, the document, and the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.bundle.bundle import Bundle
from samedge.pixels.rle import mask_from_rle
from samedge.predict.predictor import Predictor
from samedge.types import Prompt
from tests.cli.conftest import HEIGHT, WIDTH, invoke


def document(*arguments: object) -> Any:
    result = invoke("segment", "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_document_has_every_promised_field(toy_bundle: Path, photo: Path) -> None:
    found = document(photo, "--bundle", toy_bundle, "--point", "60,45")
    assert found["image"] == {"path": str(photo), "height": HEIGHT, "width": WIDTH}
    manifest = Bundle.open(toy_bundle).manifest
    assert found["bundle"] == {
        "id": manifest.id,
        "model": "toy",
        "target": "cpu",
        "precision": "fp32",
        "input_size": manifest.input_size,
        "preprocess": "exact",
    }
    assert set(found["backend"]) == {"name", "version", "device"}
    assert found["backend"]["name"] == "onnxruntime"
    assert set(found["timing_ms"]) == {"load", "preprocess", "encode", "decode", "postprocess"}
    (mask,) = found["masks"]
    wanted = {"prompt", "rle", "bbox", "area", "predicted_iou", "stability_score"}
    assert set(mask) == wanted
    assert mask["rle"]["size"] == [HEIGHT, WIDTH]


def test_masks_are_those_of_the_predictor(toy_bundle: Path, photo: Path) -> None:
    found = document(photo, "--bundle", toy_bundle, "--box", "20,10,100,80")
    with Predictor.from_bundle(toy_bundle) as predictor:
        image = np.asarray(Image.open(photo))
        expected = predictor.predict(image, Prompt(box=[20, 10, 100, 80]))
    (mask,) = found["masks"]
    assert (mask_from_rle(mask["rle"]) == expected.masks[0]).all()
    assert mask["area"] == expected.masks[0].sum() > 0
    x, y, width, height = mask["bbox"]
    rows, columns = np.nonzero(expected.masks[0])
    assert (x, y) == (columns.min(), rows.min())
    assert (x + width - 1, y + height - 1) == (columns.max(), rows.max())


@pytest.mark.parametrize(
    ("options", "prompts"),
    [
        (["--point", "10,20"], [([[10, 20]], [1], None)]),
        (["--point", "10,20", "--point", "30,40,0"], [([[10, 20], [30, 40]], [1, 0], None)]),
        (["--box", "1,2,30,40"], [([], [], [1, 2, 30, 40])]),
        (
            ["--box", "1,2,30,40", "--box", "5,6,70,80"],
            [([], [], [1, 2, 30, 40]), ([], [], [5, 6, 70, 80])],
        ),
        (["--point", "10,20", "--box", "1,2,30,40"], [([[10, 20]], [1], [1, 2, 30, 40])]),
    ],
)
def test_prompts(toy_bundle: Path, photo: Path, options: list[str], prompts: list[Any]) -> None:
    found = document(photo, "--bundle", toy_bundle, *options)
    asked = [mask["prompt"] for mask in found["masks"]]
    assert [(p["points"], p["labels"], p["box_xyxy"]) for p in asked] == prompts
    assert [p["index"] for p in asked] == list(range(len(prompts)))


def test_a_mask_joins_the_points(toy_bundle: Path, photo: Path) -> None:
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    inside[20:70, 30:90] = 255
    Image.fromarray(inside).save("earlier.png")
    point = ("--bundle", toy_bundle, "--point", "60,45")
    (alone,) = document(photo, *point)["masks"]
    (both,) = document(photo, *point, "--mask", "earlier.png")["masks"]
    assert (alone["prompt"]["mask"], both["prompt"]["mask"]) == (False, True)
    found = mask_from_rle(both["rle"])
    assert (found & (inside > 0)).sum() / (found | (inside > 0)).sum() > 0.7
    assert both["area"] != alone["area"]


def test_a_mask_is_a_prompt_of_its_own(toy_bundle: Path, photo: Path) -> None:
    earlier = Image.new("L", (WIDTH, HEIGHT), 0)
    earlier.paste(255, (30, 20, 90, 70))
    earlier.save("earlier.png")
    options = ("--bundle", toy_bundle, "--mask", "earlier.png")
    (mask,) = document(photo, *options)["masks"]
    assert (mask["prompt"]["points"], mask["prompt"]["mask"]) == ([], True)
    (boxed,) = document(photo, *options, "--box", "30,20,90,70")["masks"]
    assert mask["rle"] == boxed["rle"], "its own box goes with it"


def test_multimask(toy_bundle: Path, photo: Path) -> None:
    found = document(photo, "--bundle", toy_bundle, "--point", "60,45", "--multimask")
    assert [mask["prompt"]["index"] for mask in found["masks"]] == [0, 0, 0]
    areas = [mask["area"] for mask in found["masks"]]
    assert areas == sorted(areas)


def test_several_images_are_one_document(toy_bundle: Path, photo: Path) -> None:
    other = Path("other.png")
    Image.new("RGB", (40, 30), "red").save(other)
    found = document(photo, other, "--bundle", toy_bundle, "--point", "10,10")
    assert [entry["image"]["path"] for entry in found["results"]] == [str(photo), str(other)]
    assert [entry["image"]["width"] for entry in found["results"]] == [WIDTH, 40]


# ---- files


def test_png_is_a_mask(toy_bundle: Path, photo: Path) -> None:
    found = document(photo, "--bundle", toy_bundle, "--box", "20,10,100,80", "-o", "mask.png")
    assert found["files"] == ["mask.png"]
    with Image.open("mask.png") as picture:
        assert picture.mode == "L"
        mask = np.asarray(picture)
    assert set(np.unique(mask)) == {0, 255}
    assert (mask > 0).sum() == found["masks"][0]["area"]


def test_several_masks_are_numbered_files(toy_bundle: Path, photo: Path) -> None:
    boxes = ("--box", "20,10,100,80", "--box", "0,0,50,50")
    found = document(photo, "--bundle", toy_bundle, *boxes, "-o", "mask.png")
    assert found["files"] == ["mask_0.png", "mask_1.png"]
    for name, record in zip(found["files"], found["masks"], strict=True):
        assert (np.asarray(Image.open(name)) > 0).sum() == record["area"]


def test_overlay_is_the_photo_with_the_mask_on_it(toy_bundle: Path, photo: Path) -> None:
    options = ("--box", "20,10,100,80", "--format", "overlay", "-o", "deep/overlay.png")
    found = document(photo, "--bundle", toy_bundle, *options)
    assert found["files"] == ["deep/overlay.png"]
    drawn, image = np.asarray(Image.open("deep/overlay.png")), np.asarray(Image.open(photo))
    assert drawn.shape == image.shape
    assert (drawn[45, 60] != image[45, 60]).any()
    assert (drawn[0, -1] == image[0, -1]).all()


def test_coco_is_read_by_pycocotools(toy_bundle: Path, photo: Path, capfd: Any) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    boxes = ("--box", "20,10,100,80", "--box", "0,0,50,50")
    other = Path("other.png")
    Image.new("RGB", (80, 60), "red").save(other)
    found = document(photo, other, "--bundle", toy_bundle, *boxes, "-o", "masks.json")
    data = coco.COCO("masks.json")
    assert len(data.imgs) == 2
    assert len(data.anns) == 4
    assert int(data.annToMask(data.anns[1]).sum()) == found["results"][0]["masks"][0]["area"]
    assert data.anns[1]["bbox"] == found["results"][0]["masks"][0]["bbox"]


def test_npz_holds_everything(toy_bundle: Path, photo: Path) -> None:
    document(photo, "--bundle", toy_bundle, "--point", "60,45", "--multimask", "-o", "masks.npz")
    with np.load("masks.npz") as arrays:
        assert arrays["masks"].shape == (3, HEIGHT, WIDTH)
        assert arrays["masks"].dtype == bool
        assert arrays["iou_predictions"].shape == (3,)
        assert arrays["prompt"].tolist() == [0, 0, 0]
        assert arrays["low_res_logits"].ndim == 3


def test_folder_for_several_images_keeps_equal_names_apart(toy_bundle: Path, photo: Path) -> None:
    again = Path("again") / photo.name
    again.parent.mkdir()
    Image.new("RGB", (40, 30), "red").save(again)
    options = ("--point", "10,10", "--format", "overlay", "-o", "out")
    found = document(photo, again, "--bundle", toy_bundle, *options)
    files = [name for entry in found["results"] for name in entry["files"]]
    assert files == ["out/photo_overlay.png", "out/again/photo_overlay.png"]
    with Image.open(files[1]) as picture:
        assert picture.size == (40, 30)


def test_format_alone_writes_into_the_current_folder(toy_bundle: Path, photo: Path) -> None:
    found = document(photo, "--bundle", toy_bundle, "--point", "9,9", "--format", "overlay")
    assert found["files"] == ["photo_overlay.png"]
    assert Path("photo_overlay.png").is_file()


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("coco", "masks.json"),
        ("yolo", "data.yaml"),
        ("png", "photo_mask_7.png"),
        ("overlay", "photo_overlay.png"),
    ],
)
def test_what_nobody_named_is_not_written_over(
    name: str, there: str, toy_bundle: Path, photo: Path
) -> None:
    Path(there).write_text("somebody's work")
    command = ("segment", photo, "--bundle", toy_bundle, "--point", "9,9", "--format", name)
    before = set(Path().rglob("*"))
    refused = invoke(*command)
    assert refused.exit_code == 1
    assert f"{there} is there already" in refused.stderr
    assert "-o" in refused.stderr
    assert Path(there).read_text() == "somebody's work"
    assert set(Path().rglob("*")) == before
    assert invoke(*command, "-o", ".").exit_code == 0


def test_nothing_is_written_unasked(toy_bundle: Path, photo: Path) -> None:
    before = set(Path().rglob("*"))
    result = invoke("segment", photo, "--bundle", toy_bundle, "--point", "9,9")
    assert result.exit_code == 0
    assert set(Path().rglob("*")) == before
    assert "add -o overlay.jpg to see the masks" in result.stderr


# ---- mistakes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "give --point, --box, --mask or --text"),
        (["--point", "1"], "is not X,Y or X,Y,LABEL"),
        (["--point", "a,b"], "is not X,Y"),
        (["--point", "1,2,5"], "expected 1 (foreground) or 0 (background)"),
        (["--box", "1,2,3"], "is not X0,Y0,X1,Y1"),
        (["--box", "1,2,3,4", "--box", "1,2,3,4", "--point", "1,1"], "2 boxes are a batch"),
    ],
)
def test_usage_errors(toy_bundle: Path, photo: Path, options: list[str], words: str) -> None:
    result = invoke("segment", photo, "--bundle", toy_bundle, *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--box", "30,20,10,40"], "empty or inverted"),
        (["--point", "nan,1"], "NaN"),
        (["--text", "a cat"], "understands words"),
        (["--point", "1,1", "--backend", "onxruntime"], "Did you mean 'onnxruntime'?"),
        (["--point", "1,1", "--device", "cuda:7"], "cuda:7"),
        (["--point", "1,1", "--mask", "absent.png"], "absent.png"),
    ],
)
def test_errors_are_one_line(toy_bundle: Path, photo: Path, options: list[str], words: str) -> None:
    result = invoke("segment", photo, "--bundle", toy_bundle, *options)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_missing_and_broken_images_are_named(toy_bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 no picture")
    for path in (tmp_path / "absent.jpg", broken, tmp_path):
        result = invoke("segment", path, "--bundle", toy_bundle, "--point", "1,1")
        assert result.exit_code == 1
        assert str(path) in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "mask.xyz"], "an ending that means no format: end it in .json (coco), .xml (cvat)"),
        (["-o", "mask.bmp"], ".jpg (overlay), .png (png), .svg (svg), leave the ending out"),
        (["-o", "mask.bmp", "--format", "png"], "results go to .png. Change the file's ending."),
        (["-o", "m.webp", "--format", "png"], "Change the file's ending, or name --format ov"),
        (["-o", "/dev/null"], "takes one file, and png results may be several"),
        (["-o", "masks.png", "--format", "coco"], "coco results go to .json"),
        (["-o", "masks.json", "--format", "overlay"], "or name --format coco"),
    ],
)
def test_an_ending_that_does_not_fit_is_refused_before_any_work(
    photo: Path, options: list[str], words: str
) -> None:
    result = invoke("segment", photo, "--bundle", "absent", "--point", "1,1", *options)
    assert result.exit_code == 1
    assert words in result.stderr


def test_a_device_takes_the_results_of_one_file(toy_bundle: Path, photo: Path) -> None:
    options = ["--bundle", toy_bundle, "--point", "1,1", "--format", "coco", "-o", "/dev/null"]
    result = invoke("segment", photo, *options)
    assert result.exit_code == 0, result.stderr
    assert "wrote /dev/null\n" in result.stdout


def test_a_word_without_its_quotes_is_no_image(photo: Path) -> None:
    result = invoke("segment", photo, "--text", "red", "car", "-o", "found.jpg")
    assert result.exit_code == 1
    assert "There is no car, which stands where an image is expected" in result.stderr
    assert "quotes" in result.stderr


@pytest.mark.parametrize("given", [("--point", "0.5,0.25"), ("--box", "0.1,0.1,0.9,0.9")])
def test_shares_of_the_image_are_warned_of_once(
    toy_bundle: Path, photo: Path, given: tuple[str, str]
) -> None:
    result = invoke("segment", photo, "--bundle", toy_bundle, *given, "--focus", "always")
    assert result.stderr.count("no shares of it") == 1


def test_one_file_for_several_images_is_refused_before_any_work(photo: Path) -> None:
    result = invoke("segment", photo, photo, "--bundle", "absent", "--point", "1,1", "-o", "x.png")
    assert result.exit_code == 1
    assert "name a folder" in result.stderr


def test_the_range_of_samples_is_an_option(tmp_path: Path, toy_bundle: Path) -> None:
    samples = np.linspace(1000, 2000, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    path = tmp_path / "thermal.png"
    Image.fromarray(samples).save(path)
    arguments = ("segment", path, "--bundle", toy_bundle, "--point", "64,48")
    given = invoke(*arguments, "--range", "1000,2000")
    assert given.exit_code == 0
    assert "as black" not in given.stderr
    measured = invoke(*arguments)
    assert measured.exit_code == 0
    assert "2000 of 65535" in measured.stderr
    for wrong in ("2000,1000", "most", "1"):
        refused = invoke(*arguments, "--range", wrong)
        assert refused.exit_code == 2
        assert "LOW,HIGH" in refused.stderr


def test_one_mask_read_by_what_it_is(tmp_path: Path, photo: Path, toy_bundle: Path) -> None:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[20:60, 30:80], labels[70:80, 90:100] = 1, 2
    path = tmp_path / "labels.png"
    Image.fromarray(labels).save(path)
    arguments = ("segment", photo, "--bundle", toy_bundle)
    assert invoke(*arguments, "--mask", path, "--mask-value", "1").exit_code == 0
    cases = {
        ("--mask", path, "--mask", path): (2, "--mask was given 2 times"),
        ("--point", "5,5", "--mask-value", "1"): (2, "--mask-value needs --mask"),
        ("--mask", path, "--mask-value", "7"): (1, "no pixel has the value 7"),
        ("--mask", photo): (1, "photograph"),
    }
    for options, (code, words) in cases.items():
        result = invoke(*arguments, *options)
        assert result.exit_code == code
        assert words in result.stderr
