"""Annotating by tiles: the same files however it is run, and no tile done twice."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from samedge.annotate import process
from samedge.annotate.engines import EngineOptions
from samedge.annotate.parts import Parts
from samedge.annotate.run import AutoResult, annotate_automatically, photos_listed, tasks_of
from samedge.annotate.tasks import AutoSettings, Job, TilePart, part_name
from samedge.annotate.worker import AutoWorker, load
from samedge.errors import OptionError
from samedge.pixels.image_files import PHOTOS
from samedge.pixels.images import load_image
from tests.annotate import children

_TILES = 6  # of 128 pixels in 300 x 200


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    image = load_image(PHOTOS / "coffee.jpg")
    for number in range(3):
        Image.fromarray(image[60 * number :][:200, 100:400]).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def settings(toy_bundle: Path) -> AutoSettings:
    return AutoSettings(
        bundle=str(toy_bundle),
        points_per_side=4,
        crop_layers=0,
        pred_iou_threshold=0.0,
        stability_threshold=0.0,
        tiles=128,
    )


def run(photos: Path, output: Path, settings: AutoSettings, *, workers: int = 1) -> AutoResult:
    options = EngineOptions(workers=workers)
    return annotate_automatically(photos, output, settings=settings, options=options)


def test_processes_and_interruptions_change_no_byte(
    photos: Path, tmp_path: Path, settings: AutoSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = run(photos, tmp_path / "one", settings)
    wanted = (tmp_path / "one" / "annotations.json").read_bytes()
    assert (sound.merged.images, len(sound.merged.failures)) == (3, 0)
    document = json.loads(wanted)
    assert {(i["height"], i["width"]) for i in document["images"]} == {(200, 300)}
    assert all(a["segmentation"]["size"] == [200, 300] for a in document["annotations"])
    assert not list((tmp_path / "one" / "parts").rglob("*.tiles"))

    run(photos, tmp_path / "many", settings, workers=3)
    assert (tmp_path / "many" / "annotations.json").read_bytes() == wanted

    # A process that dies in the middle of each image leaves its tiles to the next run.
    monkeypatch.setattr(process, "CHILD", children.__name__)
    monkeypatch.setenv("SAMEDGE_TEST_DIES_AFTER_TILES", "3")
    died = run(photos, tmp_path / "killed", settings)
    assert [error.kind for _, error in died.merged.failures] == ["inference"] * 3
    kept = list((tmp_path / "killed" / "parts").rglob("*.tiles/*.json"))
    assert len(kept) == 6 + 3 + 3  # the first image was in hand twice
    monkeypatch.setenv("SAMEDGE_TEST_DIES_AFTER_TILES", "4")  # three are left of two images
    again = run(photos, tmp_path / "killed", settings, workers=2)
    assert (again.done_now, again.merged.failures) == (3, ())
    assert (tmp_path / "killed" / "annotations.json").read_bytes() == wanted
    assert not list((tmp_path / "killed" / "parts").rglob("*.tiles"))


def worked(photos: Path, parts: Path, settings: AutoSettings) -> list[int]:
    """Annotates the first photo here; how often a tile was told of."""
    ticks: list[int] = []
    (task, *_) = tasks_of(photos_listed(photos, results=parts))
    with AutoWorker(Job(settings=settings, parts=str(parts))) as worker:
        worker.annotate(load(task, settings), on_tile=lambda: ticks.append(1))
    return ticks


def test_tiles_of_a_picture_that_changed_are_done_again(
    photos: Path, tmp_path: Path, settings: AutoSettings
) -> None:
    store: list[TilePart] = []
    real = Parts.write_tile

    def kept(self: Parts, part: TilePart) -> None:
        store.append(part)
        real(self, part)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "write_tile", kept)
        assert len(worked(photos, tmp_path / "parts", settings)) == _TILES
    parts = Parts(tmp_path / "parts")
    for part in store[:-1]:
        real(parts, part)
    assert len(worked(photos, tmp_path / "parts", settings)) == 1
    for part in store:
        real(parts, msgspec.structs.replace(part, modified_ns=part.modified_ns + 1))
    assert len(worked(photos, tmp_path / "parts", settings)) == _TILES
    for part in store:
        real(parts, part)
        file = next((parts.folder / part_name(part.name)).with_suffix(".tiles").iterdir())
    file.write_bytes(b"{half")
    assert len(worked(photos, tmp_path / "parts", settings)) == 1


def test_a_picture_too_large_to_be_held_says_what_to_do(
    photos: Path, tmp_path: Path, settings: AutoSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=50000")
    whole = msgspec.structs.replace(settings, tiles=None)
    refused = run(photos, tmp_path / "whole", whole)
    assert all("--tiles 2048" in error.message for _, error in refused.merged.failures)
    assert len(refused.merged.failures) == 3
    pytest.importorskip("pyvips")
    assert run(photos, tmp_path / "tiles", settings).merged.images == 3


def test_formats_that_hold_masks_are_refused_before_the_work(
    photos: Path, tmp_path: Path, settings: AutoSettings
) -> None:
    with pytest.raises(OptionError, match=r"voc holds masks as large.*coco or geojson or sam"):
        annotate_automatically(photos, tmp_path / "out", settings=settings, file_format="voc")
    run(photos, tmp_path / "out", settings)
    with pytest.raises(OptionError, match="tiles was 128, is 256"):
        run(photos, tmp_path / "out", msgspec.structs.replace(settings, tiles=256))


def test_pages_and_rankings_take_no_tiles(photos: Path, tmp_path: Path) -> None:
    from tests.cli.conftest import invoke

    for way in ((), ("--rank",)):
        refused = invoke("annotate", photos, *way, "--tiles", "128", "-o", tmp_path / "out")
        assert refused.exit_code == 2
        assert "takes no --tiles" in refused.stderr
    lone = invoke("annotate", photos, "--auto", "--tile-overlap", "12", "-o", tmp_path / "out")
    assert (lone.exit_code, "give --tiles, too" in lone.stderr) == (2, True)


def test_tiles_are_marked_in_nothing_when_not_asked_for(photos: Path) -> None:
    task = tasks_of(photos_listed(photos, results=photos))[0]
    loaded = load(task, AutoSettings())
    assert isinstance(loaded.pixels, np.ndarray)
    by_tiles = load(task, AutoSettings(tiles=128))
    assert (by_tiles.pixels, by_tiles.sha256) == (None, loaded.sha256)
