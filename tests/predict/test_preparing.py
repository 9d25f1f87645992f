"""What backends are told to prepare for, and what to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from samedge import runtimes
from samedge.bundle.bundle import Bundle
from samedge.predict.graphs import Graphs
from samedge.runtimes.base import Backend, Session

pytest.importorskip("onnx")

from tests.toys.bundle import (
    MAPS,
    decoder_with_maps,
    encoder_with_maps,
    shapes_of,
    write_bundle,
)


class Watched(Backend):
    """ONNX Runtime, and what it was asked for."""

    name = "onnxruntime"
    formats = ("onnx",)

    def __init__(self) -> None:
        self.inner = runtimes.get("onnxruntime")
        self.opened: dict[str, dict[str, Any]] = {}
        self.prepared: dict[str, dict[str, Any]] = {}

    def probe(self) -> Any:
        return self.inner.probe()

    def open(self, model: Path, **wishes: Any) -> Session:
        self.opened[model.stem] = wishes
        return self.inner.open(model, **wishes)

    def prepare(self, model: Path, **wishes: Any) -> None:
        self.prepared[model.stem] = wishes


def test_backends_are_told_what_to_prepare_for_and_what_to_keep(
    tmp_path: Path, toy_bundle: Path
) -> None:
    watched = Watched()
    with Graphs(Bundle.open(toy_bundle), watched) as graphs:
        graphs.load()
    assert watched.opened["encoder"]["keep"] == ("image_embeddings",)
    assert watched.opened["encoder"]["shapes"] == ()
    assert watched.opened["decoder"]["keep"] == ()
    assert [s["point_coords"] for s in watched.opened["decoder"]["shapes"]] == [
        (1, 2, 2),
        (4, 2, 2),
    ]
    fixed = write_bundle(
        tmp_path / "b",
        encoder=encoder_with_maps(),
        decoder=decoder_with_maps(),
        buckets=[[1, 4], [2, 6]],
    )
    watched.takes_other_shapes = False
    with Graphs(fixed, watched) as graphs:
        graphs.load()
        graphs.prepare()
    assert set(watched.opened["encoder"]["keep"]) == {"image_embeddings", *MAPS}
    expected = tuple({k: tuple(v) for k, v in shapes_of(b).items()} for b in ((1, 4), (2, 6)))
    assert watched.opened["decoder"]["shapes"] == expected
    assert watched.prepared["decoder"]["shapes"] == expected
    assert watched.prepared.keys() == {"encoder", "decoder"}


def test_a_backend_with_fixed_shapes_is_told_of_no_usual_ones(toy_bundle: Path) -> None:
    watched = Watched()
    watched.takes_other_shapes = False
    with Graphs(Bundle.open(toy_bundle), watched) as graphs:
        graphs.load()
    assert watched.opened["decoder"]["shapes"] == ()


def test_preparing_compiles_and_opens_nothing(toy_bundle: Path) -> None:
    with Graphs(Bundle.open(toy_bundle), runtimes.get("onnxruntime")) as graphs:
        graphs.prepare()
        assert graphs.opened == ()
