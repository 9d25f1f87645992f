"""The embedded model of words: its file, its arithmetic, and what it knows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from samedge.bundle.words import Word
from samedge.errors import CheckpointError, ExportError
from samedge.models.words.head import HeadSpec, WordHead, load_head, off_grid, on_grid, save_head
from samedge.models.words.trunk import Convolution, Trunk
from samedge.models.words.vocabulary import coco_words, read_words, usual_words

SPEC = HeadSpec(
    side=32,
    channels=8,
    enlarge=1.2,
    outside=0.2,
    threshold=0.5,
    suppression=0.5,
    words=(Word(name="dog"), Word(name="else", is_askable=False)),
    licence="Apache-2.0",
    origin="random numbers",
)


@pytest.fixture(scope="module")
def head() -> WordHead:
    torch.manual_seed(0)
    table = np.random.default_rng(0).normal(size=(2, 9)).astype(np.float16).astype(np.float32)
    found = WordHead(SPEC, table)
    with torch.no_grad():
        for module in found.modules():
            if isinstance(module, Convolution):
                module.weight.copy_(off_grid(*on_grid(module.weight)))
    return found.eval()


def test_a_file_gives_the_head_back(head: WordHead, tmp_path: Path) -> None:
    save_head(head, tmp_path / "head.safetensors")
    again = load_head(tmp_path / "head.safetensors")
    assert again.spec == SPEC
    np.testing.assert_array_equal(again.table.embeddings, head.table.embeddings)
    crops = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(again.embed_regions(crops), head.embed_regions(crops))
    parameters = sum(p.numel() for p in head.parameters())
    assert (tmp_path / "head.safetensors").stat().st_size < 1.1 * parameters


def test_embeddings_end_in_a_one(head: WordHead) -> None:
    with torch.inference_mode():
        found = head.embed_regions(torch.zeros(3, 32, 32, 3, dtype=torch.uint8))
    assert found.shape == (3, 9)
    assert found[:, -1].tolist() == [1, 1, 1]


@pytest.mark.parametrize("half", [False, True])
def test_weights_of_eight_bits_keep_their_grid(rng: np.random.Generator, half: bool) -> None:
    scale, zero = 0.0173, 131
    values = torch.from_numpy(((rng.integers(0, 256, 4000) - zero) * scale).astype(np.float32))
    stored = values.half().float() if half else values
    found, grid = on_grid(stored)
    assert float((off_grid(found, grid) - values).abs().max()) < 0.1 * scale
    again, same = on_grid(off_grid(found, grid))
    assert torch.equal(again, found)
    assert torch.allclose(same, grid)


def test_other_weights_are_rounded_to_half_a_step(rng: np.random.Generator) -> None:
    values = torch.from_numpy(rng.normal(size=4000).astype(np.float32))
    found, grid = on_grid(values)
    assert float((off_grid(found, grid) - values).abs().max()) <= 0.51 * float(grid[0])
    zeros = torch.zeros(5)
    assert torch.equal(off_grid(*on_grid(zeros)), zeros)


def test_the_trunk_is_mobilenet_v2() -> None:
    timm = pytest.importorskip("timm")
    reference = timm.create_model("mobilenetv2_100", pretrained=False)
    wanted = sum(p.numel() for p in reference.blocks.parameters() if p.ndim == 4)
    wanted += reference.conv_stem.weight.numel()
    trunk = Trunk()
    assert sum(p.numel() for p in trunk.parameters() if p.ndim == 4) == wanted
    with torch.inference_mode():
        assert trunk(torch.zeros(1, 3, 64, 64)).shape == (1, 320, 2, 2)


def test_imagenet_weights_fit_the_trunk(shared_data: Path) -> None:
    file = safetensors.torch.load_file(
        shared_data / "weights" / "mobilenet_v2_imagenet.safetensors"
    )
    own = Trunk().state_dict()
    assert {name: file[name].shape for name in own} == {n: t.shape for n, t in own.items()}


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\0\0\0\0\0\0\0{}      "])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="no model of words"):
        load_head(tmp_path / "x.safetensors")


def test_usual_words_are_each_there_once() -> None:
    words = usual_words()
    names = [name for word in words for name in (word.name, *word.synonyms)]
    assert len(names) == len(set(names))
    assert len(coco_words()) == 80
    assert coco_words(off={"dog": "why"})[16].off == "why"


def test_words_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# mine\nDrill, power drill\n\nhammer  # a tool\nrock\n")
    words = read_words(path)
    assert [word.name for word in words[:3]] == ["drill", "hammer", "rock"]
    assert words[0].synonyms == ["power drill"]
    assert [word.name for word in words].count("rock") == 1
    assert not words[-1].is_askable


@pytest.mark.parametrize(
    ("text", "problem"),
    [("t-shirt\nT Shirt\n", "'t shirt' twice"), ("drill\n+++\n", "which no text can ask")],
)
def test_words_that_nobody_could_tell_apart_are_refused(
    text: str, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "words.txt"
    path.write_text(text)
    with pytest.raises(ExportError, match=problem):
        read_words(path)


def test_metadata_is_one_document(head: WordHead, tmp_path: Path) -> None:
    save_head(head, tmp_path / "head.safetensors")
    with safetensors.safe_open(tmp_path / "head.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["spec"])["channels"] == 8
