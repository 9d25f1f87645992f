"""The automatic stage: the same files however it is run, and nothing lost by what goes wrong."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from samedge import formats
from samedge.annotate import engines, layout, process
from samedge.annotate.engines import EngineOptions
from samedge.annotate.parts import Parts
from samedge.annotate.rounds import read_rounds
from samedge.annotate.run import AutoResult, annotate_automatically, photos_listed, tasks_of
from samedge.annotate.tasks import AutoSettings, Job, Task, part_name
from samedge.errors import BundleError, DatasetError, OptionError, WriteError
from samedge.files.locking import locked
from samedge.formats.masks import MaskRecord
from samedge.pixels.rle import mask_from_rle
from tests.annotate import children

NAMES = ("a.png", "b.png", "north/a.png", "south/a.png")


def picture(path: Path, *, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(path)


def pictures(folder: Path) -> Path:
    for seed, name in enumerate(NAMES):
        picture(folder / name, seed=seed)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return pictures(tmp_path / "photos")


@pytest.fixture(scope="module")
def settings(toy_bundle: Path) -> AutoSettings:
    return AutoSettings(
        bundle=str(toy_bundle), points_per_side=4, pred_iou_threshold=0.0, stability_threshold=0.0
    )


@dataclasses.dataclass(frozen=True)
class Sound:
    """A finished run, not to be changed."""

    photos: Path
    output: Path
    result: AutoResult


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, settings: AutoSettings) -> Sound:
    folder = tmp_path_factory.mktemp("sound")
    photos = pictures(folder / "photos")
    return Sound(photos, folder / "out", run(photos, folder / "out", settings))


def run(
    photos: Path,
    output: Path,
    settings: AutoSettings,
    *,
    workers: int = 1,
    timeout_s: float = 600,
    restart: bool = False,
) -> AutoResult:
    return annotate_automatically(
        photos,
        output,
        settings=settings,
        options=EngineOptions(workers=workers, image_s=timeout_s),
        restart=restart,
    )


def written(output: Path) -> bytes:
    return (output / "annotations.json").read_bytes()


def test_every_image_gets_its_masks(sound: Sound) -> None:
    merged = sound.result.merged
    images = list(formats.get("coco").read(merged.files[0], left_out=Counter()))
    assert [image.name for image in images] == list(NAMES)
    assert sum(len(image.masks) for image in images) == merged.masks > 0
    assert all(mask_from_rle(mask.rle).shape == (48, 64) for i in images for mask in i.masks)


def test_the_number_of_processes_changes_no_byte(
    sound: Sound, tmp_path: Path, settings: AutoSettings
) -> None:
    run(sound.photos, tmp_path / "out", settings, workers=3)
    assert written(tmp_path / "out") == written(sound.output)


def test_what_is_done_is_not_done_again(
    photos: Path, tmp_path: Path, settings: AutoSettings
) -> None:
    output = tmp_path / "out"
    run(photos, output, settings)
    before = written(output)
    picture(photos / "c.png", seed=9)
    (output / "parts" / part_name("b.png")).write_bytes(b"{half")  # by a disk that failed
    again = run(photos, output, settings)
    assert (again.done_before, again.done_now) == (3, 2)
    (photos / "c.png").unlink()
    assert run(photos, output, settings).done_now == 0
    assert written(output) == before


def test_an_image_that_changed_is_done_again(
    photos: Path, tmp_path: Path, settings: AutoSettings
) -> None:
    run(photos, tmp_path / "out", settings)
    picture(photos / "a.png", seed=77)
    assert run(photos, tmp_path / "out", settings).done_now == 1


def test_a_bad_image_is_listed_and_tried_again(
    photos: Path, tmp_path: Path, settings: AutoSettings
) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8 no more")
    result = run(photos, tmp_path / "out", settings)
    ((name, error),) = result.merged.failures
    assert (name, error.kind, result.merged.images) == ("bad.jpg", "image", 4)
    picture(photos / "bad.jpg", seed=5)
    again = run(photos, tmp_path / "out", settings)
    assert (again.done_now, again.merged.failures, again.merged.images) == (1, (), 5)


def test_duplicates_are_said(photos: Path, tmp_path: Path, settings: AutoSettings) -> None:
    (photos / "z.png").write_bytes((photos / "a.png").read_bytes())
    assert run(photos, tmp_path / "out", settings).merged.duplicates == (("a.png", "z.png"),)


def test_the_round_is_recorded(sound: Sound) -> None:
    (made,) = read_rounds(sound.output)
    assert (made.stage, made.masks) == ("auto", sound.result.merged.masks)
    assert made.seconds_per_mask is not None
    assert made.seconds_per_mask > 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"points_per_side": 5}, "points_per_side was 4, is 5"), ({"min_area": 9}, "min_area was 0")],
)
def test_another_run_in_the_same_folder_is_refused(
    sound: Sound, settings: AutoSettings, changed: dict[str, int], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        run(sound.photos, sound.output, msgspec.structs.replace(settings, **changed))


@pytest.mark.parametrize("name", ["annotations.json", "annotations-00001-of-00002.json"])
def test_somebody_elses_annotations_stay(
    name: str, photos: Path, tmp_path: Path, settings: AutoSettings
) -> None:
    """The folder's name is that of many datasets' own annotations, and is taken unasked."""
    output = tmp_path / "annotations"
    output.mkdir()
    (output / name).write_text("somebody's work")
    (output / "instances_val.json").write_text("somebody's, too")
    with pytest.raises(OptionError, match="-o, or add --restart"):
        run(photos, output, settings)
    assert (output / name).read_text() == "somebody's work"
    run(photos, output, settings, restart=True)
    assert written(output) != b"somebody's work"
    assert (output / "instances_val.json").read_text() == "somebody's, too"
    run(photos, output, settings)  # this one made them


def test_all_that_a_run_leaves_is_known_by_name(sound: Sound) -> None:
    left = {entry.name for entry in sound.output.iterdir() if entry.suffix != ".lock"}
    assert {"run.json", "parts", "rounds.json"} < left
    assert left - layout.KEPT - {layout.LOCK} == {"annotations.json"}
    assert layout.is_annotations("annotations-00000-of-00002.json")


def test_a_run_can_be_begun_again(photos: Path, tmp_path: Path, settings: AutoSettings) -> None:
    run(photos, tmp_path / "out", settings)
    other = msgspec.structs.replace(settings, min_area=100_000)
    again = annotate_automatically(photos, tmp_path / "out", settings=other, restart=True)
    assert (again.done_before, again.merged.masks) == (0, 0)


def test_files_of_no_image_are_refused(
    photos: Path, tmp_path: Path, settings: AutoSettings
) -> None:
    with pytest.raises(OptionError, match="shard_images is 0"):
        annotate_automatically(photos, tmp_path / "out", settings=settings, shard_images=0)


def test_two_runs_do_not_share_a_folder(
    sound: Sound, tmp_path: Path, settings: AutoSettings
) -> None:
    with (
        locked(tmp_path / "out", layout.LOCK),
        pytest.raises(OptionError, match="Another process works"),
    ):
        run(sound.photos, tmp_path / "out", settings)


def test_an_output_that_cannot_be_made_is_named(
    sound: Sound, tmp_path: Path, settings: AutoSettings
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WriteError, match="name another folder"):
        run(sound.photos, tmp_path / "file" / "out", settings)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no pictures"):
        tasks_of(photos_listed(tmp_path, results=tmp_path / "out"))


@pytest.mark.parametrize(
    ("name", "said"),
    [("kill.png", "SIGKILL"), pytest.param("hang.png", "longer than", marks=pytest.mark.slow)],
)
def test_an_image_that_kills_its_process_costs_itself_alone(
    photos: Path,
    tmp_path: Path,
    sound: Sound,
    settings: AutoSettings,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    said: str,
) -> None:
    monkeypatch.setattr(process, "CHILD", children.__name__)
    picture(photos / name, seed=50)
    result = run(photos, tmp_path / "out", settings, timeout_s=60 if "hang" in name else 600)
    ((failed, error),) = result.merged.failures
    assert failed == name
    assert said in error.message
    assert error.remedy == "Give a smaller image, or more time with --image-seconds."
    assert written(tmp_path / "out") == written(sound.output)


def test_a_bundle_that_does_not_open_is_one_typed_error(sound: Sound, tmp_path: Path) -> None:
    absent = AutoSettings(bundle=str(tmp_path / "absent"))
    with pytest.raises(BundleError, match="absent"):
        run(sound.photos, tmp_path / "out", absent)


def test_large_masks_and_small_ones_can_be_left_out(
    sound: Sound, tmp_path: Path, settings: AutoSettings
) -> None:
    areas = sorted(m.area for name in NAMES for m in masks_of(sound.output, name))
    fewer = msgspec.structs.replace(settings, min_area=areas[len(areas) // 2])
    made = run(sound.photos, tmp_path / "fewer", fewer).merged.masks
    assert 0 < made < sound.result.merged.masks


def masks_of(output: Path, name: str) -> tuple[MaskRecord, ...]:
    part = Parts(output / "parts").part(name)
    assert part is not None
    return part.masks


def test_a_run_that_is_killed_ends_in_the_same_bytes(
    photos: Path, tmp_path: Path, settings: AutoSettings
) -> None:
    for seed in range(12):
        picture(photos / f"more/{seed}.png", seed=100 + seed)
    run(photos, tmp_path / "whole", settings)
    command = [
        *(sys.executable, "-m", "samedge", "annotate", str(photos), "--auto"),
        *("--bundle", str(settings.bundle), "-o", str(tmp_path / "out"), "--workers", "2"),
        *("--points-per-side", "4", "--predicted-iou", "0", "--stability", "0", "--json"),
    ]
    rng = random.Random(3)
    for _ in range(2):
        started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.2, 2.5))
        started.kill()
        started.wait()
    done = subprocess.run(command, capture_output=True, check=True, timeout=600)
    assert json.loads(done.stdout)["images"]["count"] == 16
    assert written(tmp_path / "out") == written(tmp_path / "whole")
    assert not list((tmp_path / "out").rglob(".samedge-tmp-*"))


@pytest.mark.parametrize("place", ["out", "."])
@pytest.mark.parametrize("made", ["annotations", "annotations-00001-of-00002", "reviewed"])
def test_results_among_the_photos_are_not_annotated(photos: Path, place: str, made: str) -> None:
    results = photos / place
    picture(results / made / "a_mask.png", seed=1)
    assert tuple(task.name for task in tasks_of(photos_listed(photos, results=results))) == NAMES


def test_frames_that_lie_with_the_results_are_annotated(tmp_path: Path) -> None:
    picture(tmp_path / "out/frames/a.mp4/000000.png", seed=1)
    (task,) = tasks_of(photos_listed(tmp_path / "out/frames", results=tmp_path / "out"))
    assert task.name == "a.mp4/000000.png"


def test_files_of_an_earlier_number_of_shards_go(
    sound: Sound, tmp_path: Path, settings: AutoSettings
) -> None:
    output = tmp_path / "out"
    shutil.copytree(sound.output, output)
    (output / "annotations-notes.txt").write_text("of the user")
    for images, names in ((3, ["-00000-of-00002", "-00001-of-00002"]), (9, [""])):
        again = annotate_automatically(sound.photos, output, settings=settings, shard_images=images)
        assert again.done_now == 0
        found = sorted(path.name for path in output.glob("annotations*.json"))
        assert found == [f"annotations{name}.json" for name in names]
    assert written(output) == written(sound.output)
    assert (output / "annotations-notes.txt").exists()


def test_paths_may_be_relative(
    photos: Path, tmp_path: Path, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An actor on another machine does not share this process's folder."""
    seen: list[tuple[Sequence[Task], Job]] = []

    class Engine(engines.Engine):
        def run(
            self, tasks: Sequence[Task], job: Job, *, options: object, on_outcome: object
        ) -> None:
            seen.append((tasks, job))

    monkeypatch.setattr(engines, "get", lambda _: Engine())
    monkeypatch.chdir(tmp_path)
    bundle = Path(os.path.relpath(toy_bundle, tmp_path))
    annotate_automatically(
        Path(photos.name), Path("out"), settings=AutoSettings(bundle=str(bundle))
    )
    ((tasks, job),) = seen
    assert all(Path(task.path).is_absolute() for task in tasks)
    assert Path(job.parts).is_absolute()
    assert Path(str(job.settings.bundle)).is_absolute()


def test_what_ends_a_worker_ends_the_run(
    photos: Path, tmp_path: Path, settings: AutoSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without room for another process: the run must not end as if all were done."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(process, "start_python", refuse)
    with pytest.raises(OSError, match="temporarily unavailable"):
        run(photos, tmp_path / "out", settings)


def test_half_of_an_answer_is_a_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed while it writes: nobody waits for the rest of its line."""
    (tmp_path / "half_an_answer.py").write_text("print('{\"type\": \"rea', end='')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(process, "CHILD", "half_an_answer")
    with (
        process.WorkerProcess(Job(settings=AutoSettings(), parts="unused")) as worker,
        pytest.raises(process.DiedError, match="ended with exit code 0"),
    ):
        worker.answer(30.0, threading.Event())
