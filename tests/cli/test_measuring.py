"""``samedge eval``, ``bench``, ``report`` and ``everything`` on the toy bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.benchmark import bench as library
from samedge.benchmark.bench import Effort
from samedge.bundle.bundle import Bundle
from samedge.pixels.rle import mask_from_rle, rle_from_mask
from samedge.predict.everything import EverythingConfig
from samedge.predict.predictor import Predictor
from samedge.predict.subjects import backends_for
from samedge.types import Array
from tests.cli.conftest import HEIGHT, WIDTH, invoke


@pytest.fixture
def dataset(photo: Path) -> Path:
    """Two boxes on the photo as ground truth."""
    annotations = []
    for index, (x0, y0, x1, y1) in enumerate([(10, 10, 50, 60), (60, 20, 110, 80)], start=1):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[y0:y1, x0:x1] = True
        annotations.append(
            {
                "id": index,
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": int(mask.sum()),
                "segmentation": rle_from_mask(mask),
            }
        )
    image = {"id": 1, "file_name": photo.name, "height": HEIGHT, "width": WIDTH}
    path = photo.with_name("instances.json")
    categories = [{"id": 1, "name": "object"}]
    document = {"images": [image], "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure for a moment only."""
    monkeypatch.setitem(library.EFFORTS, "quick", Effort(0.01, 10, 1))
    monkeypatch.setattr(library, "BLOCK_SECONDS", 0.01)
    monkeypatch.setattr(library, "RATE_SECONDS", 0.01)


class TestEval:
    def _arguments(self, dataset: Path) -> list[object]:
        return ["eval", "--dataset", dataset, "--images", dataset.parent]

    def test_prints_one_document(self, toy_bundle: Path, dataset: Path) -> None:
        pytest.importorskip("pycocotools")
        result = invoke(
            *self._arguments(dataset),
            *("--bundle", toy_bundle, "--bundle", "baseline:box", "--prompts", "box,clicks:2"),
            *("--json", "--instances", "-o", "record.json"),
        )
        assert result.exit_code == 0
        document = json.loads(result.stdout)
        assert document["schema"] == "samedge.eval/1"
        assert document["dataset"]["instances"] == 2
        rows = {(row["bundle"], row["prompt"]): row for row in document["results"]}
        assert set(rows) == {
            (str(toy_bundle), "box"),
            (str(toy_bundle), "clicks:2"),
            ("baseline:box", "box"),
        }
        assert rows["baseline:box", "box"]["miou"] == 1.0
        toy = rows[str(toy_bundle), "box"]
        assert toy["miou"] > 0.7  # the toy's decoder fills boxes, on a coarse grid
        assert (toy["backend"], toy["input_size"], toy["miou_large"]) == ("onnxruntime", 64, None)
        assert toy["ci95"] is None  # one image
        assert len(rows[str(toy_bundle), "clicks:2"]["miou_by_click"]) == 2
        assert len(document["instances"]) == 6
        written = json.loads(Path("record.json").read_text())
        assert written["results"] == document["results"]
        assert written["environment"]["python"]
        assert "answers boxes only" in result.stderr

    def test_table_for_people(self, toy_bundle: Path, dataset: Path) -> None:
        pytest.importorskip("pycocotools")
        result = invoke(*self._arguments(dataset), "--bundle", "baseline:box", "--prompts", "box")
        assert result.exit_code == 0
        assert "1.000" in result.stdout
        assert "2 instances on 1 images" in result.stdout

    @pytest.mark.parametrize(
        ("extra", "message"),
        [
            (["--bundle", "baseline:blox"], "Did you mean 'baseline:box'"),
            (["--prompts", "boxes"], "Did you mean 'box'"),
            (["--prompts", "everythin"], "Did you mean 'everything'"),
            (["--bundle", "nowhere"], "nowhere"),
        ],
    )
    def test_errors_are_one_line(self, dataset: Path, extra: list[str], message: str) -> None:
        result = invoke(*self._arguments(dataset), *extra)
        assert result.exit_code == 1
        assert message in result.stderr
        assert "Traceback" not in result.stderr

    def test_usage(self) -> None:
        assert invoke("eval").exit_code == 2
        result = invoke("eval", "--help")
        assert "samedge eval --dataset instances.json --images photos/" in result.output


class TestBenchAndReport:
    def test_measures_and_reports(self, toy_bundle: Path, short: None, photo: Path) -> None:
        arguments = ["bench", "--bundle", toy_bundle, "--effort", "quick", "--threads", 1]
        arguments += ["--images", photo.parent, "--prompt-rate", "1,2", "--deadline", "30fps"]
        arguments += ["--min-count", 10]
        result = invoke(*arguments, "--json", "-o", "latency.json")
        assert result.exit_code == 0
        document = json.loads(result.stdout)
        assert document["schema"] == "samedge.bench/1"
        stages = {row["stage"]: row for row in document["results"]}
        assert list(stages) == [
            *("load", "first", "preprocess", "encode", "decode", "postprocess", "end_to_end")
        ]
        assert stages["end_to_end"]["p99_ms"] is None
        assert stages["encode"]["device"] == "cpu"
        assert stages["encode"]["artifact_bytes"] > 0
        assert len(stages["encode"]["artifact_sha256"]) == 64
        assert [row["prompts_per_frame"] for row in document["prompt_rate"]] == [1, 2]
        assert document["deadline"][0]["deadline_ms"] == pytest.approx(1000 / 30)
        assert document["environment"]["threads"] == 1
        assert document["workload"]["images"][0]["height"] == HEIGHT

        pytest.importorskip("matplotlib")
        pytest.importorskip("jinja2")
        written = invoke(
            *("report", "latency.json", "--html", "out/r.html", "--csv", "r.csv"),
            *("--markdown", "r.md", "--json"),
        )
        assert written.exit_code == 0
        assert json.loads(written.stdout)["files"]["html"] == "out/r.html"
        assert "Where the time goes" in Path("out/r.html").read_text()
        assert "end_to_end" in Path("r.csv").read_text()
        assert "# samedge report" in Path("r.md").read_text()

    def test_table_for_people(self, toy_bundle: Path, short: None) -> None:
        arguments = ("--bundle", toy_bundle, "--effort", "quick", "--min-count", 10)
        backends = ("--backend", "onnxruntime", "--backend", "torch")
        result = invoke("bench", *arguments, *backends, "--deadline", "9s")
        assert result.exit_code == 0
        assert f"Left out: torch does not open the format of {toy_bundle}" in result.stderr
        assert "end_to_end" in result.stdout
        assert "peak memory" in result.stdout
        assert "within 9000 ms: cannot tell" in result.stdout

    def test_an_embedded_model_has_a_name(self, toy_bundle: Path) -> None:
        result = invoke("bench", "--bundle", "samedge-nanoo")
        assert result.exit_code == 1
        assert "carries no embedded model 'samedge-nanoo'" in result.stderr
        assert backends_for("samedge-nano", ["onnxruntime", "torch"]) == ["onnxruntime"]
        assert backends_for(None, [None]) == [None]

    def test_an_absent_backend_says_what_to_do(self, toy_bundle: Path) -> None:
        result = invoke("bench", "--bundle", toy_bundle, "--backend", "onnxrutime")
        assert result.exit_code == 1
        assert "Did you mean 'onnxruntime'" in result.stderr

    @pytest.mark.parametrize(
        ("extra", "message"),
        [
            (["--deadline", "soon"], "is not a duration such as 33ms"),
            (["--deadline", "0ms"], "is not a duration"),
            (["--prompt-rate", "1,x"], "is not a list of counts"),
        ],
    )
    def test_usage(self, extra: list[str], message: str) -> None:
        result = invoke("bench", *extra)
        assert result.exit_code == 2
        assert message in result.stderr

    def test_unknown_effort(self) -> None:
        result = invoke("bench", "--effort", "strickt")
        assert result.exit_code == 1
        assert "Did you mean 'strict'" in result.stderr

    def test_report_needs_to_know_what_to_write(self, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_text("{}")
        result = invoke("report", tmp_path / "x.json")
        assert result.exit_code == 2
        assert "--html" in result.stderr
        result = invoke("report", tmp_path / "x.json", "--html", "r.html")
        assert result.exit_code == 1
        assert "has schema None" in result.stderr


class TestEverything:
    EASY = ("--points-per-side", 3, "--predicted-iou", 0.2, "--stability", 0)

    def test_what_is_not_given_is_the_bundles(
        self, toy_bundle: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same settings as in Python, where nothing is given either."""
        seen: list[EverythingConfig] = []

        def noted(predictor: Predictor, image: Array, *, config: EverythingConfig, **_: Any) -> Any:
            seen.append(config)
            return []

        monkeypatch.setattr("samedge.predict.everything.segment_everything", noted)
        assert invoke("everything", photo, "--bundle", toy_bundle, "--json").exit_code == 0
        own = EverythingConfig.for_bundle(Bundle.open(toy_bundle).manifest)
        assert seen == [own]
        assert None not in vars(own).values()

    def test_prints_one_document(self, toy_bundle: Path, photo: Path) -> None:
        result = invoke("everything", photo, "--bundle", toy_bundle, *self.EASY, "--json")
        assert result.exit_code == 0
        document = json.loads(result.stdout)
        assert document["schema"] == "samedge.everything/1"
        assert document["masks"]
        for record in document["masks"]:
            mask = mask_from_rle(record["rle"])
            assert mask.shape == (HEIGHT, WIDTH)
            assert record["area"] == mask.sum()
            assert record["parent"] is None or record["parent"] < len(document["masks"])
        assert document["files"] == []

    def test_writes_every_format(self, toy_bundle: Path, photo: Path) -> None:
        common = ["everything", photo, "--bundle", toy_bundle, *self.EASY]
        assert invoke(*common, "-o", "over.jpg").exit_code == 0
        with Image.open("over.jpg") as overlay:
            assert (overlay.size, overlay.mode) == ((WIDTH, HEIGHT), "RGB")
        assert invoke(*common, "-o", "coco.json").exit_code == 0
        coco = json.loads(Path("coco.json").read_text())
        assert coco["images"][0]["file_name"] == photo.name
        assert coco["annotations"]
        assert invoke(*common, "--format", "sam", "-o", "sam.json").exit_code == 0
        sam = json.loads(Path("sam.json").read_text())
        assert sam["image"]["height"] == HEIGHT
        assert {"segmentation", "predicted_iou", "point_coords", "crop_box"} <= set(
            sam["annotations"][0]
        )

    def test_several_images_need_a_folder(self, toy_bundle: Path, photo: Path) -> None:
        other = photo.with_name("other.png")
        other.write_bytes(photo.read_bytes())
        common = ["everything", photo, other, "--bundle", toy_bundle, *self.EASY]
        result = invoke(*common, "-o", "one.png")
        assert result.exit_code == 1
        assert "name a folder" in result.stderr
        assert invoke(*common, "-o", "masks", "--format", "overlay").exit_code == 0
        assert sorted(file.name for file in Path("masks").iterdir()) == [
            *("other_overlay.png", "photo_overlay.png")
        ]
