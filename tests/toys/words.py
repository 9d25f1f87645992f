"""A toy bundle that knows the words red, green and blue, by the mean colour of a region's crop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from samedge.bundle.bundle import Bundle
from samedge.bundle.manifest import ModelRecord, WordsRecord
from samedge.bundle.words import FILE_NAME, Word, WordTable
from samedge.predict.everything import AutomaticMask, Proposals
from samedge.predict.everything_masks import Drawn
from samedge.types import DRAWN_KINDS, TEXT
from tests.toys.bundle import write_bundle

SIDE = 16
STEEP = 20.0

WORDS = (
    Word(name="red", synonyms=["crimson", "ruby ball"]),
    Word(name="green", synonyms=["lime"]),
    Word(name="blue", off="it is never right"),
    Word(name="grey", is_askable=False),
)


def table(*, more: int = 0) -> WordTable:
    """Each word wants its own colour and no other; grey wants none.

    Args:
        more: so many further words that want nothing at all.
    """
    rows = np.full((4, 4), -STEEP / 2, np.float32)
    rows[:3, :3] += 1.5 * STEEP * np.eye(3, dtype=np.float32)
    rows[3] = 0.0
    rows[:, 3] = (0.0, 0.0, 0.0, STEEP / 8)
    others = tuple(Word(name=f"word{index}", is_background=False) for index in range(more))
    nothing = np.tile(np.array([0, 0, 0, -STEEP], np.float32), (more, 1))
    return WordTable((*WORDS, *others), np.concatenate([rows, nothing]))


def region_model(batch: int | str = "batch") -> onnx.ModelProto:
    """(B, 16, 16, 3) uint8 to (B, 4): the mean of each colour, 0 to 1, and a one."""
    constants = [
        numpy_helper.from_array(np.float32(255), "white"),
        numpy_helper.from_array(np.array([3], np.int64), "last"),
        numpy_helper.from_array(np.float32(0), "zero"),
        numpy_helper.from_array(np.float32(1), "one"),
    ]
    nodes = [
        helper.make_node("Cast", ["regions"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "white"], ["shares"]),
        helper.make_node("ReduceMean", ["shares"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMean", ["means"], ["level"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["level", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "one"], ["ones"]),
        helper.make_node("Concat", ["means", "ones"], ["region_embeddings"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("regions", TensorProto.UINT8, (batch, SIDE, SIDE, 3))],
        [helper.make_tensor_value_info("region_embeddings", TensorProto.FLOAT, (batch, 4))],
        initializer=constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def words_record(**changes: Any) -> WordsRecord:
    """Crops without a border, nothing left of the outside."""
    fields: dict[str, Any] = {
        "table": FILE_NAME,
        "model": ModelRecord(name="toy-words", licence="Apache-2.0", origin="tests/toys"),
        "enlarge": 1.0,
        "outside": 0.0,
        "threshold": 0.0,
    }
    return WordsRecord(**{**fields, **changes})


def write_words_bundle(
    destination: Path, *, batch: int | str = "batch", more: int = 0, **changes: Any
) -> Bundle:
    """Write the toy bundle with words.

    Args:
        destination: folder or ``.samedge`` file.
        batch: of the region encoder.
        more: further words than the three.
        changes: other values of the words' record.
    """
    return write_bundle(
        destination,
        others={"region_encoder": region_model(batch)},
        files={FILE_NAME: table(more=more).to_bytes()},
        words=words_record(**changes),
        prompts=[*DRAWN_KINDS, TEXT],
    )


def proposals_of(regions: Sequence[AutomaticMask]) -> Proposals:
    """Regions as if everything mode had proposed them; they stay as they are drawn."""
    cells = np.zeros(1, np.bool_)
    found = [Drawn(one, cells, (0, row)) for row, one in enumerate(regions)]
    return Proposals([], found, again=None, closer=None)
