"""The Ray engine on a local cluster: the local engine's files, and a lost worker costs none."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from samedge.annotate.engines import EngineOptions
from samedge.annotate.run import annotate_automatically
from samedge.annotate.tasks import AutoSettings

pytestmark = pytest.mark.slow
WORKERS = EngineOptions(workers=2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="pip install 'samedge[ray]'")
    ray.init(num_cpus=3, include_dashboard=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(24):
        picture = rng.integers(0, 255, (48, 64, 3), np.uint8)
        Image.fromarray(picture).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture
def settings(toy_bundle: Path) -> AutoSettings:
    return AutoSettings(
        bundle=str(toy_bundle), points_per_side=4, pred_iou_threshold=0.0, stability_threshold=0.0
    )


def kill_one_worker() -> int:
    """Kill a process that runs the annotator; how many there were."""
    found = [
        child
        for child in psutil.process_iter(["cmdline"])
        if "MapWorker" in " ".join(child.info["cmdline"] or ())
    ]
    if found:
        os.kill(found[0].pid, signal.SIGKILL)
    return len(found)


@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_cluster_makes_the_same_files_though_it_loses_a_worker(
    photos: Path, tmp_path: Path, settings: AutoSettings
) -> None:
    (photos / "bad.jpg").write_bytes(b"no picture")
    alone = annotate_automatically(photos, tmp_path / "alone", settings=settings)
    killed: list[int] = []

    def kill_early(done: int, _: int) -> None:
        if done and not killed:
            killed.append(kill_one_worker())

    made = annotate_automatically(
        photos,
        tmp_path / "ray",
        settings=settings,
        engine="ray",
        options=WORKERS,
        progress=kill_early,
    )
    assert killed[0] >= 1
    assert made.merged.failures == alone.merged.failures
    files = (made.merged.files[0].read_bytes(), alone.merged.files[0].read_bytes())
    assert files[0] == files[1]
