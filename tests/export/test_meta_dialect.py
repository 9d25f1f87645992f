"""``--dialect meta``: what Meta's ONNX example notebook does works unchanged, with its results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from samedge.export import base
from samedge.export.base import ExportRequest
from samedge.models.painted import PaintedSam
from samedge.models.sam import Sam
from samedge.targets import target
from samedge.types import Precision

SIDE = 128
ORIGINAL = (75, 113)  # height, width


@pytest.fixture(scope="module")
def session(same_as_meta: Sam, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return opened(same_as_meta, tmp_path_factory.mktemp("meta_dialect"))


def opened(model: Sam | PaintedSam, folder: Path) -> Any:
    from tests.export.conftest import SOURCE

    request = ExportRequest(
        model=model,
        source=SOURCE,
        target=target("cpu"),
        precision=Precision.FP32,
        dialects=("meta",),
    )
    graphs = base.get("onnx").export(request, folder)
    assert [graph.graph.role for graph in graphs] == [
        "encoder",
        "decoder",
        "meta_encoder",
        "meta_decoder",
    ]
    return onnxruntime.InferenceSession(
        str(folder / "meta_decoder.onnx"), providers=["CPUExecutionProvider"]
    )


def notebook_inputs(
    embedding: np.ndarray,
    *,
    points: list[list[float]] | None = None,
    labels: list[int] | None = None,
    box: list[float] | None = None,
    mask: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """What the notebook's cells build: coordinates, the padding point, the mask, the size."""
    from segment_anything.utils.transforms import ResizeLongestSide

    coords = np.array(points or [], np.float32).reshape(-1, 2)
    kinds = np.array(labels or [], np.float32)
    if box is not None:
        onnx_coord = np.concatenate([coords, np.array(box, np.float32).reshape(2, 2)])[None]
        onnx_label = np.concatenate([kinds, np.array([2, 3])])[None].astype(np.float32)
    else:
        onnx_coord = np.concatenate([coords, np.array([[0.0, 0.0]])])[None]
        onnx_label = np.concatenate([kinds, np.array([-1])])[None].astype(np.float32)
    onnx_coord = ResizeLongestSide(SIDE).apply_coords(onnx_coord, ORIGINAL).astype(np.float32)
    return {
        "image_embeddings": embedding,
        "point_coords": onnx_coord,
        "point_labels": onnx_label,
        "mask_input": np.zeros((1, 1, 32, 32), np.float32) if mask is None else mask,
        "has_mask_input": np.full(1, mask is not None, np.float32),
        "orig_im_size": np.array(ORIGINAL, dtype=np.float32),
    }


def embedding() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((1, 32, 8, 8)).astype(np.float32)


PROMPTS: dict[str, dict[str, Any]] = {
    "one point": {"points": [[50.0, 37.5]], "labels": [1]},
    "two points": {"points": [[50.0, 37.5], [20.0, 60.0]], "labels": [1, 1]},
    "box and background point": {
        "box": [42.5, 6.0, 70.0, 68.75],
        "points": [[57.5, 36.0]],
        "labels": [0],
    },
    "box": {"box": [42.5, 6.0, 70.0, 68.75]},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("with_mask", [False, True], ids=["fresh", "from an earlier mask"])
def test_equals_metas_own_model(session: Any, meta_sam: Any, name: str, with_mask: bool) -> None:
    from segment_anything.utils.onnx import SamOnnxModel

    mask = None
    if with_mask:
        first = notebook_inputs(embedding(), points=[[30.0, 30.0]], labels=[1])
        mask = session.run(None, first)[2]
        assert mask.shape == (1, 1, 32, 32)
    inputs = notebook_inputs(embedding(), mask=mask, **PROMPTS[name])
    with torch.no_grad():
        wanted = SamOnnxModel(meta_sam, return_single_mask=True)(
            **{key: torch.from_numpy(value) for key, value in inputs.items()}
        )
    given = session.run(None, inputs)
    assert given[0].shape == (1, 1, *ORIGINAL)
    for want, have in zip(wanted, given, strict=True):
        assert have.shape == tuple(want.shape)
        assert np.abs(have - want.numpy()).max() < 1e-4


def test_names_and_types_are_metas(session: Any) -> None:
    assert [i.name for i in session.get_inputs()] == [
        "image_embeddings",
        "point_coords",
        "point_labels",
        "mask_input",
        "has_mask_input",
        "orig_im_size",
    ]
    assert {i.type for i in session.get_inputs()} == {"tensor(float)"}
    assert [o.name for o in session.get_outputs()] == ["masks", "iou_predictions", "low_res_masks"]


@pytest.mark.parametrize("original", [(1, 1), (300, 40), (128, 128), (1201, 1803)])
def test_any_original_size(session: Any, original: tuple[int, int]) -> None:
    inputs = notebook_inputs(embedding(), points=[[0.5, 0.5]], labels=[1])
    inputs["orig_im_size"] = np.array(original, np.float32)
    assert session.run(None, inputs)[0].shape == (1, 1, *original)


def test_every_padding_point_counts_as_in_metas_graph(session: Any, meta_sam: Any) -> None:
    from segment_anything.utils.onnx import SamOnnxModel

    inputs = notebook_inputs(embedding(), points=[[9.0, 9.0], [0.0, 0.0]], labels=[1, -1])
    with torch.no_grad():
        wanted = SamOnnxModel(meta_sam, return_single_mask=True)(
            **{key: torch.from_numpy(value) for key, value in inputs.items()}
        )
    assert np.abs(session.run(None, inputs)[2] - wanted[2].numpy()).max() < 1e-4


def test_a_painted_model_speaks_it_too(painted: PaintedSam, tmp_path: Path) -> None:
    inputs = notebook_inputs(embedding(), points=[[50.0, 37.5]], labels=[1])
    masks, quality, low_res = opened(painted, tmp_path).run(None, inputs)
    with torch.no_grad():
        names = list(inputs)[:5]
        wanted, iou = painted.decode(*(torch.from_numpy(inputs[name]) for name in names))
    best = int(iou[0, 1:].argmax()) + 1
    assert masks.shape == (1, 1, *ORIGINAL)
    assert np.abs(low_res[0, 0] - wanted[0, best].numpy()).max() < 1e-4
    assert quality.shape == (1, 1)


def test_encoder_and_decoder_do_what_metas_predictor_does(
    same_as_meta: Sam, meta_sam: Any, tmp_path: Path
) -> None:
    """A program that normalises and pads itself, as Meta's ``Sam.preprocess`` does."""
    from segment_anything.utils.transforms import ResizeLongestSide

    decoder = opened(same_as_meta, tmp_path)
    encoder = onnxruntime.InferenceSession(
        str(tmp_path / "meta_encoder.onnx"), providers=["CPUExecutionProvider"]
    )
    (entry,), (output,) = encoder.get_inputs(), encoder.get_outputs()
    assert (entry.name, entry.type, entry.shape) == ("images", "tensor(float)", [1, 3, SIDE, SIDE])
    assert output.name == "image_embeddings"
    photo = np.random.default_rng(3).integers(0, 256, (*ORIGINAL, 3), dtype=np.uint8)
    resized = ResizeLongestSide(SIDE).apply_image(photo)
    pixels = torch.from_numpy(resized).permute(2, 0, 1).float()
    with torch.no_grad():
        fed = meta_sam.preprocess(pixels)[None]
        wanted = same_as_meta.image_encoder(fed).numpy()
    embedding = encoder.run(None, {"images": fed.numpy()})[0]
    assert np.abs(embedding - wanted).max() < 1e-4
    masks = decoder.run(None, notebook_inputs(embedding, points=[[50.0, 37.5]], labels=[1]))[0]
    assert masks.shape == (1, 1, *ORIGINAL)


_OLD = "onnxruntime==1.15.1"
_OLD_RUN = """
import sys, numpy as np, onnxruntime
assert onnxruntime.__version__.startswith("1.15."), onnxruntime.__version__
folder = sys.argv[1]
given = dict(np.load(folder + "/inputs.npz"))
def run(name, feeds):
    session = onnxruntime.InferenceSession(folder + "/" + name, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)
embedding = run("meta_encoder.onnx", {"images": given.pop("images")})[0]
found = run("meta_decoder.onnx", {**given, "image_embeddings": embedding})
np.savez(folder + "/found.npz", embedding=embedding, masks=found[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason=f"{_OLD} has no wheel for this Python; 3.11 is the last"
)
def test_it_runs_on_onnx_runtime_1_15(same_as_meta: Sam, tmp_path: Path) -> None:
    """In an environment of its own: these files are for programs that pin old runtimes."""
    decoder = opened(same_as_meta, tmp_path)
    encoder = onnxruntime.InferenceSession(
        str(tmp_path / "meta_encoder.onnx"), providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(4).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    expected = encoder.run(None, {"images": images})[0]
    feeds = notebook_inputs(expected, points=[[50.0, 37.5]], labels=[1])
    masks = decoder.run(None, feeds)[0]
    feeds.pop("image_embeddings")
    arrays: dict[str, Any] = {"images": images, **feeds}
    np.savez(tmp_path / "inputs.npz", **arrays)
    python = old_environment(tmp_path / "venv")
    done = subprocess.run(
        [python, "-I", "-c", _OLD_RUN, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as found:
        assert np.abs(found["embedding"] - expected).max() < 1e-4
        assert np.abs(found["masks"] - masks).max() < 1e-3


def old_environment(folder: Path) -> str:
    """A Python with ONNX Runtime 1.15; skips the test where no registry has it."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", _OLD, "numpy<2"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=900)
    if done.returncode:
        pytest.skip(f"{_OLD} cannot be installed: {done.stderr.strip()[-200:]}")
    return python
