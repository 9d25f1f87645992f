"""``samedge track`` and ``samedge camera`` from the outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from samedge.cli import cli
from tests.cli.json_page import untold
from tests.tracking.toys import RED, box_of, scene

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short video as a folder of pictures."""
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("frames")
    for index in range(6):
        Image.fromarray(scene((60 + 3 * index, 60, RED), seed=index)).save(
            path / f"{index:03d}.png"
        )
    return path


def box(folder: Path) -> str:
    with Image.open(folder / "000.png") as picture:
        return ",".join(map(str, box_of(np.asarray(picture), RED)))


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_track_writes_and_counts(folder: Path, tmp_path: Path) -> None:
    lines, coco = tmp_path / "a.jsonl", tmp_path / "a.json"
    x0, y0, x1, y1 = map(int, box(folder).split(","))
    with Image.open(folder / "000.png") as picture:
        inside = np.zeros((picture.height, picture.width), np.uint8)
    inside[y0:y1, x0:x1] = 255
    Image.fromarray(inside).save(tmp_path / "inside.png")
    masks = ("--mask", str(tmp_path / "inside.png")) * 2  # an object each
    code, out, err = run(
        *("track", str(folder), "--box", box(folder), *masks, "--backend", "onnxruntime"),
        *("--threads", "1", "-o", str(lines), "-o", str(coco), "--json"),
    )
    assert code == 0, err
    document = json.loads(out)
    assert document["schema"] == "samedge.track/1"
    assert untold("track", document) == []
    assert document["bundle"]["preprocess"] == "exact"
    frames = document["frames"]
    assert frames["captured"] == frames["processed"] == 6
    assert document["mask_age"] is None
    assert [found["id"] for found in document["objects"]] == [0, 1, 2]
    assert document["files"] == [str(lines), str(coco)]
    assert len(lines.read_text().splitlines()) == 6


def test_camera_plays_a_recording_at_its_pace(folder: Path) -> None:
    code, out, err = run(
        *("camera", str(folder), "--point", "60,60", "--backend", "onnxruntime"),
        *("--threads", "1", "--json"),
    )
    assert code == 0, err
    document = json.loads(out)
    frames = document["frames"]
    assert frames["captured"] == 6
    assert frames["captured"] == frames["processed"] + frames["dropped"] + frames["in_flight"]
    assert document["mask_age"]["n"] == frames["processed"]
    assert document["mask_age"]["p95_ms"] is None  # six frames say nothing about it


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--every", "1"], 2, "Say what to follow"),
        (["--text", "the largest cat"], 1, "says more than what a thing is"),
        (["--box", "1,1,9,9", "-o", "a.gif"], 1, "a.gif has an ending that nothing is written to"),
        (["--box", "1,1,9,9", "--format", "coco"], 2, "--format is of the first output"),
        (["--box", "1,1,9,9", "-o", "a.json", "-o", "./a.json"], 1, "names one path twice"),
        (["--box", "1,1,9,9", "--max-age", "50ms"], 1, "no frame of this source is dropped"),
        (["--box", "1,1,9,9", "-o", "{source}"], 1, "is read, and would be lost"),
    ],
)
def test_what_cannot_be_done_is_said(
    folder: Path, arguments: list[str], code: int, message: str
) -> None:
    filled = [argument.format(source=folder) for argument in arguments]
    found, _, err = run("track", str(folder), *filled)
    assert found == code
    assert message in " ".join(err.split())


def test_track_follows_so_many_frames_a_second_of_the_recording(folder: Path) -> None:
    code, out, err = run(
        *("track", str(folder), "--box", box(folder), "--backend", "onnxruntime"),
        *("--threads", "1", "--target-fps", "10", "--refine", "1", "--json"),
    )
    assert code == 0, err
    frames = json.loads(out)["frames"]  # a folder plays at 30 frames a second
    assert (frames["captured"], frames["processed"]) == (6, 2)
    assert frames["dropped_by"] == {"skipped": 4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stream", "a.mp4", "--effort", "quick"], "--stream takes no --effort"),
        (["--stream", "a.mp4", "--deadline", "33ms"], "--stream takes no --deadline"),
        (["--box", "1,1,9,9"], "without --stream takes no --box"),
        (["--ask-every", "2"], "without --stream takes no --ask-every"),
    ],
)
def test_bench_loses_no_option(arguments: list[str], message: str) -> None:
    code, _, err = run("bench", *arguments)
    assert code == 2
    assert message in " ".join(err.split())


def test_a_source_that_is_not_there() -> None:
    code, _, err = run("track", "gone.mp4", "--box", "1,1,9,9")
    assert code == 1
    assert "is no source of video that is here" in " ".join(err.split())


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ctrl_c_finishes_the_files(name: str, folder: Path, tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    source = "python:tests.live.faulty:steady"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "samedge", "camera", source, "--point", "30,20"),
            *("--backend", "onnxruntime", "--threads", "1", "-o", str(lines), "--json"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=os.environ
        | {
            "SAMEDGE_TEST_TALLY": str(tmp_path / "tally"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
    )
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not (lines.exists() and lines.stat().st_size):
        time.sleep(0.05)
    os.killpg(
        process.pid, getattr(signal, name)
    )  # as a terminal does: all of its processes hear it
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert b"Traceback" not in err
    document = json.loads(out)
    frames = document["frames"]
    assert document["interrupted"]
    assert len(lines.read_text().splitlines()) <= frames["processed"]
    assert frames["captured"] == frames["processed"] + frames["dropped"] + frames["in_flight"]
    assert all(json.loads(line)["objects"] for line in lines.read_text().splitlines())
