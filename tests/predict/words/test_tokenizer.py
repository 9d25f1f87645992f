from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.errors import BundleError, PromptError
from samedge.predict.words.tokenizer import CONTEXT, Tokenizer, cleaned

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "golden_tokens.json").read_text()
)
"""Texts and their ids by open_clip's SimpleTokenizer, and whether transformers' gives the same."""


@pytest.fixture(scope="module")
def merges() -> bytes:
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        pytest.skip("the merges come with open_clip_torch: pip install 'samedge[clip]'")
    return Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz").read_bytes()


@pytest.fixture(scope="module")
def tokenizer(merges: bytes) -> Tokenizer:
    return Tokenizer.from_bytes(merges)


def test_there_are_enough_golden_texts() -> None:
    assert len(GOLDEN) == 200
    assert sum(entry["transformers"] for entry in GOLDEN) > 180


def test_ids_are_the_references(tokenizer: Tokenizer) -> None:
    wrong = [e["text"] for e in GOLDEN if tokenizer.ids(e["text"]) != e["ids"]]
    assert wrong == []


def test_the_golden_ids_are_open_clips() -> None:
    reference = pytest.importorskip("open_clip.tokenizer").SimpleTokenizer()
    assert [e["text"] for e in GOLDEN if reference.encode(e["text"]) != e["ids"]] == []


def test_a_text_stands_between_its_marks(tokenizer: Tokenizer) -> None:
    row = tokenizer.encode("a dog")
    assert row.shape == (CONTEXT,)
    assert row.dtype == np.int32
    assert row[:5].tolist() == [49406, 320, 1929, 49407, 0]
    assert not row[4:].any()


def test_nothing_is_cut_off(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("dog " * 75)[-1] == 49407
    with pytest.raises(PromptError, match="76 tokens, expected at most 75"):
        tokenizer.encode("dog " * 76)


def test_merges_may_be_plain(merges: bytes, tokenizer: Tokenizer) -> None:
    plain = Tokenizer.from_bytes(gzip.decompress(merges))
    assert plain.ids("a photo of 3 dogs") == tokenizer.ids("a photo of 3 dogs")


@pytest.mark.parametrize("data", [b"", b"#version\na b\n", b"\x1f\x8bbroken", b"\xff\xfe\x00"])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="merges"):
        Tokenizer.from_bytes(data)


def test_merges_whose_middle_is_damaged() -> None:
    """gzip passes on what zlib says, which is no error of the system."""
    packed = bytearray(gzip.compress(b"a b\n" * 50_000))
    packed[12] = 0xFF
    with pytest.raises(BundleError, match="cannot be read"):
        Tokenizer.from_bytes(bytes(packed))


def test_lone_surrogates_do_no_harm(tokenizer: Tokenizer) -> None:
    assert tokenizer.ids("a \ud800 dog")
    assert cleaned(" A &amp; B ") == "a & b"
