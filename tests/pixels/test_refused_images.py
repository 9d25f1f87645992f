"""Pictures and arrays that are refused, and what is said of each."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import samedge
from samedge.errors import ImageError
from samedge.pixels.images import check_image, load_image
from samedge.pixels.picture_files import opened_picture
from tests.toys.pictures import encoded


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent\.png.*No such file"):
        load_image(tmp_path / "absent.png")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_not_an_image(data: bytes) -> None:
    with pytest.raises(ImageError, match=f"image of {len(data)} bytes"):
        load_image(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_truncated_file(kind: str, rng: np.random.Generator) -> None:
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), kind)
    for share in (0.5, 0.9):
        with pytest.raises(ImageError, match=r"truncated or damaged|not an image"):
            load_image(whole[: int(len(whole) * share)])


def test_a_file_of_too_many_bytes_is_not_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = encoded(Image.new("L", (64, 64)))
    (tmp_path / "a.png").write_bytes(data)
    monkeypatch.setenv("SAMEDGE_LIMITS", f"image_bytes={len(data) - 1}")
    monkeypatch.setattr("PIL.Image.open", lambda *_: pytest.fail("opened"))
    for source in (data, io.BytesIO(data), tmp_path / "a.png"):
        with pytest.raises(ImageError, match=rf"limit {len(data) - 1}.*image_bytes={len(data)}"):
            load_image(source)


def test_giant_file_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("L", (64, 64)))
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=4095")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(
        ImageError, match=r"64x64 px, has 4096 pixels, limit 4095.*image_pixels=4096"
    ):
        load_image(data)


def test_decompression_bomb_is_an_image_error() -> None:
    header = bytearray(encoded(Image.new("1", (8, 8)), "BMP"))
    header[18:26] = (60000).to_bytes(4, "little") * 2
    with pytest.raises(
        ImageError, match=r"too large, 3600000000 pixels, limit \d+: .*SAMEDGE_LIMITS=image_pixels"
    ):
        load_image(bytes(header))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ([[0]], "is a list"),
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((3, 4, 4), np.uint8), r"shape \(3, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "dtype float32"),
        (np.full((4, 4, 3), np.nan), "dtype float64"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
    ],
)
def test_wrong_arrays(image: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        check_image(image)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((3, 4, 5), np.uint8), r"channels come first.*transpose\(1, 2, 0\)"),
        (np.zeros((4, 5, 4), np.uint8), r"drop its alpha"),
        (np.zeros((4, 5), np.uint8), r"np\.dstack"),
        (np.zeros((2, 4, 5, 3), np.uint8), r"a batch"),
        (np.full((4, 5, 3), 0.5), r"reach 1 at most.*image \* 255"),
        (np.full((4, 5, 3), 200.5, np.float32), r"reach 255 at most"),
        (np.full((4, 5, 3), 3000.0), r"beyond 255"),
        (np.zeros((4, 5, 3), np.bool_), r"\* 255"),
        (np.full((4, 5, 3), 256, np.uint16), r"right by 8"),
        (np.full((4, 5, 3), 255), r"values fit.*astype\(np\.uint8\)"),
        (np.full((4, 5, 3), -0.5), r"below 0.*mean is subtracted"),
        (np.full((4, 5, 3), None), r"no samples"),
        (None, r"image_from_bgr"),
    ],
)
def test_frames_of_other_kinds_are_named(image: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        check_image(image)


def test_opencv_frames(rgb: np.ndarray) -> None:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    assert np.array_equal(samedge.image_from_bgr(bgr), rgb)
    assert np.array_equal(samedge.image_from_bgr(np.dstack([bgr, bgr[..., 0]])), rgb)
    assert np.array_equal(samedge.image_from_bgr(rgb[..., 0]), np.dstack([rgb[..., 0]] * 3))
    assert samedge.image_from_bgr(bgr).flags["C_CONTIGUOUS"]
    wrongs: tuple[Any, ...] = (None, np.zeros((4, 5, 2), np.uint8), np.zeros((4, 5, 3)))
    for wrong in wrongs:
        with pytest.raises(ImageError):
            samedge.image_from_bgr(wrong)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "is empty"),
        (b"\0\0\0\x18ftypheic", "HEIC photo.*pi-heif|truncated or damaged"),
        (b"\0\0\0\x18ftypisom", "video.*ffmpeg"),
        (b"\0\0\0\x18ftypcrx ", "raw file"),
        (b"\x1aE\xdf\xa3" + b"\0" * 40, "video"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"\0" * 128 + b"DICM" + b"\0" * 40, "DICOM.*pydicom"),
        (b"\xef\xbb\xbf \n<!DOCTYPE html><html>", "web page"),
        (b"<?xml version='1.0'?><svg>", "SVG"),
        (b'{"images": []}', "JSON"),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n', "a form.*--data-binary"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\3\4", "zip"),
        (b"\x93NUMPY\1\0", "np.load"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"II*\0" + b"\0" * 40, "TIFF of a kind that Pillow does not read"),
        (b"some text", "not an image in a format that Pillow reads"),
    ],
)
def test_what_is_no_image_is_named(head: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(head)
    with pytest.raises(ImageError, match=rf"x\.png is .*{words}|{words}"):
        load_image(path)


def test_a_tiff_of_another_kind_is_called_a_tiff() -> None:
    cv2 = pytest.importorskip("cv2")
    plainly = [cv2.IMWRITE_TIFF_COMPRESSION, 1]
    data = cv2.imencode(".tiff", np.zeros((4, 4, 3), np.float32), plainly)[1].tobytes()
    with pytest.raises(ImageError, match=r"a TIFF of a kind.*floating-point colours"):
        load_image(data)


def test_postscript_never_runs_a_program() -> None:
    data = encoded(Image.new("RGB", (4, 4)), "EPS")
    with pytest.raises(ImageError, match="EPS, which is not decoded"):
        load_image(data)


def test_pipes_and_devices_are_no_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="is a pipe"):
        load_image(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="is a device"):
        load_image("/dev/zero")


def test_a_raised_limit_also_raises_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("1", (64, 64)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=4096")
    assert load_image(data).shape == (64, 64, 3)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_pillows_limit_stays_lifted_until_the_last_who_needs_it_is_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encoded(Image.new("1", (64, 64)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setenv("SAMEDGE_LIMITS", "image_pixels=4096")
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(opened_picture(data))
        second.enter_context(opened_picture(data))
        first.close()
        assert load_image(data).shape == (64, 64, 3)
        second.close()
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_a_lack_of_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(picture: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", failing)
    with pytest.raises(ImageError, match="needs more memory than there is"):
        load_image(encoded(Image.new("L", (4, 4))))


def test_a_pillow_image_that_was_cut_off(rng: np.random.Generator) -> None:
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise))
    picture = Image.open(io.BytesIO(data[: len(data) // 2]))
    with picture, pytest.raises(ImageError, match="The Pillow image is truncated"):
        load_image(picture)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_picture_whose_rest_was_never_written_is_warned_of(
    kind: str, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    """Decoders take the zeros that stand there for samples, and find nothing wrong."""
    levels = rng.integers(0, 40, (160, 160, 3)) + np.arange(160)[:, None]  # which deflate packs
    picture = Image.fromarray(levels.astype(np.uint8))
    how: dict[str, Any] = {} if kind == "PNG" else {"quality": 95}
    if kind == "JPEG":  # the mark of an end that is not its own, as of a preview
        how["comment"] = b"\xff\xd9"
    data = encoded(picture, kind, **how)
    load_image(data)
    assert not caplog.text
    start = len(data) // 2
    load_image(data[:start] + bytes(len(data) - start))
    assert "is damaged, as where a download or a card's copy stopped" in caplog.text


@pytest.mark.parametrize("behind", [b"\0" * 9000, b"ftypmp42"], ids=["zeros", "a video"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_stands_behind_a_picture_is_no_damage(
    kind: str, behind: bytes, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    picture = Image.fromarray(rng.integers(0, 256, (40, 60, 3)).astype(np.uint8))
    load_image(encoded(picture, kind) + behind)
    assert not caplog.text
