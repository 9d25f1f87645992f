from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest

from samedge.bundle.bundle import Bundle
from samedge.bundle.canary import Canary
from samedge.bundle.manifest import WordsRecord, bundle_id, check_manifest
from samedge.bundle.words import Word, WordTable, read_table
from samedge.errors import BundleError
from samedge.types import TEXT
from tests.toys.bundle import blank_manifest
from tests.toys.words import table, words_record, write_words_bundle


def test_a_table_survives_its_file() -> None:
    again = WordTable.from_bytes(table().to_bytes())
    assert again.words == table().words
    np.testing.assert_array_equal(again.embeddings, table().embeddings)
    assert again.rows["crimson"] == 0
    assert again.askable == (0, 1)
    assert "grey" not in again.rows


@pytest.mark.parametrize(
    ("words", "rows", "problem"),
    [
        ([Word(name="a")], np.zeros((2, 3)), "1 words and rows of shape"),
        ([Word(name="a"), Word(name="b", synonyms=["a"])], np.zeros((2, 3)), "'a' twice"),
        ([Word(name="t-shirt"), Word(name="t shirt")], np.zeros((2, 3)), "'t shirt' twice"),
        ([Word(name="a")], np.array([[np.nan]]), "NaN"),
        ([Word(name="a", is_askable=False)], np.zeros((1, 3)), "no word that can be asked"),
    ],
)
def test_tables_that_do_not_hold_together(
    words: list[Word], rows: np.ndarray, problem: str
) -> None:
    with pytest.raises(BundleError, match=problem):
        WordTable(tuple(words), rows.astype(np.float32))


def _file(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        _file(words=np.zeros(3, np.uint8)),
        _file(words=np.frombuffer(b'[{"name": 3}]', np.uint8), embeddings=np.zeros((1, 2))),
        _file(words=np.frombuffer(b'[{"name":"a","x":1}]', np.uint8), embeddings=np.zeros((1, 2))),
    ],
)
def test_damaged_tables_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="table of words cannot be read"):
        WordTable.from_bytes(data)


def test_a_table_that_fills_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samedge.bundle.words.MOST_NUMBERS", 1000)
    with pytest.raises(BundleError, match="do not trust"):
        WordTable.from_bytes(_file(words=np.zeros(3, np.uint8), embeddings=np.zeros((99, 99))))


def test_a_bundle_carries_its_words(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    bundle = write_words_bundle(tmp_path / "bundle")
    found = read_table(Bundle.open(bundle.path))
    assert found is not None
    assert found.words == table().words
    assert b'"words"' in (bundle.path / "bundle.json").read_bytes()


def test_bundles_without_words_do_not_speak_of_them() -> None:
    assert b'"words"' not in msgspec.json.encode(blank_manifest())
    assert blank_manifest().own_words is None


def test_what_changes_answers_changes_the_id() -> None:
    plain = blank_manifest(prompts=["box", TEXT], words=words_record())
    other = {
        "threshold": 1.0,
        "enlarge": 1.5,
        "outside": 0.5,
        "suppression": 0.7,
        "templates": ["a {}"],
    }
    ids = {bundle_id(plain)}
    for name, value in other.items():
        changed = msgspec.structs.replace(plain, words=words_record(**{name: value}))
        ids.add(bundle_id(changed))
    assert len(ids) == len(other) + 1
    measured = msgspec.structs.replace(plain, words=words_record(cosine_min={"x": 1.0}))
    assert bundle_id(measured) == bundle_id(plain)


@pytest.mark.parametrize(
    ("words", "prompts", "problem"),
    [
        (words_record(), ["box", TEXT], "no region_encoder"),
        (None, ["box", TEXT], "understands text and has no words"),
    ],
)
def test_words_and_their_graphs_belong_together(
    words: WordsRecord | None, prompts: list[str], problem: str
) -> None:
    changes = {"prompts": prompts} if words is None else {"prompts": prompts, "words": words}
    with pytest.raises(BundleError, match=problem):
        check_manifest(blank_manifest(**changes), Path("x"))


def test_the_canary_keeps_what_other_graphs_are_fed() -> None:
    images = np.zeros((2, 4, 4, 3), np.uint8)
    tensor = np.ones((2, 3), np.float32)
    canary = Canary(
        images,
        np.zeros((2, 2), np.float32),
        {"encoder": {"a": tensor}, "decoder": {"b": tensor}, "region_encoder": {"c": tensor}},
        feeds={"region_encoder": {"regions": images[:, None]}},
    )
    again = Canary.from_bytes(canary.to_bytes())
    np.testing.assert_array_equal(again.feeds["region_encoder"]["regions"], images[:, None])
    np.testing.assert_array_equal(again.answers["region_encoder"]["c"], tensor)
