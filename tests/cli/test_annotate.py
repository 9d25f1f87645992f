"""``samedge annotate``: one document, failures at the end, mistakes said before any work."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samedge.bundle.bundle import Bundle
from samedge.cli.annotate_models import bundle_of
from samedge.cli.annotate_options import AnnotateRun
from samedge.cli.output import Output
from samedge.errors import SourceError
from tests.cli.conftest import invoke


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_a_bad_image_is_told_in_the_document_and_by_the_exit_code(
    photos: Path, toy_bundle: Path
) -> None:
    (photos / "bad.jpg").write_bytes(b"none")
    (photos / "notes.txt").write_text("other things in the folder")
    options = ("--auto", "--bundle", toy_bundle, "--points-per-side", 2, "--workers", 1, "--json")
    result = invoke("annotate", photos, *options)
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["schema"] == "samedge.annotate/1"
    assert document["images"] == {"path": str(photos), "count": 2, "failed": 1}
    (failure,) = document["failures"]
    assert (failure["image"], failure["error"]["kind"]) == ("bad.jpg", "image")
    assert set(failure["error"]) == {"kind", "message", "remedy", "exit_code"}
    assert failure["error"]["remedy"]
    assert [Path(file).name for file in document["files"]] == ["annotations.json"]
    assert "bad.jpg" in result.stderr
    (skipped,) = document["skipped_files"]
    assert (skipped["count"], skipped["names"]) == (1, ["notes.txt"])
    assert f"{photos.resolve()}: left out 1 (notes.txt): {skipped['why']}" in result.stderr


@pytest.mark.parametrize("place", [".", "out"])
def test_results_among_the_photos_are_not_told_of(
    photos: Path, toy_bundle: Path, place: str
) -> None:
    options = ("--auto", "--bundle", toy_bundle, "--points-per-side", 2, "--workers", 1, "--json")
    for _ in range(2):
        result = invoke("annotate", photos, *options, "-o", photos / place)
        assert result.exit_code == 0, result.stderr
        document = json.loads(result.stdout)
        assert document["images"]["count"] == 2
        assert document["skipped_files"] == []


def test_images_in_their_order(photos: Path, toy_bundle: Path) -> None:
    result = invoke("annotate", photos, "--rank", "--bundle", toy_bundle, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert sorted(image["name"] for image in document["images"]) == ["0.png", "1.png"]
    assert Path("annotations/rank.json").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--auto", "--rank"), "give one of them"),
        (("--model", "samedge-pico"), "both name the model"),
        (("--auto", "--format", "overlay"), "draws on pictures"),
        (("--auto", "--every", "0"), "Invalid value for '--every'"),
        (("--auto", "--port", "80", "--open"), "--auto takes no --port, --open"),
        (("--rank", "--format", "png", "--workers", "2"), "--rank takes no --workers, --format"),
        (("--workers", "2"), "without --auto, takes no --workers"),
        (("--auto", "--engine", "rya"), "'rya'"),
    ],
)
def test_mistakes_are_said_before_any_work(
    photos: Path, toy_bundle: Path, options: tuple[str, ...], said: str
) -> None:
    result = invoke("annotate", photos, "--bundle", toy_bundle, *options)
    assert result.exit_code in (1, 2)
    assert said in " ".join(result.stderr.split())
    assert not Path("annotations").exists()


def test_a_model_that_is_nowhere_is_named(photos: Path) -> None:
    result = invoke("annotate", photos, "--model", "no/such")
    assert result.exit_code == 2
    assert "nor last.safetensors in such a folder" in " ".join(result.stderr.split())


@pytest.mark.parametrize("named", ["last", "last.safetensors", ""])
def test_weights_of_a_student_are_exported_once(
    named: str, tmp_path: Path, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "last.safetensors").write_bytes(b"weights")
    asked: list[Path] = []

    def export(target: str, model: Path, *, output: Path, **_: object) -> None:
        asked.append(model)
        shutil.copytree(toy_bundle, output)

    monkeypatch.setattr("samedge.export.named.export_bundle", export)
    with Output("annotate", verbosity=-1) as out:
        found = [bundle_of(out, str(run / named), output=tmp_path) for _ in range(2)]
        assert bundle_of(out, str(toy_bundle), output=tmp_path) == str(toy_bundle)
    assert asked == [run / "last.safetensors"]
    assert found[0] == found[1]
    Bundle.open(found[0])


def test_a_video_that_cannot_be_read_is_told_by_a_ranking(
    tmp_path: Path, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(_: Path, frames: Path, **__: object) -> list[tuple[Path, SourceError]]:
        frames.mkdir(parents=True)
        Image.new("RGB", (48, 40)).save(frames / "000000.png")
        return [(tmp_path / "cut.mp4", SourceError("cut.mp4 broke off."))]

    monkeypatch.setattr("samedge.annotate.frames.extract_frames", broken_off)
    Image.new("RGB", (48, 40)).save(tmp_path / "beside.png")
    options = ("--rank", "--every", "2", "--bundle", toy_bundle, "-o", tmp_path / "out")
    result = invoke("annotate", tmp_path, *options, "--json")
    assert result.exit_code == 1
    assert "cut.mp4 broke off." in result.stderr
    document = json.loads(result.stdout)
    (skipped,) = document["skipped_files"]
    assert (skipped["count"], skipped["names"]) == (1, ["beside.png"])
    assert "pictures beside the videos (annotate them without --every" in result.stderr
    ((video, error),) = [(one["video"], one["error"]) for one in document["broken_videos"]]
    assert (Path(video).name, error["kind"]) == ("cut.mp4", "source")
    assert document["failures"] == []


def test_a_range_of_samples_goes_before_that_of_an_earlier_run() -> None:
    wanted = dataclasses.fields(AnnotateRun)
    given = dict.fromkeys((field.name for field in wanted), None)
    common = {**given, "min_area": 0, "sample_range": "auto"}
    assert not AnnotateRun(**common).asks_for_masks  # type: ignore[arg-type]
    assert AnnotateRun(**{**common, "sample_range": (0.0, 4095.0)}).asks_for_masks  # type: ignore[arg-type]
