"""From frames to files: the thread that tracks, the sinks, the page, and a disk that is full."""

from __future__ import annotations

import contextlib
import errno
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import OptionError, PromptError, SamedgeError, SourceError
from samedge.live import sinks
from samedge.live.camera import Camera
from samedge.live.following import Figures, Followed, follow
from samedge.live.frame import VideoFrame
from samedge.live.page import Page
from samedge.live.recording import Output, record
from samedge.live.sinks.base import Drawn
from samedge.pixels.rle import mask_from_rle
from samedge.runtimes.deadline import remaining_s, time_limit
from samedge.tracking.settings import TrackerSettings
from samedge.tracking.tracker import Tracker
from samedge.types import Prompt
from tests.tracking.toys import BLUE, RED, ColourSegmenter, box_of, scene, truth

COUNT = 12


def images(count: int = COUNT) -> list[np.ndarray]:
    return [scene((40 + 2 * t, 60, RED), (120, 90, BLUE), seed=t) for t in range(count)]


def prompts() -> list[Prompt]:
    return [Prompt(box=box_of(images(1)[0], colour)) for colour in (RED, BLUE)]


def tracker() -> Tracker:
    return Tracker(ColourSegmenter())


def adds_up(camera: Camera) -> bool:
    counts = camera.counts
    return counts.in_flight == 0 and counts.captured == counts.processed + counts.dropped


def test_every_frame_of_a_recording_is_followed() -> None:
    with Camera(images(), drop=False) as camera:
        results = list(follow(camera, tracker(), prompts=prompts()))
    assert [one.frame.number for one in results] == list(range(COUNT))
    assert adds_up(camera)
    assert camera.counts.processed == COUNT
    assert all(one.age_ms >= 0 for one in results)


def test_a_recording_without_a_whole_frame_is_an_error(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with Camera(tmp_path, drop=False) as camera:
        frames = follow(camera, tracker(), prompts=prompts())
        with pytest.raises(SourceError, match=r"no frame to follow: 2 captured, 2 damaged"):
            next(frames)


def test_stopping_early_counts_what_was_tracked() -> None:
    with (
        Camera(images(50), drop=False) as camera,
        contextlib.closing(follow(camera, tracker(), prompts=prompts())) as results,
    ):
        for one in results:
            if one.frame.number == 3:
                break
    assert adds_up(camera)
    assert 4 <= camera.counts.processed <= 7


def test_drawing_happens_while_the_next_frame_is_tracked() -> None:
    model = ColourSegmenter()
    with Camera(images(), drop=False) as camera:
        for one in follow(camera, Tracker(model), prompts=prompts()):
            number = one.frame.number
            deadline = time.monotonic() + 600
            while number + 1 < COUNT and len(model.regions) < number + 2:
                assert time.monotonic() < deadline, "the next frame waits for the drawing"
                time.sleep(0.001)


def test_an_error_of_the_model_reaches_the_caller() -> None:
    class Broken(ColourSegmenter):
        def encode(self, image: np.ndarray, *, region: Any = None) -> np.ndarray:
            if len(self.regions) == 3:
                raise PromptError("the model broke")
            return super().encode(image, region=region)

    with Camera(images(), drop=False) as camera, pytest.raises(PromptError, match="broke"):
        for _ in follow(camera, Tracker(Broken()), prompts=prompts()):
            pass
    assert adds_up(camera)


def test_a_frame_of_another_size_is_followed() -> None:
    frames = images()
    for index in range(5, COUNT):
        frames[index] = np.asarray(Image.fromarray(frames[index]).resize((320, 240)))
    with Camera(frames, drop=False) as camera:
        results = list(follow(camera, tracker(), prompts=prompts()))
    assert results[-1].objects[0].mask.shape == (240, 320)
    assert results[0].objects[0].mask.shape == (120, 160)
    wanted = truth(frames[-1], RED)
    mask = results[-1].objects[0].mask
    assert (mask & wanted).sum() / (mask | wanted).sum() > 0.6


def test_every_and_ask_every_count_one_after_the_other() -> None:
    model = ColourSegmenter()
    settings = TrackerSettings(ask_every=2)
    with Camera(images(), drop=False, every=2) as camera:
        results = list(follow(camera, Tracker(model, settings=settings), prompts=prompts()))
    assert [one.frame.number for one in results] == [0, 2, 4, 6, 8, 10]
    asked = [one.objects[0].predicted_iou is not None for one in results]
    assert asked == [False, False, True, False, True, False]
    assert adds_up(camera)


def silent(first: np.ndarray, released: threading.Event) -> Iterator[np.ndarray]:
    yield first
    released.wait(600)


def test_the_time_is_up_while_no_frame_comes() -> None:
    released = threading.Event()
    with Camera(silent(images(1)[0], released), drop=False) as camera:
        result = record(camera, tracker(), prompts=prompts(), seconds=0.6)
        assert result.frames.processed == 1
        assert not result.interrupted
        released.set()


def test_the_time_is_up_before_the_first_frame() -> None:
    released = threading.Event()

    def never() -> Iterator[np.ndarray]:
        released.wait(600)
        yield from ()

    with Camera(never(), drop=False) as camera:
        with pytest.raises(SourceError, match="no frame to follow: 0 captured"):
            record(camera, tracker(), prompts=prompts(), seconds=0.3)
        released.set()


def test_closing_the_camera_ends_it_while_it_waits() -> None:
    released = threading.Event()
    with Camera(silent(images(1)[0], released), drop=False) as camera:
        results = follow(camera, tracker(), prompts=prompts())
        assert next(results).frame.number == 0
        threading.Timer(0.1, released.set).start()
        camera.close()
        assert list(results) == []
    assert adds_up(camera)


def test_a_time_limit_holds_in_the_thread_too() -> None:
    seen: list[float] = []

    class Asked(ColourSegmenter):
        def encode(self, image: np.ndarray, *, region: Any = None) -> np.ndarray:
            seen.append(remaining_s())
            return super().encode(image, region=region)

    with Camera(images(2), drop=False) as camera, time_limit(300):
        list(follow(camera, Tracker(Asked()), prompts=prompts()))
    assert len(seen) == 2
    assert all(0 < left <= 300 for left in seen)


def test_figures_give_percentiles_only_where_they_hold() -> None:
    figures = Figures()
    frame = VideoFrame(images(1)[0], 0, 100.0)
    for index in range(200):
        figures.add(Followed(frame, (), 100.0 + 0.01 * (index + 1), 1.0))
        if index == 99:
            assert figures.age_ms(95) is None
    assert figures.age_ms(50) == pytest.approx(1005, abs=6)
    assert figures.age_ms(95) == pytest.approx(1900, abs=11)
    assert figures.frames_per_s == pytest.approx(100, rel=0.01)
    assert Figures().age_ms(50) is None
    assert Figures().frames_per_s is None


# ---- files


def followed(folder: Path, *names: str) -> dict[str, Any]:
    outputs = [Output(sinks.from_path(folder / name), folder / name) for name in names]
    with Camera(images(), drop=False) as camera:
        result = record(camera, tracker(), prompts=prompts(), outputs=outputs, fps=25)
    assert adds_up(camera)
    assert result.frames.captured == result.frames.processed == COUNT
    assert [(one.id, one.followed, one.lost) for one in result.objects] == [
        (0, COUNT, 0),
        (1, COUNT, 0),
    ]
    return {"record": result}


def test_json_lines(tmp_path: Path) -> None:
    followed(tmp_path, "a.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(COUNT))
    last = lines[-1]["objects"][0]
    mask = mask_from_rle(last["rle"])
    assert mask.sum() == last["area"]
    assert (mask & truth(images()[-1], RED)).sum() > 0.8 * mask.sum()


def test_a_folder_of_masks(tmp_path: Path) -> None:
    followed(tmp_path, "masks")
    files = sorted((tmp_path / "masks").iterdir())
    assert [path.name for path in files] == [f"{index:05d}.png" for index in range(COUNT)]
    with Image.open(files[-1]) as picture:
        assert picture.mode == "P"
        values = np.asarray(picture)
    assert set(np.unique(values)) == {0, 1, 2}
    assert ((values == 1) & truth(images()[-1], RED)).sum() > 500


def test_cocos_video_format(tmp_path: Path) -> None:
    followed(tmp_path, "a.json")
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["videos"][0]["length"] == COUNT
    assert (document["videos"][0]["height"], document["videos"][0]["width"]) == (120, 160)
    assert [entry["id"] for entry in document["annotations"]] == [1, 2]
    for entry in document["annotations"]:
        assert len(entry["segmentations"]) == len(entry["bboxes"]) == len(entry["areas"]) == COUNT
        assert mask_from_rle(entry["segmentations"][0]).sum() == entry["areas"][0]


def test_a_camera_that_comes_back_with_another_size(tmp_path: Path) -> None:
    """COCO's videos have one size each, and a drawn one keeps the picture's shape."""
    frames = images()
    for index in range(5, COUNT):
        frames[index] = np.asarray(Image.fromarray(frames[index]).resize((160, 240)))
    paths = [tmp_path / name for name in ("a.json", "a.mp4")]
    outputs = [Output(sinks.from_path(path), path) for path in paths]
    with Camera(frames, drop=False) as camera:
        record(camera, tracker(), prompts=prompts(), outputs=outputs)
    document = json.loads(paths[0].read_text())
    videos = {video["id"]: video for video in document["videos"]}
    assert [(v["height"], v["width"], v["length"]) for v in videos.values()] == [
        (120, 160, 5),
        (240, 160, COUNT - 5),
    ]
    annotations = document["annotations"]
    assert [(a["id"], a["video_id"], a["object_id"]) for a in annotations] == [
        (1, 1, 0),
        (2, 1, 1),
        (3, 2, 0),
        (4, 2, 1),
    ]
    for annotation in annotations:
        video = videos[annotation["video_id"]]
        assert len(annotation["segmentations"]) == video["length"] == len(video["file_names"])
        sizes = {tuple(rle["size"]) for rle in annotation["segmentations"] if rle is not None}
        assert sizes == {(video["height"], video["width"])}
    with Camera(str(paths[1]), drop=False) as camera:
        last = list(camera)[-1].image
    assert last.shape == (120, 160, 3)
    assert last[:, :40].max() < 20 < last[:, 60:100].max(), "as high as before, bars at the sides"


@pytest.mark.parametrize(("size", "matrix"), [((96, 128), 6), ((720, 1280), 1)])
def test_a_drawn_video_says_what_its_colours_are(
    tmp_path: Path, size: tuple[int, int], matrix: int
) -> None:
    """Players take what says nothing for BT.709 from 720 lines up, and show other colours."""
    av = pytest.importorskip("av", minversion="17")
    path, red = tmp_path / "red.mp4", np.full((*size, 3), (200, 60, 40), np.uint8)
    frame = VideoFrame(red, 0, captured_s=0.0, pts_s=0.0)
    with sinks.get("video").open(path, fps=10.0) as recording:
        recording.write(Drawn(Followed(frame, (), result_s=0.0, tracking_ms=1.0), red))
    with av.open(str(path)) as container:
        coder = container.streams.video[0].codec_context
        assert (int(coder.colorspace), int(coder.color_range)) == (matrix, 1)
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(shown[20, 20].astype(int) - (200, 60, 40)).max() <= 4


def test_a_drawn_video_goes_on_where_the_sources_clock_goes_back(tmp_path: Path) -> None:
    """A camera that was opened again: an hour of frames a millisecond apart would follow."""
    av = pytest.importorskip("av")
    path, picture = tmp_path / "a.mp4", scene((40, 60, RED), size=(120, 160), seed=0)
    stamps = [3600.0, 3600.1, 3600.2, 0.0, 0.1, 0.2, 0.15, 0.3]
    with sinks.get("video").open(path, fps=10.0) as recording:
        for number, pts_s in enumerate(stamps):
            frame = VideoFrame(picture, number, captured_s=0.0, pts_s=pts_s)
            recording.write(Drawn(Followed(frame, (), result_s=0.0, tracking_ms=1.0), picture))
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.501, 0.6], abs=1e-3)


def test_a_run_that_follows_nothing_leaves_older_files(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.jsonl", "a.json", "a.mp4")]
    for path in paths:
        path.write_text("an earlier run's")
    outputs = [Output(sinks.from_path(path), path) for path in paths]
    outside = [Prompt(box=[5000, 5000, 5010, 5010])]
    with Camera(images(), drop=False) as camera, pytest.raises(PromptError):
        record(camera, tracker(), prompts=outside, outputs=outputs)
    assert [path.read_text() for path in paths] == ["an earlier run's"] * 3


def test_masks_of_an_earlier_run_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "masks").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "masks" / "99999.png")
    followed(tmp_path, "masks")
    assert "holds 1 pictures already" in caplog.text


def test_an_overlay_video(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    followed(tmp_path, "a.mp4")
    with av.open(tmp_path / "a.mp4") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == COUNT
    assert frames[0].shape == (120, 160, 3)
    assert np.abs(frames[0].astype(int) - images(1)[0]).mean() > 1  # something is drawn on it


def test_odd_sides_are_cut(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    frames = [scene((40, 60, RED), size=(121, 161), seed=t) for t in range(3)]
    output = Output("video", tmp_path / "odd.mkv")
    with Camera(frames, drop=False) as camera:
        record(camera, tracker(), prompts=[Prompt(box=box_of(frames[0], RED))], outputs=[output])
    with av.open(tmp_path / "odd.mkv") as container:
        assert next(container.decode(video=0)).height == 120


def test_several_outputs_at_once(tmp_path: Path) -> None:
    result = followed(tmp_path, "a.jsonl", "a.json", "masks")["record"]
    assert result.files == [str(tmp_path / name) for name in ("a.jsonl", "a.json", "masks")]
    assert result.mask_age is None  # a recording that waits has no age


def test_an_unknown_ending_is_said() -> None:
    with pytest.raises(OptionError, match=r"expected .*\.json.* a folder"):
        sinks.from_path(Path("a.gif"))


def test_an_ending_that_means_another_kind_is_said() -> None:
    with pytest.raises(OptionError, match=r"coco goes to \.json.*name --format video"):
        sinks.from_path(Path("a.mp4"), "coco")
    assert sinks.from_path(Path("a.mp4"), "video") == "video"
    assert sinks.from_path(Path("a.log"), "jsonl") == "jsonl"
    assert sinks.from_path(Path("run.2"), "masks") == "masks"


def test_a_full_disk_ends_it_and_counts_still_add_up(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    outputs = [Output("coco", tmp_path / "kept.json"), Output("jsonl", Path("/dev/full"))]
    with Camera(images(), drop=False) as camera, pytest.raises((OSError, SamedgeError)) as caught:
        record(camera, tracker(), prompts=prompts(), outputs=outputs)
    assert "28" in str(caught.value) or "space" in str(caught.value)
    assert adds_up(camera)
    assert json.loads((tmp_path / "kept.json").read_text())["videos"][0]["length"] == 1


def test_a_disk_that_fills_under_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    from samedge.live.sinks import _video

    honest = _video._Movie.write

    def full(self: Any, drawn: Drawn) -> None:
        if drawn.followed.frame.number == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        honest(self, drawn)

    monkeypatch.setattr(_video._Movie, "write", full)
    with Camera(images(), drop=False) as camera, pytest.raises((OSError, SamedgeError)):
        record(camera, tracker(), prompts=prompts(), outputs=[Output("video", tmp_path / "a.mp4")])
    assert adds_up(camera)
    assert list(tmp_path.iterdir()) == []  # a half video is none


def test_ctrl_c_finishes_the_files(tmp_path: Path) -> None:
    pytest.importorskip("av")
    outputs = [Output("video", tmp_path / "a.mp4"), Output("coco", tmp_path / "a.json")]

    def interrupt(one: Followed) -> None:
        if one.frame.number == 5:
            raise KeyboardInterrupt

    with Camera(images(), drop=False) as camera:
        result = record(camera, tracker(), prompts=prompts(), outputs=outputs, on_frame=interrupt)
    assert result.interrupted
    assert adds_up(camera)
    assert json.loads((tmp_path / "a.json").read_text())["videos"][0]["length"] == 6
    assert (tmp_path / "a.mp4").stat().st_size > 1000


def test_a_watcher_ends_it() -> None:
    seen: list[int] = []

    def watch(drawn: Drawn) -> bool:
        assert drawn.overlay is not None
        seen.append(drawn.followed.frame.number)
        return len(seen) < 4

    with Camera(images(), drop=False) as camera:
        record(camera, tracker(), prompts=prompts(), watchers=[watch])
    assert seen == [0, 1, 2, 3]
    assert adds_up(camera)


# ---- the page


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page(0)
    yield page
    page.close()


def drawn(number: int) -> Drawn:
    image = images(1)[0]
    frame = VideoFrame(image, number, 0.0)
    return Drawn(Followed(frame, (), 0.01, 10.0), image)


def test_the_page_and_its_record(page: Page) -> None:
    with urllib.request.urlopen(page.address) as answer:
        assert b"/stream.mjpg" in answer.read()
    page.show(drawn(7))
    with urllib.request.urlopen(page.address + "latest.json") as answer:
        assert json.load(answer)["frame"] == 7


def test_the_stream_shows_the_newest(page: Page) -> None:
    stop = threading.Event()

    def feed() -> None:
        number = 0
        while not stop.wait(0.02):
            page.show(drawn(number))
            number += 1

    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        with urllib.request.urlopen(page.address + "stream.mjpg") as answer:
            data = answer.read(20_000)
    finally:
        stop.set()
        feeding.join()
    assert data.count(b"--samedge") >= 2
    assert b"\xff\xd8\xff" in data


def test_another_host_may_not_look(page: Page) -> None:
    asked = urllib.request.Request(page.address, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked)
    with refused.value as answer:
        assert answer.code == 403
