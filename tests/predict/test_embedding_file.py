"""A saved embedding gives the very masks again, and is refused where it does not belong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import ImageEmbedding, Predictor, Prompt
from samedge.errors import BackendUnavailableError, BundleError

numpy_files = pytest.importorskip("safetensors.numpy")


@pytest.fixture(scope="module")
def predictor(toy_bundle: Path) -> Iterator[Predictor]:
    with Predictor.from_bundle(toy_bundle, threads=1) as opened:
        yield opened


@pytest.fixture
def embedding(predictor: Predictor, rng: np.random.Generator) -> ImageEmbedding:
    image = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    return predictor.encode(image, region=(10, 8, 120, 90))


def rewritten(path: Path, **changes: Any) -> Path:
    """The same file with other words in what it says of itself."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    about = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["samedge"])
    metadata = {"samedge": json.dumps({**about, **changes})}
    path.write_bytes(numpy_files.save(numpy_files.load(data), metadata))
    return path


def test_masks_are_the_same_as_before(
    predictor: Predictor, embedding: ImageEmbedding, tmp_path: Path
) -> None:
    read = ImageEmbedding.load(embedding.save(tmp_path / "image.safetensors"))
    assert read.view == embedding.view
    box = [[20, 16, 90, 72]]
    (before,) = predictor.decode_boxes(embedding, box)
    (after,) = predictor.decode_boxes(read, box)
    assert before.masks.any()
    assert np.array_equal(before.low_res_logits, after.low_res_logits)
    assert np.array_equal(before.masks, after.masks)


def test_boxes_come_as_an_array(predictor: Predictor, embedding: ImageEmbedding) -> None:
    boxes = np.array([[20, 16, 90, 72], [30, 30, 60, 60]])
    results = predictor.decode_boxes(embedding, boxes)
    alone = predictor.decode(embedding, Prompt(box=boxes[1]))
    assert np.array_equal(results[1].masks, alone.masks)
    assert predictor.decode_boxes(embedding, np.zeros((0, 4))) == []


def test_another_encoder_refuses_it(
    predictor: Predictor, embedding: ImageEmbedding, tmp_path: Path
) -> None:
    path = rewritten(embedding.save(tmp_path / "image.safetensors"), bundle_id="0123456789ab")
    with pytest.raises(BundleError, match="0123456789ab"):
        predictor.decode(ImageEmbedding.load(path), Prompt([[60, 40]]))


def test_another_frame_than_the_bundles_is_refused(
    predictor: Predictor, embedding: ImageEmbedding, tmp_path: Path
) -> None:
    path = rewritten(embedding.save(tmp_path / "image.safetensors"), frame={"target_length": 128})
    with pytest.raises(BundleError, match="encode the image again"):
        predictor.decode(ImageEmbedding.load(path), Prompt([[60, 40]]))


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "samedge.embedding/2"},
        {"original_size": [10**6, 10**6]},
        {"original_size": [0, 4]},
        {"region": [0, 0, 999, 999]},
        {"frame": {"target_length": 17}},
        {"bundle_id": 3},
    ],
    ids=str,
)
def test_what_no_encoder_made_is_refused(
    embedding: ImageEmbedding, tmp_path: Path, changes: dict[str, Any]
) -> None:
    path = rewritten(embedding.save(tmp_path / "image.safetensors"), **changes)
    with pytest.raises(BundleError, match="no embedding that samedge saved"):
        ImageEmbedding.load(path)


def test_damaged_files_are_refused(
    embedding: ImageEmbedding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = embedding.save(tmp_path / "image.safetensors")
    whole = path.read_bytes()
    for damaged in (b"", whole[:-8], whole[:40], b"\xff" * 64):
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match="encode the image again"):
            ImageEmbedding.load(path)
    path.write_bytes(numpy_files.save({"image_embeddings": np.zeros(3, np.float32)}))
    with pytest.raises(BundleError, match="encode the image again"):
        ImageEmbedding.load(path)
    with pytest.raises(BundleError, match="check the path"):
        ImageEmbedding.load(tmp_path / "absent")
    path.write_bytes(whole)
    monkeypatch.setenv("SAMEDGE_LIMITS", "embedding_bytes=100")
    with pytest.raises(BundleError, match="embedding_bytes="):
        ImageEmbedding.load(path)


def test_values_that_are_no_numbers_are_refused(embedding: ImageEmbedding, tmp_path: Path) -> None:
    embedding.data[0, 0, 0, 0] = np.nan
    with pytest.raises(BundleError, match="not finite"):
        ImageEmbedding.load(embedding.save(tmp_path / "image.safetensors"))


def test_without_the_library_the_error_says_what_to_install(
    embedding: ImageEmbedding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(BackendUnavailableError, match="pip install 'safetensors"):
        embedding.save(tmp_path / "image.safetensors")
