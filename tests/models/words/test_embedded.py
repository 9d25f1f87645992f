"""The embedded model of words, as it comes in the package."""

from __future__ import annotations

from samedge.bundle.bundle import Bundle, embedded_path
from samedge.bundle.words import read_table
from samedge.models.words.head import load_head
from samedge.models.words.vocabulary import COCO
from samedge.models.zoo import WEIGHTS


def test_the_embedded_model_is_small_and_knows_coco() -> None:
    head = load_head()
    assert (WEIGHTS / "samedge-words.safetensors").stat().st_size <= 2_000_000
    names = [word.name for word in head.table.words if word.is_askable]
    assert names == [name for name, _ in COCO]
    answered = {head.table.words[row].name for row in head.table.askable}
    assert {"person", "dog", "cat", "car", "cup"} <= answered
    assert all(word.off is None or "objects" in word.off for word in head.table.words)


def test_the_embedded_bundle_knows_the_same_words() -> None:
    bundle = Bundle.open(embedded_path())
    table = read_table(bundle)
    assert table is not None
    assert table.words == load_head().table.words
    assert (bundle.folder / "region_encoder.onnx").stat().st_size <= 2_000_000
    words = bundle.manifest.own_words
    assert words is not None
    assert words.cosine_min["region_encoder"] > 0.9999
