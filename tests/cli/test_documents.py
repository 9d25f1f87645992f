"""Every JSON document, field by field, as outside programs rely on it.

The structures below are the promise of docs/json.md. Fields may be added; one that is missing, or
has another type, fails here.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import msgspec
import numpy as np
import pytest
from msgspec import Meta, Struct
from PIL import Image

from samedge import records, runtimes
from samedge.benchmark import bench as library
from samedge.benchmark.bench import Effort
from samedge.cli import cli
from samedge.inspection import doctor
from samedge.pixels.rle import mask_from_rle, rle_from_mask
from tests.cli.conftest import HEIGHT, WIDTH, invoke
from tests.cli.json_page import sections, untold
from tests.toys import records as toys

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Stage = Literal["load", "first", "preprocess", "encode", "decode", "postprocess", "end_to_end"]


class Head(Struct, kw_only=True):
    schema: str
    samedge_version: str
    created: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class ImageField(Struct):
    path: str
    height: Count
    width: Count


class BundleField(Struct):
    id: str
    model: str
    target: str
    precision: str
    input_size: Count


class BackendField(Struct):
    name: str
    version: str | None
    device: str


class Rle(Struct):
    size: tuple[Count, Count]
    counts: str


class Mask(Struct):
    rle: Rle
    bbox: tuple[float, float, float, float] | None
    area: Count
    predicted_iou: float | None
    stability_score: Share | None


class PromptedMask(Mask, kw_only=True):
    prompt: dict[str, Any]


class Timing(Struct):
    load: float | None
    preprocess: float | None
    encode: float | None
    decode: float | None
    postprocess: float | None


class Segment(Head, kw_only=True):
    image: ImageField
    bundle: BundleField
    backend: BackendField
    masks: list[PromptedMask]
    timing_ms: Timing


class Everything(Head, kw_only=True):
    image: ImageField
    bundle: BundleField
    backend: BackendField
    masks: list[Mask]
    timing_ms: dict[str, float | None]


class Dataset(Struct):
    path: str
    images: Count
    instances: Count


class EvalResult(Struct):
    bundle: str
    backend: str
    prompt: str
    n: Count
    miou: Share | None
    miou_small: Share | None
    miou_medium: Share | None
    miou_large: Share | None
    boundary_iou: Share | None
    ci95: tuple[Share, Share] | None
    miou_oracle: Share | None


class Eval(Head, kw_only=True):
    dataset: Dataset
    results: list[EvalResult]


class Environment(Struct):
    cpu: str | None
    isa: list[str] | None
    cores: Count | None
    memory_bytes: Count | None
    os: str | None
    python: str | None
    packages: dict[str, str]
    power: dict[str, Any]
    threads: Count | None


class BenchResult(Struct):
    bundle: str
    backend: str
    device: str | None
    precision: str | None
    stage: Stage
    n: Annotated[int, Meta(gt=0)]
    p50_ms: Positive
    p90_ms: Positive | None
    p95_ms: Positive | None
    p99_ms: Positive | None
    mean_ms: Positive
    min_ms: Positive
    cov: float | None
    peak_rss_bytes: Annotated[int, Meta(gt=0)] | None
    artifact_bytes: Annotated[int, Meta(gt=0)]
    artifact_sha256: Sha256


class Bench(Head, kw_only=True):
    environment: Environment
    results: list[BenchResult]


class ArtifactField(Struct):
    role: Literal["encoder", "decoder"]
    path: str
    bytes: Count
    sha256: Sha256
    format: str
    precision: str


class Parity(Struct):
    images: Count
    prompts: Count
    mask_iou_mean: Share
    mask_iou_p05: Share
    embedding_cosine_min: float
    passed: bool


class ExportBundle(Struct):
    path: str
    id: str


class Export(Head, kw_only=True):
    bundle: ExportBundle
    artifacts: list[ArtifactField]
    parity: Parity | None
    plan: list[dict[str, Any]]
    seconds: Positive


class SelfTest(Struct):
    ok: bool
    ms: Positive | None


class BackendReport(Struct):
    name: str
    available: bool
    version: str | None
    devices: list[str]
    detail: str
    fix: str
    selftest: SelfTest | None


class Warned(Struct):
    name: str
    message: str
    fix: str


class Doctor(Head, kw_only=True):
    backends: list[BackendReport]
    warnings: list[Warned]


class ErrorField(Struct):
    type: str
    message: str
    exit_code: int


class Error(Head, kw_only=True):
    command: str
    kind: Annotated[str, Meta(pattern="^[a-z_]+$")]
    message: str
    remedy: Annotated[str, Meta(min_length=1)]
    exit_code: Annotated[int, Meta(gt=0)]
    error: ErrorField


def parsed(kind: type[Any], command: str, *arguments: object, exit_code: int = 0) -> Any:
    """Run a command with ``--json`` and hold its document against the promise."""
    result = invoke(command, *arguments, "--json")
    assert result.exit_code == exit_code, result.stderr
    document = msgspec.json.decode(result.stdout, type=kind)
    expected = command if exit_code == 0 else "error"
    assert document.schema == f"samedge.{expected}/1"
    section = command if exit_code == 0 else expected
    assert untold(section, msgspec.json.decode(result.stdout)) == []
    return document


@pytest.fixture
def dataset(photo: Path) -> Path:
    """One box on the photo as ground truth."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[20:60, 30:80] = True
    annotation: dict[str, Any] = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "area": 2000,
    }
    annotation |= {"bbox": [30, 20, 50, 40], "segmentation": rle_from_mask(mask)}
    image = {"id": 1, "file_name": photo.name, "height": HEIGHT, "width": WIDTH}
    categories = [{"id": 1, "name": "object"}]
    path = photo.with_name("instances.json")
    parts = {"images": [image], "annotations": [annotation], "categories": categories}
    path.write_text(json.dumps(parts))
    return path


def test_segment(toy_bundle: Path, photo: Path) -> None:
    found = parsed(Segment, "segment", photo, "--bundle", toy_bundle, "--point", "60,45")
    assert (found.image.height, found.image.width) == (HEIGHT, WIDTH)
    (mask,) = found.masks
    assert mask_from_rle(msgspec.to_builtins(mask.rle)).sum() == mask.area
    if mask.bbox is not None:
        x, y, width, height = mask.bbox
        assert 0 <= x <= x + width <= WIDTH
        assert 0 <= y <= y + height <= HEIGHT


def test_everything(toy_bundle: Path, photo: Path) -> None:
    few = ("--points-per-side", 2, "--predicted-iou", 0.2, "--stability", 0)
    found = parsed(Everything, "everything", photo, "--bundle", toy_bundle, *few)
    assert found.masks
    for mask in found.masks:
        assert mask_from_rle(msgspec.to_builtins(mask.rle)).sum() == mask.area


def test_eval(toy_bundle: Path, dataset: Path) -> None:
    pytest.importorskip("pycocotools")
    arguments = ("--dataset", dataset, "--images", dataset.parent, "--bundle", toy_bundle)
    found = parsed(Eval, "eval", *arguments, "--prompts", "box,center,clicks:2")
    assert [row.prompt for row in found.results] == ["box", "center", "clicks:2"]
    assert found.dataset.instances == 1
    for row in found.results:
        assert row.ci95 is None  # one image: not measured, not zero
        assert row.miou_small is row.miou_large is None


def test_bench(toy_bundle: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(library.EFFORTS, "quick", Effort(0.01, 10, 1))
    monkeypatch.setattr(library, "BLOCK_SECONDS", 0.01)
    found = parsed(
        Bench,
        "bench",
        *("--bundle", toy_bundle, "--images", photo.parent, "--effort", "quick", "--threads", 1),
    )
    assert found.environment.threads == 1
    assert len(found.results) == 7
    for row in found.results:
        assert row.p90_ms is row.p99_ms is None


def test_export() -> None:
    """The document of a real export is held against its promise in test_export."""
    record = toys.export_record()
    head = {"schema": record.schema, "samedge_version": "1", "created": "2026-01-01T00:00:00Z"}
    found = msgspec.convert({**head, **records.fields(record)}, Export)
    assert found.parity is not None


def test_doctor() -> None:
    pytest.importorskip("onnxruntime")
    found = parsed(Doctor, "doctor", "--backend", "onnxruntime", "--backend", "tensorrt")
    assert [report.name for report in found.backends] == ["onnxruntime", "tensorrt"]
    assert found.backends[0].selftest.ok


@pytest.mark.parametrize("name", runtimes.names())
def test_the_fix_of_a_broken_backend_names_an_extra_that_exists(name: str) -> None:
    fix = doctor._broken(name, "crashed").fix
    wanted = re.search(r"samedge(?:\[(.*)\])?'$", fix)
    assert wanted is not None
    extras = importlib.metadata.metadata("samedge").get_all("Provides-Extra") or []
    assert set((wanted.group(1) or "").split(",")) - {""} <= set(extras)


def test_doctor_warns_in_words_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    versions = {"onnx": "1.20.1", "torch": "2.5.0"}
    monkeypatch.setattr("samedge.machine.environment.package_versions", lambda: versions)
    found = parsed(Doctor, "doctor", "--backend", "onnxruntime")
    assert [warned.name for warned in found.warnings] == [
        "torch-weights-only",
        "onnx-external-data",
    ]
    text = invoke("doctor", "--backend", "onnxruntime").stdout
    assert "warning: onnx 1.20.1 reads files outside" in text
    assert "    fix: pip install 'onnx>=1.21'" in text


@pytest.mark.parametrize("command", ["models", "targets"])
def test_lists(command: str) -> None:
    result = invoke(command, "--json")
    document = json.loads(result.stdout)
    msgspec.convert(document, Head)
    assert all(row["name"] for row in document[command])
    assert untold(command, document) == []


def test_inspect_and_verify(toy_bundle: Path) -> None:
    for command, field in (("inspect", "bundle"), ("verify", "checks")):
        document = json.loads(invoke(command, toy_bundle, "--json").stdout)
        msgspec.convert(document, Head)
        assert document[field]
        assert untold(command, document) == []


def test_report(tmp_path: Path) -> None:
    paths = toys.write_all(tmp_path / "records")
    document = json.loads(invoke("report", *paths, "--markdown", "r.md", "--json").stdout)
    msgspec.convert(document, Head)
    assert document["subjects"] == 7
    assert document["files"] == {"markdown": "r.md"}


def test_error(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    arguments = (tmp_path / "x.png", "--bundle", tmp_path / "nowhere", "--point", "1,1")
    found = parsed(Error, "segment", *arguments, exit_code=1)
    assert (found.command, found.error.exit_code) == ("segment", 1)
    assert found.error.type == "BundleError"


def test_the_page_tells_of_every_command_s_document() -> None:
    assert set(sections()) - {"Errors", "error"} == set(cli.list_commands(click.Context(cli)))
