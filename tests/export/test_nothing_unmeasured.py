"""What leaves is what was run: graphs that nothing of samedge runs, and every fixed shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge import runtimes
from samedge.errors import BackendUnavailableError, ParityError
from samedge.export import dialect_gate, onnx_graph
from samedge.export.base import DIALECTS
from samedge.export.pipeline import export
from samedge.models.sam import Sam
from samedge.pixels.image_files import PHOTOS
from samedge.runtimes.base import Session
from samedge.types import POINT_COORDS

onnx = pytest.importorskip("onnx")


@pytest.fixture
def two_photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for photo in sorted(PHOTOS.glob("*.jpg"))[:2]:
        (folder / photo.name).write_bytes(photo.read_bytes())
    return folder


def test_every_fixed_shape_of_a_decoder_is_run_before_it_leaves(
    sam: Sam, tmp_path: Path, two_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = Session.run, set()

    def watched(self: Session, feeds: Any) -> Any:
        if POINT_COORDS in feeds:
            seen.add(feeds[POINT_COORDS].shape[:2])
        return run(self, feeds)

    monkeypatch.setattr(Session, "run", watched)
    result = export(sam, "jetson", precision="fp32", output=tmp_path / "b", images=two_photos)
    assert seen == set(result.bundle.manifest.prompt_buckets) == {(1, 4), (1, 12), (16, 4)}


def spoiled(output: str) -> Callable[[Any], Any]:
    """A simplifier that turns the weights around of graphs with such an output or input."""
    genuine = onnx_graph._simplified

    def simplified(model: Any) -> Any:
        model = genuine(model)
        if output in {value.name for value in (*model.graph.output, *model.graph.input)}:
            for tensor in model.graph.initializer:
                values = onnx.numpy_helper.to_array(tensor)
                if values.dtype == np.float32 and values.size > 100:
                    tensor.CopyFrom(onnx.numpy_helper.from_array(-values, tensor.name))
        return model

    return simplified


def test_every_graph_in_a_dialect_is_noted_as_measured(
    sam: Sam, tmp_path: Path, two_photos: Path
) -> None:
    result = export(
        sam, "cpu", precision="fp32", output=tmp_path / "b", dialects=DIALECTS, images=two_photos
    )
    notes = [note for note in result.bundle.manifest.notes if ": as in torch, " in note]
    roles = [note.partition(":")[0] for note in notes]
    assert roles == ["meta_encoder", "meta_decoder", "anylabeling_encoder", "anylabeling_decoder"]
    assert all(float(note.split()[4]) > 0.999 for note in notes)


@pytest.mark.parametrize(
    ("output", "message"),
    [("masks", "the meta_decoder's masks"), ("images", "the meta_encoder's image_embeddings")],
)
def test_a_graph_in_a_dialect_that_is_another_is_refused(
    sam: Sam,
    tmp_path: Path,
    two_photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    output: str,
    message: str,
) -> None:
    """The bundle's own graphs are sound, so that nothing else would tell."""
    monkeypatch.setattr(onnx_graph, "_simplified", spoiled(output))
    given: dict[str, Any] = {"dialects": ["meta"], "images": two_photos, "precision": "fp32"}
    with pytest.raises(ParityError, match=message):
        export(sam, "cpu", output=tmp_path / "b", **given)
    assert not (tmp_path / "b").exists()
    loose = export(sam, "cpu", output=tmp_path / "b", gate=False, **given).bundle.manifest
    assert loose.gate == "skipped: --no-gate"
    role = message.split()[1].partition("'")[0]
    assert any(note.startswith(f"{role}: not as in torch, ") for note in loose.notes)


def test_without_anything_that_opens_onnx_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = runtimes.get("coreml")  # no Mac
    if missing.probe().available:
        pytest.skip("this is a Mac")
    monkeypatch.setattr(runtimes, "get", lambda name: missing)
    with pytest.raises(BackendUnavailableError, match="Fix: "):
        dialect_gate._reader()
