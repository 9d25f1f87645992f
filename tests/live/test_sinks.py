"""What is followed, in every kind of file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import OptionError, PromptError
from samedge.live import sinks
from samedge.live.camera import Camera
from samedge.live.following import Followed
from samedge.live.frame import VideoFrame
from samedge.live.recording import Output, record
from samedge.live.sinks.base import Drawn
from samedge.pixels.rle import mask_from_rle
from samedge.types import Prompt
from tests.live.scenes import COUNT, adds_up, images, prompts, tracker
from tests.tracking.toys import RED, box_of, scene, truth


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
