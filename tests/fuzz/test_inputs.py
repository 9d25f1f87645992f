"""Whatever a file or a caller holds, the answer is a value or a SamedgeError: no traceback of
another kind, no hang, no memory without bound.

Hypothesis draws more than 10,000 cases in this folder; `SAMEDGE_FUZZ=10` draws ten times as many,
at random. What it found stays as an example beside the strategy that found it.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from samedge.bundle.bundle import Bundle
from samedge.bundle.canary import Canary, canary_images
from samedge.calibration.plan import default_plan, load_plan
from samedge.errors import PromptError, SamedgeError
from samedge.evaluation.ground_truth import load_ground_truth
from samedge.formats.annotation_file import read_annotations
from samedge.pixels.frames import Frame
from samedge.pixels.images import check_image, load_image
from samedge.pixels.mask_images import load_mask
from samedge.pixels.prompts import row_from_prompt
from samedge.pixels.rle import mask_from_rle, rle_from_mask
from samedge.pixels.segmentations import mask_from_segmentation
from samedge.records import read as read_record
from samedge.types import Precision, Prompt
from tests.fuzz.cases import fuzz, only_typed_errors, written
from tests.fuzz.damage import ODD_NUMBERS, ODD_VALUES, as_json, damaged_bytes, damaged_document
from tests.toys.bundle import write_bundle
from tests.toys.pictures import png16, tiff
from tests.toys.records import eval_record


def test_the_harness_can_fail() -> None:
    """The positive control: an untyped error is not swallowed."""

    @fuzz(50)
    @given(damaged_bytes(b'{"a": 1}'))
    def broken_reader(data: bytes) -> None:
        with only_typed_errors():
            json.loads(data)

    with pytest.raises(ValueError):
        broken_reader()


# ---- images and masks

_RNG = np.random.default_rng(0)
_RGB = _RNG.integers(0, 256, (12, 9, 3), dtype=np.uint8)
_DISC = ((np.mgrid[:12, :9] - 5) ** 2).sum(0) < 14


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


_PALETTE = Image.fromarray(_DISC.astype(np.uint8)).convert("P")
_EXIF: Any = Image.Exif()
_EXIF[0x0112] = 6
PICTURES = [
    _encoded(Image.fromarray(_RGB), "PNG"),
    _encoded(Image.fromarray(_RGB), "JPEG", exif=_EXIF),
    _encoded(Image.fromarray(_RGB), "WEBP"),
    _encoded(Image.fromarray(_RGB), "TIFF", compression="tiff_lzw"),
    _encoded(Image.fromarray(_RGB), "BMP"),
    _encoded(Image.fromarray(_RGB), "GIF"),
    _encoded(Image.fromarray(_RGB), "PPM"),
    _encoded(Image.fromarray(_RGB), "TGA"),
    _encoded(Image.fromarray(_DISC), "PNG"),
    _encoded(_PALETTE, "PNG", transparency=1),
    _encoded(Image.fromarray(np.dstack([_RGB, _RGB[..., 0]])), "PNG"),
    png16(_RNG.integers(0, 4096, (12, 9, 3), dtype=np.uint16)),
    png16(_RNG.integers(0, 65536, (12, 9, 2), dtype=np.uint16)),
    tiff(_RNG.integers(0, 65536, (12, 9), dtype=np.uint16)),
    tiff(_RNG.random((12, 9), np.float32)),
    tiff(_RNG.integers(-9, 9, (12, 9), dtype=np.int32)),
]


@pytest.mark.filterwarnings("ignore")  # Pillow warns about damaged metadata
@fuzz(1200)
@given(st.sampled_from(PICTURES).flatmap(damaged_bytes), ODD_VALUES)
def test_images(data: bytes, sample_range: Any) -> None:
    with only_typed_errors():
        assert load_image(data).dtype == np.uint8
    with only_typed_errors():
        load_image(PICTURES[0], range=sample_range)


@pytest.mark.filterwarnings("ignore")
@fuzz(900)
@given(
    st.sampled_from(PICTURES).flatmap(damaged_bytes),
    st.one_of(st.none(), st.integers(-5, 70000)),
)
def test_masks(data: bytes, value: int | None) -> None:
    with only_typed_errors():
        assert load_mask(data, value=value).any()


ARRAYS = st.builds(
    lambda shape, kind: np.zeros(shape, kind),
    st.lists(st.integers(0, 5), max_size=4).map(tuple),
    st.sampled_from(["u1", "u2", "i4", "f4", "f8", "?", "c8", "O", "U3", "M8[s]"]),
)


@fuzz(600)
@given(st.one_of(ARRAYS, ODD_VALUES))
def test_arrays_that_are_images_or_not(image: Any) -> None:
    with only_typed_errors():
        assert check_image(image).shape[2] == 3


# ---- prompts

_PROMPT_VALUES = st.one_of(
    ODD_VALUES,
    ARRAYS,
    st.lists(st.lists(ODD_NUMBERS, min_size=2, max_size=2), max_size=4),
    st.lists(st.sampled_from([0, 1]), max_size=4),
    st.lists(st.floats(-20, 60), min_size=4, max_size=4),
    st.just([[1, 2]] * 100),
)


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@fuzz(1000)
@given(_PROMPT_VALUES, _PROMPT_VALUES, _PROMPT_VALUES, _PROMPT_VALUES)
def test_prompts(points: Any, labels: Any, box: Any, mask: Any) -> None:
    for fields in ({"points": points}, {"box": box}, {"mask": mask}):
        with only_typed_errors():
            row = row_from_prompt(Prompt(**fields), Frame(target_length=64).view((30, 40)))
            assert np.isfinite(row.coords).all()
    with only_typed_errors():
        Prompt(points, labels, box=box, mask=mask)
    with only_typed_errors():
        Prompt.from_boxes(box)


def test_a_prompt_without_end_is_answered_at_once() -> None:
    with pytest.raises(PromptError, match="limit 50"):
        Prompt(points=np.zeros((1_000_000, 2)))


# ---- run lengths and segmentations

_RLE = rle_from_mask(_DISC)


@fuzz(1200)
@given(
    st.one_of(
        damaged_document(_RLE),
        damaged_document({"size": [12, 9], "counts": [40, 3, 65]}),
        st.builds(
            lambda text: {"size": [12, 9], "counts": text},
            damaged_bytes(_RLE["counts"].encode()).map(lambda b: b.decode("latin-1")),
        ),
    )
)
def test_run_lengths(rle: Any) -> None:
    with only_typed_errors():
        mask = mask_from_rle(rle if isinstance(rle, dict) else {"size": rle, "counts": rle})
        assert np.array_equal(mask_from_rle(rle_from_mask(mask)), mask)
    with only_typed_errors():
        assert mask_from_segmentation(rle, (12, 9)).shape == (12, 9)


@fuzz(1200)
@given(
    st.one_of(
        damaged_document([[1, 1, 8, 1, 8, 9], [2, 2, 3, 3, 2, 3]]),
        st.lists(st.lists(st.floats(-300, 300), min_size=6, max_size=12), min_size=1, max_size=3),
    )
)
def test_polygons(segmentation: Any) -> None:
    with only_typed_errors():
        assert mask_from_segmentation(segmentation, (12, 9)).shape == (12, 9)


# ---- documents in files

_COCO = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": 12, "width": 9},
        {"id": 2, "file_name": "b.png", "height": 12, "width": 9},
    ],
    "annotations": [
        {
            "id": number,
            "image_id": 1 + number % 2,
            "category_id": 1,
            "iscrowd": 0,
            "bbox": [1, 1, 7, 8],
            "area": 28,
            "segmentation": shape,
        }
        for number, shape in enumerate(([[1, 1, 8, 1, 8, 9]], _RLE, [[0, 0, 5, 0, 5, 5, 0, 5]]))
    ],
    "categories": [{"id": 1, "name": "x"}],
}


@fuzz(1200)
@given(
    st.one_of(
        damaged_document(_COCO).map(as_json),
        damaged_document(_COCO["annotations"]).map(lambda a: as_json({**_COCO, "annotations": a})),
        damaged_bytes(as_json(_COCO)),
    )
)
def test_coco_files(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = written(tmp_path_factory, "coco.json", data)
    with only_typed_errors():
        read_annotations(path)
        truth = load_ground_truth(path, path.parent)
        for image in truth.images:
            assert all(instance.mask.any() for instance in image.instances())


_PLAN = msgspec.to_builtins(default_plan(Precision.FP32))


@fuzz(500)
@given(st.one_of(damaged_document(_PLAN).map(as_json), damaged_bytes(as_json(_PLAN))))
def test_plans(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    with only_typed_errors():
        load_plan(written(tmp_path_factory, "plan.json", data))


def _small_record() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:  # it writes a picture
        document: dict[str, Any] = msgspec.to_builtins(eval_record(Path(folder)))
    document["results"], document["examples"] = document["results"][:1], document["examples"][:1]
    return {"schema": "samedge.eval/1", **document}


_RECORD = _small_record()


@fuzz(500)
@given(st.one_of(damaged_document(_RECORD).map(as_json), damaged_bytes(as_json(_RECORD))))
def test_records(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    with only_typed_errors():
        read_record(written(tmp_path_factory, "record.json", data))


FOUND = {
    "a plan that is not UTF-8": (load_plan, b'{"schema": "\xff"}'),
    "a deep plan": (load_plan, b'{"modules": ' + b"[" * 100_000),
    "a record whose schema is a list": (read_record, b'{"schema": []}'),
    "a record that is not UTF-8": (read_record, b'{"schema": "\xe5"}'),
    "a lone surrogate for an image": (
        read_annotations,
        b'{"images": ["\\ud800"], "annotations": []}',
    ),
    "an image id of 400 digits": (
        read_annotations,
        b'{"images": [{"id": 1' + b"0" * 400 + b'}], "annotations": []}',
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_before(tmp_path: Path, name: str) -> None:
    read, data = FOUND[name]
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(SamedgeError):
        read(tmp_path / "x")


# ---- bundles


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle as folder and as archive."""
    folder = tmp_path_factory.mktemp("bundles")
    return write_bundle(folder / "b").path, write_bundle(folder / "b.samedge").path


@fuzz(1200)
@given(st.data())
def test_manifests(toy: tuple[Path, Path], data: st.DataObject) -> None:
    manifest = toy[0] / "bundle.json"
    whole = manifest.read_bytes()
    content = data.draw(
        st.one_of(damaged_document(json.loads(whole)).map(as_json), damaged_bytes(whole))
    )
    manifest.write_bytes(content)
    try:
        with only_typed_errors():
            Bundle.open(toy[0], verify=False)
    finally:
        manifest.write_bytes(whole)


@pytest.mark.parametrize("data", [b"\xff", b'{"schema": "\xe5"}', b"[" * 100_000, b""])
def test_a_manifest_that_is_no_text(toy: tuple[Path, Path], tmp_path: Path, data: bytes) -> None:
    shutil.copytree(toy[0], tmp_path / "b")
    (tmp_path / "b" / "bundle.json").write_bytes(data)
    with pytest.raises(SamedgeError):
        Bundle.open(tmp_path / "b")


@fuzz(400)
@given(st.data())
def test_archives(
    toy: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = toy[1].read_bytes()
    # A zip's structure is at its end and before every member.
    start = data.draw(st.sampled_from([0, max(0, len(whole) - 400)]))
    content = (
        whole[:start] + data.draw(damaged_bytes(whole[start : start + 400])) + whole[start + 400 :]
    )
    with only_typed_errors():
        Bundle.open(written(tmp_path_factory, "x.samedge", content))


@fuzz(300)
@given(st.data())
def test_canaries(data: st.DataObject) -> None:
    answer = {"any": np.zeros((2, 4, 2, 2))}
    canary = Canary(*canary_images(), answers={"encoder": answer, "decoder": answer})
    with only_typed_errors():
        Canary.from_bytes(data.draw(damaged_bytes(canary.to_bytes())))


def test_a_canary_bomb(tmp_path: Path) -> None:
    """A kilobyte that unpacks to two gigabytes."""
    stream = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (2, 1 << 15, 1 << 15, 1)}
    )
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(64):
            member.write(bytes(1 << 20))
    with pytest.raises(SamedgeError):
        Canary.from_bytes(stream.getvalue())


def test_a_manifest_that_is_a_pipe(toy: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(toy[0], tmp_path / "b")
    (tmp_path / "b" / "bundle.json").unlink()
    os.mkfifo(tmp_path / "b" / "bundle.json")
    with pytest.raises(SamedgeError, match="is a pipe"):
        Bundle.open(tmp_path / "b")
